"""Layers without a memory, as cells: what stands around recurrences in a block.

A layer has an empty carry, so it goes wherever a cell goes: into `sj.stack`, step by step, through
masks and resets.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.cell import (
    Cell,
    InitFn,
    expect_inputs,
    expect_outputs,
    expect_real,
    expect_width,
    factory,
    positive_int,
    spell,
)
from seqjax.core.gates import like_features
from seqjax.core.misfits import MisfitError
from seqjax.core.steps import Run
from seqjax.core.trees import narrow, widen
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
def pointwise(
    function: Callable[[Params, Any], Array],
    *,
    features: int,
    init: InitFn,
    input_ndim: int = 1,
    output_ndim: int | None = None,
    in_features: int | None = None,
) -> Cell:
    """A layer: a cell that remembers nothing.

        y_t = function(params, x_t)

    Args:
      function: `(params, x) -> y`, `(*batch, in_features)` to `(*batch, features)`, for any
        number of batch dimensions; whole sequences are one call.
      features: width of the output.
      init: `(key, in_features) -> params`.
      input_ndim, output_ndim, in_features: as for `sj.Cell`.

    Returns:
      A cell whose carry is `()`. From vectors to vectors it also works pixel by pixel, where
      `sj.stack` puts it between cells for images.

    Raises:
      ValueError: from a scan or a step, if the outputs are not of the rank or the width that was
        said.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> double = sj.pointwise(lambda _, x: 2 * x, features=3, init=lambda key, in_features: ())
      >>> sj.scan(double, (), jnp.ones((2, 3)))[1]
      Array([[2., 2., 2.],
             [2., 2., 2.]], dtype=float32)
    """

    if output_ndim is None:
        output_ndim = max(1, input_ndim)

    def check(x, y):
        given, made = (jnp.shape(jax.tree.leaves(tree)[0]) for tree in (x, y))
        lead = len(given) - input_ndim
        if len(made) - lead != output_ndim:
            raise MisfitError(
                f"pointwise({spell(function)})",
                f"with input_ndim={input_ndim} and output_ndim={output_ndim}, an input of shape "
                f"{given[lead:]} must give an output of rank {output_ndim}; the function returned "
                f"one of shape {made[lead:]}. Pass the ranks of one step's input and output.",
            )
        if output_ndim > 0:
            expect_outputs(f"pointwise({spell(function)})", features, made)

    def step(params, carry, x):
        y = function(params, x)
        check(x, y)
        return carry, y

    def sequence(scan, params, carry, initial, xs, steps):
        y = function(params, xs)
        check(xs, y)
        return Run(carry, y, carry if steps.record else None)

    return Cell(
        init=init,
        initial_carry=lambda params, batch_shape=(): (),
        step=step,
        features=positive_int("pointwise", "features", features),
        input_ndim=input_ndim,
        output_ndim=output_ndim,
        pixelwise=input_ndim == output_ndim == 1,
        in_features=in_features,
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
        in_features = positive_int("init", "in_features", in_features)
        weights: Recipes = {"weights": (weight_init, (in_features, features))}
        start: Recipes = {"bias": (initializers.Constant(0.0), (features,))}
        return draw(key, {**weights, **start} if bias else weights)

    def apply(params, x):
        expect_inputs("dense", params["weights"].shape[0], x)
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
        expect_width("rms_norm", features, in_features)
        return {"gain": jnp.ones((features,))}

    def apply(params, x):
        expect_inputs("rms_norm", features, x)
        return scale_to_one(x, epsilon) * like_features(params["gain"], x)

    return pointwise(apply, features=features, init=init, in_features=features)


@factory
def zero_centred_rms_norm(features: int, *, epsilon: float = 1e-6) -> Cell:
    """Root-mean-square norm whose parameter is what its gain has beyond 1, as in Gemma.

        y = (1 + gain) * x / sqrt(mean(x^2) + epsilon)

    Near 1, a narrow dtype has few numbers; near 0 it has many.

    Args:
      features: width of the input and of the output.
      epsilon: keeps small inputs from being blown up.

    Returns:
      A cell with the parameter `gain`, which starts at 0, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.zero_centred_rms_norm(2)
      >>> cell.step({"gain": jnp.ones(2)}, (), jnp.array([3.0, 3.0]))[1].round(3)
      Array([2., 2.], dtype=float32)

    Source: the released code of Gemma, arXiv:2403.08295.
    """

    def init(key, in_features):
        expect_width("zero_centred_rms_norm", features, in_features)
        return {"gain": jnp.zeros((features,))}

    def apply(params, x):
        expect_inputs("zero_centred_rms_norm", features, x)
        wide = scale_to_one(widen(x), epsilon)
        y = wide * (1 + like_features(widen(params["gain"]), wide))
        return y.astype(jnp.result_type(x, params["gain"]))

    return pointwise(apply, features=features, init=init, in_features=features)


@factory
def layer_norm(features: int, *, epsilon: float = 1e-5, bias: bool = True) -> Cell:
    """Layer norm; inside an update, use `sj.standardize`.

        y = gain * (x - mean(x)) / sqrt(var(x) + epsilon) + bias

    Args:
      features: width of the input and of the output.
      epsilon: keeps small inputs from being blown up.
      bias: whether there is one.

    Returns:
      A cell with the parameters `gain`, which starts at 1, and `bias`, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.layer_norm(2)
      >>> cell.step(cell.init(jax.random.key(0), 2), (), jnp.array([1.0, 3.0]))[1].round(3)
      Array([-1.,  1.], dtype=float32)

    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """

    def init(key, in_features):
        expect_width("layer_norm", features, in_features)
        gain = {"gain": jnp.ones((features,))}
        return {**gain, "bias": jnp.zeros((features,))} if bias else gain

    def apply(params, x):
        expect_inputs("layer_norm", features, x)
        y = standardize(x, epsilon) * like_features(params["gain"], x)
        return y + like_features(params["bias"], x) if bias else y

    return pointwise(apply, features=features, init=init, in_features=features)


@factory
def feed_forward(
    features: int,
    *,
    hidden: int | None = None,
    bias: bool = False,
    activation: Activation = jax.nn.silu,
    weight_init: Initializer = initializers.LeCun(),
) -> Cell:
    """A feed-forward layer with a gate.

        y = (activation(x @ gate) * (x @ up)) @ down          each plus a bias, if they have one

    Args:
      features: width of the output.
      hidden: width inside; by default 8/3 of `features`, rounded up to a multiple of 8.
      bias: whether the three products have one, as in RecurrentGemma; it starts at 0.
      activation: of the gate; `jax.nn.silu` makes SwiGLU, `jax.nn.gelu` GeGLU.
      weight_init: initializer of the weights.

    Returns:
      A cell with parameters `gate`, `up` and `down`, and `gate_bias`, `up_bias` and `down_bias` if
      there are biases, and an empty carry.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.feed_forward(3)
      >>> jax.tree.map(jnp.shape, cell.init(jax.random.key(0), 3))
      {'down': (8, 3), 'gate': (3, 8), 'up': (3, 8)}

    Source: Shazeer 2020, arXiv:2002.05202.
    """
    width = -(-8 * features // 24) * 8 if hidden is None else hidden
    width = positive_int("feed_forward", "hidden", width)

    def init(key, in_features):
        shapes = {
            "gate": (weight_init, (in_features, width)),
            "up": (weight_init, (in_features, width)),
            "down": (weight_init, (width, features)),
        }
        drawn = draw(key, shapes)
        biases = {f"{name}_bias": jnp.zeros_like(weights[0]) for name, weights in drawn.items()}
        return drawn | biases if bias else drawn

    def layer(params, name, x):
        y = x @ params[name]
        return y + like_features(params[f"{name}_bias"], y) if bias else y

    def apply(params, x):
        expect_inputs("feed_forward", params["gate"].shape[0], x)
        inside = activation(layer(params, "gate", x)) * layer(params, "up", x)
        return layer(params, "down", inside)

    return pointwise(apply, features=features, init=init)


def scale_to_one(x: Array, epsilon: float) -> Array:
    """`x` over its root mean square on the last axis, in float32 at least."""
    expect_real("rms_norm", x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = jnp.square(wide).mean(-1, keepdims=True)
    return narrow(wide * jax.lax.rsqrt(mean + epsilon), x)


def standardize(x: Array, epsilon: float = 1e-5) -> Array:
    """Layer norm without parameters, for use inside an update.

        y = (x - mean(x)) / sqrt(var(x) + epsilon)

    A gain and a bias come from the cell's `parameters`: `sj.standardize(c) * p.gain + p.bias`.

    Args:
      x: `(*batch, features)`.
      epsilon: added to the variance.

    Returns:
      An array like `x`, computed in float32 at least.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> sj.standardize(jnp.array([1.0, 3.0])).round(3)
      Array([-1.,  1.], dtype=float32)

    Source: Ba, Kiros and Hinton 2016, arXiv:1607.06450.
    """
    expect_real("standardize", x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    centred = wide - wide.mean(-1, keepdims=True)
    variance = jnp.square(centred).mean(-1, keepdims=True)
    return narrow(centred * jax.lax.rsqrt(variance + epsilon), x)


def unit_length(x: Array, epsilon: float = 1e-6) -> Array:
    """`x` over its Euclidean length on the last axis, in float32 at least."""
    expect_real("unit_length", x)
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    square = jnp.square(wide).sum(-1, keepdims=True)
    return narrow(wide * jax.lax.rsqrt(square + epsilon), x)
