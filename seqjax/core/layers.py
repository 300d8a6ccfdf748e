"""What stands around recurrences in a block: layers without a memory, as cells, and how they join.

A layer has an empty carry, so it goes wherever a cell goes: into `sj.stack`, step by step, through
masks and resets.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import Cell, InitFn, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.run import Run, zero_masked
from seqjax.core.stack import expect_cell, no_step, residual, stack
from seqjax.core.types import Activation, Array, Initializer, Params, PRNGKeyArray

Recipes = Mapping[str, tuple[Initializer, tuple[int, ...]]]
"""For each parameter how it starts and its shape."""


def draw(key: PRNGKeyArray, recipes: Recipes) -> dict[str, Array]:
    """A dict of parameters, each drawn by its own initializer.

    Weights `(inputs, ...)` of more than two dimensions are drawn as matrices `(inputs, outputs)`.
    """
    keys = jax.random.split(key, len(recipes))
    dtype = jnp.result_type(float)
    drawn = {}
    for (name, (initializer, shape)), own in zip(recipes.items(), keys, strict=True):
        matrix = (shape[0], math.prod(shape[1:])) if len(shape) > 2 else shape
        drawn[name] = initializer(own, matrix, dtype).reshape(shape)
    return drawn


@factory
def pointwise(function: Callable[[Params, Any], Array], *, features: int, init: InitFn) -> Cell:
    """A layer: a cell that remembers nothing.

        y_t = function(params, x_t)

    Args:
      function: `(params, x) -> y`, `(*batch, in_features)` to `(*batch, features)`, for any
        number of batch dimensions; whole sequences are one call.
      features: width of the output.
      init: `(key, in_features) -> params`.

    Returns:
      A cell whose carry is `()`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> double = sj.pointwise(lambda _, x: 2 * x, features=3, init=lambda key, in_features: ())
      >>> sj.scan(double, (), jnp.ones((2, 3)))[1]
      Array([[2., 2., 2.],
             [2., 2., 2.]], dtype=float32)
    """

    def step(params, carry, x):
        return carry, function(params, x)

    def sequence(scan, params, carry, initial, xs, steps):
        ys = function(params, zero_masked(xs, steps.valid))
        return Run(carry, zero_masked(ys, steps.valid), carry if steps.record else None)

    return Cell(
        init=init,
        initial_carry=lambda params, batch_shape=(): (),
        step=step,
        features=positive_int("pointwise", "features", features),
        sequence=sequence,
    )


@factory
def dense(
    features: int,
    *,
    bias: bool = True,
    activation: Activation | None = None,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """A linear layer.

        y = activation(x @ weights + bias)

    Args:
      features: width of the output.
      bias: whether there is one; it starts at 0.
      activation: applied to the sum; None for none.
      weight_init: initializer of `weights` `(in_features, features)`.

    Returns:
      A cell with parameters `weights` and `bias`, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.gru(8), sj.dense(3))
      >>> sj.scan(cell, cell.init(jax.random.key(0), 2), jnp.ones((5, 2)))[1].shape
      (5, 3)
    """

    def init(key, in_features):
        weights: Recipes = {"weights": (weight_init, (in_features, features))}
        start: Recipes = {"bias": (initializers.Constant(0.0), (features,))}
        return draw(key, {**weights, **start} if bias else weights)

    def apply(params, x):
        y = x @ params["weights"]
        if bias:
            y = y + like_features(params["bias"], y)
        return y if activation is None else activation(y)

    return pointwise(apply, features=features, init=init)


@factory
def rms_norm(features: int, *, epsilon: float = 1e-6) -> Cell:
    """Root-mean-square norm.

        y = gain * x / sqrt(mean(x^2) + epsilon)

    Args:
      features: width of the input and of the output.
      epsilon: keeps small inputs from being blown up.

    Returns:
      A cell with the parameter `gain`, which starts at 1, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.rms_norm(2)
      >>> cell.step(cell.init(jax.random.key(0), 2), (), jnp.array([3.0, 3.0]))[1].round(3)
      Array([1., 1.], dtype=float32)

    Source: Zhang and Sennrich 2019, arXiv:1910.07467.
    """

    def init(key, in_features):
        _expect_same("rms_norm", features, in_features)
        return {"gain": jnp.ones((features,))}

    def apply(params, x):
        return scale_to_one(x, epsilon) * like_features(params["gain"], x)

    return pointwise(apply, features=features, init=init)


@factory
def centred_norm(features: int, *, epsilon: float = 1e-5) -> Cell:
    """Layer norm as a layer; `sj.layer_norm` is the function for use inside an update.

        y = gain * (x - mean(x)) / sqrt(var(x) + epsilon) + bias

    Args:
      features: width of the input and of the output.
      epsilon: keeps small inputs from being blown up.

    Returns:
      A cell with the parameters `gain`, which starts at 1, and `bias`, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.centred_norm(2)
      >>> cell.step(cell.init(jax.random.key(0), 2), (), jnp.array([1.0, 3.0]))[1].round(3)
      Array([-1.,  1.], dtype=float32)

    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """

    def init(key, in_features):
        _expect_same("centred_norm", features, in_features)
        return {"gain": jnp.ones((features,)), "bias": jnp.zeros((features,))}

    def apply(params, x):
        y = standardize(x, epsilon) * like_features(params["gain"], x)
        return y + like_features(params["bias"], x)

    return pointwise(apply, features=features, init=init)


@factory
def feed_forward(
    features: int,
    *,
    hidden: int | None = None,
    activation: Activation = jax.nn.silu,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """A feed-forward layer with a gate.

        y = (activation(x @ gate) * (x @ up)) @ down

    Args:
      features: width of the output.
      hidden: width inside; by default 8/3 of `features`, rounded up to a multiple of 8.
      activation: of the gate; `jax.nn.silu` makes SwiGLU, `jax.nn.gelu` GeGLU.
      weight_init: initializer of the weights.

    Returns:
      A cell with parameters `gate`, `up` and `down`, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.feed_forward(3)
      >>> jax.tree.map(jnp.shape, cell.init(jax.random.key(0), 3))
      {'down': (8, 3), 'gate': (3, 8), 'up': (3, 8)}

    Source: Shazeer 2020, arXiv:2002.05202.
    """
    width = -(-8 * features // 24) * 8 if hidden is None else hidden

    def init(key, in_features):
        shapes = {
            "gate": (weight_init, (in_features, width)),
            "up": (weight_init, (in_features, width)),
            "down": (weight_init, (width, features)),
        }
        return draw(key, shapes)

    def apply(params, x):
        return (activation(x @ params["gate"]) * (x @ params["up"])) @ params["down"]

    return pointwise(apply, features=features, init=init)


@factory
def prenorm(cell: Cell, *, norm: Callable[[int], Cell] = rms_norm) -> Cell:
    """A cell behind a norm, with a way around both.

        y = x + cell(norm(x))

    Args:
      cell: any cell; its `features` must equal the width of its input.
      norm: makes the norm of a width: `sj.rms_norm` or `sj.centred_norm`.

    Returns:
      `sj.residual(sj.stack(norm(cell.features), cell))`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> block = sj.stack(sj.prenorm(sj.gru(4)), sj.prenorm(sj.feed_forward(4)))
      >>> sj.scan(block, block.init(jax.random.key(0), 4), jnp.ones((5, 4)))[1].shape
      (5, 4)

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """
    expect_cell("prenorm", cell)
    return residual(stack(norm(cell.features), cell))


@factory
def pipeline(**cells: Cell) -> Cell:
    """A stack whose layers have names.

        y = x
        for each layer: carry[name], y = cells[name].step(params[name], carry[name], y)

    Args:
      **cells: the layers, the first one nearest to the input.

    Returns:
      `sj.stack` of the cells, with a dict by name for the parameters and for the carry.

    Raises:
      ValueError: without cells.

    Example:
      >>> import jax
      >>> import seqjax as sj
      >>> cell = sj.pipeline(memory=sj.gru(4), output=sj.dense(3))
      >>> sorted(cell.init(jax.random.key(0), 2))
      ['memory', 'output']
    """
    if not cells:
        raise ValueError("pipeline: expected at least one cell, got none.")
    for cell in cells.values():
        expect_cell("pipeline", cell)
    layers = tuple(cells.values())
    causal = all(cell.causal for cell in layers)

    def init(key, in_features):
        widths = (in_features, *(cell.features for cell in layers))
        keys = jax.random.split(key, len(cells))
        made = zip(cells.items(), keys, widths, strict=False)
        return {name: cell.init(k, width) for (name, cell), k, width in made}

    def initial_carry(params, batch_shape=()):
        return {name: cell.initial_carry(params[name], batch_shape) for name, cell in cells.items()}

    def step(params, carry, x):
        carries = {}
        for name, cell in cells.items():
            carries[name], x = cell.step(params[name], carry[name], x)
        return carries, x

    def sequence(scan, params, carry, initial, xs, steps):
        runs = {}
        for name, cell in cells.items():
            runs[name] = scan(cell, params[name], carry[name], initial[name], xs, steps)
            xs = runs[name].ys
        return Run(
            carry={name: run.carry for name, run in runs.items()},
            ys=xs,
            carries={name: run.carries for name, run in runs.items()},
        )

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if causal else no_step("pipeline", layers),
        features=layers[-1].features,
        input_ndim=layers[0].input_ndim,
        causal=causal,
        sequence=sequence,
    )


@factory
def partly(cell: Cell, *, width: int, rest: int) -> Cell:
    """A cell for the first features of the input; the others go by it.

        y = [cell(x[:width]), x[width:]]

    Args:
      cell: any causal cell.
      width: how many features it sees.
      rest: how many there are besides.

    Returns:
      A cell of `cell.features + rest` features with the parameters and the carry of the given
      one.

    Raises:
      ValueError: from `init`, if the input is not `width + rest` wide.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.partly(sj.token_shift(2), width=2, rest=1)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 3)))[1]
      Array([[0., 0., 1.],
             [1., 1., 1.]], dtype=float32)
    """
    expect_cell("partly", cell)

    def init(key, in_features):
        if in_features != width + rest:
            raise ValueError(
                f"partly({cell}): expected inputs of {width} and {rest} features, got "
                f"in_features={in_features}."
            )
        return cell.init(key, width)

    def join(y, x):
        return jnp.concatenate([y, x[..., width:].astype(y.dtype)], axis=-1)

    def step(params, carry, x):
        carry, y = cell.step(params, carry, x[..., :width])
        return carry, join(y, x)

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params, carry, initial, xs[..., :width], steps)
        return run._replace(ys=zero_masked(join(run.ys, xs), steps.valid))

    return Cell(
        init=init,
        initial_carry=cell.initial_carry,
        step=step,
        features=cell.features + rest,
        sequence=sequence,
    )


def scale_to_one(x: Array, epsilon: float) -> Array:
    """`x` over its root mean square on the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.square(wide).mean(-1, keepdims=True)
    return (wide * jax.lax.rsqrt(mean + epsilon)).astype(x.dtype)


def standardize(x: Array, epsilon: float) -> Array:
    """`x` with mean 0 and variance 1 on the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return (centred * jax.lax.rsqrt(variance + epsilon)).astype(x.dtype)


def unit_length(x: Array, epsilon: float = 1e-6) -> Array:
    """`x` over its Euclidean length on the last axis, in float32 at least."""
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.square(wide).sum(-1, keepdims=True)
    return (wide * jax.lax.rsqrt(square + epsilon)).astype(x.dtype)


def _expect_same(name: str, features: int, in_features: int) -> None:
    if features != in_features:
        raise ValueError(
            f"{name}({features}): the input must be {features} wide, like the output; got "
            f"in_features={in_features}."
        )
