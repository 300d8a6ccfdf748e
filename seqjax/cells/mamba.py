"""The selective state space of Mamba (S6), and the block around it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.cells.decay import log_decay
from seqjax.core import initializers
from seqjax.core.blocks import checkpointed, prenorm
from seqjax.core.cell import Cell, expect_inputs, expect_width, factory, positive_int
from seqjax.core.gates import like_features
from seqjax.core.linear import diagonal
from seqjax.core.shift import WindowState, short_convolution
from seqjax.core.steps import Run
from seqjax.core.trees import widen
from seqjax.core.types import Array, Params


@factory
def s6(
    features: int,
    *,
    state: int = 16,
    rank: int | None = None,
    step_size: tuple[float, float] = (1e-3, 1e-1),
    negative_eigenvalues: bool = False,
) -> Cell:
    """The selective state space (S6): step size, input and read-out depend on the input.

        delta, B, C = split(W_selection x)      (rank,), (state,), (state,)
        d = softplus(W_step delta + b_step)     (features,)
        s = exp(-d exp(a)) * s + (d * x) B      (features, state)
        y = s C + D * x

    Args:
      features: width of the input and of the output.
      state: size of the state of each feature.
      rank: width of delta, by default `features / 16`, rounded up.
      step_size: d starts between these, uniform in the logarithm.
      negative_eigenvalues: `2 exp(-d exp(a)) - 1` instead of `exp(-d exp(a))`: eigenvalues are
        then in [-1, 1], and parity can be kept.

    Returns:
      A cell whose carry is `s`, `(*batch, features, state)`, in float32 at least. Parameters:
      `selection` `(features, rank + 2 * state)`; `step_weights` `(rank, features)`; `step_bias`
      `(features,)`; `a` `(features, state)`; `skip` (the D) `(features,)`.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.s6(4, state=2)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> s, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> s.shape, ys.shape
      ((4, 2), (5, 4))

    Source: Gu and Dao 2023, arXiv:2312.00752. As in the released code, B is held for one step
    by `d B`, not by the zero-order hold that the paper writes; a starts at log(1 .. state), and
    d is at least 1e-4 at the start. Negative eigenvalues: Grazzi et al. 2024, arXiv:2411.12537.
    """
    features = positive_int("s6", "features", features)
    state = positive_int("s6", "state", state)
    rank = positive_int("s6", "rank", -(-features // 16) if rank is None else rank)
    low, high = step_size
    if not 0 < low <= high:
        raise ValueError(
            "s6: `step_size` must be two numbers above 0, the smaller one "
            f"first; got {step_size!r}."
        )

    def init(key, in_features):
        expect_width("s6", features, in_features)
        dtype = jnp.result_type(float)
        selection, weights, bias = jax.random.split(key, 3)
        rows = jnp.log(jnp.arange(1, state + 1, dtype=dtype))
        dense = initializers.Uniform(features**-0.5)
        return {
            "selection": dense(selection, (features, rank + 2 * state), dtype),
            "step_weights": initializers.Uniform(rank**-0.5)(weights, (rank, features), dtype),
            "step_bias": initializers.TimeStep(low, high)(bias, (features,), dtype),
            "a": jnp.broadcast_to(rows, (features, state)),
            "skip": jnp.ones((features,), dtype),
        }

    def initial_carry(params, batch_shape=()):
        return jnp.zeros((*batch_shape, features, state), widen(params["a"]).dtype)

    def project(params, x):
        expect_inputs("s6", features, x)
        delta, b, c = jnp.split(x @ params["selection"], [rank, rank + state], axis=-1)
        size = delta @ params["step_weights"]
        size = jax.nn.softplus(widen(size) + like_features(widen(params["step_bias"]), size))
        return tuple(map(widen, (x, size, b, c)))

    def coefficients(params, inputs):
        x, size, b, _ = inputs
        size, written = size[..., None], (size * x)[..., None]
        decay = jnp.exp(log_decay(like_features(widen(params["a"]), written), size))
        return 2 * decay - 1 if negative_eigenvalues else decay, written * b[..., None, :]

    def read(params, s, inputs):
        *_, c = inputs
        return (s * c[..., None, :]).sum(-1)

    def output(params, values, x):
        direct = like_features(params["skip"], x) * x
        return (values + direct).astype(direct.dtype)

    return diagonal(
        coefficients,
        init=init,
        initial_carry=initial_carry,
        features=features,
        in_features=features,
        project=project,
        read=read,
        output=output,
    )


class MambaState(NamedTuple):
    """The last inputs of the convolution, and the state of the recurrence."""

    convolution: WindowState
    state: Array


class MambaParameters(NamedTuple):
    """The parameters of the block: products without bias, and those of the two cells inside."""

    input: Array
    convolution: Any
    recurrence: Any
    output: Array


@factory
def mamba(
    features: int,
    *,
    expand: int = 2,
    state: int = 16,
    width: int = 4,
    rank: int | None = None,
    layers: int = 1,
    negative_eigenvalues: bool = False,
) -> Cell:
    """The Mamba block: a gated branch of convolution and selective state space.

        u, z = split(W_input x)                       expand * features each
        u = silu(convolution(u))
        u = s6(u)
        y = W_output (u * silu(z))

    Args:
      features: width of the input and of the output.
      expand: how many times wider the branch is.
      state: size of the state of each feature of the branch.
      width: number of inputs that the convolution sees.
      rank: of the step sizes, by default `features / 16`, rounded up.
      layers: how many such layers the model has; W_output starts smaller the more there are.
      negative_eigenvalues: of the recurrence, see `sj.s6`.

    Returns:
      A cell with parameters `MambaParameters(input, convolution, recurrence, output)` and the
      carry `MambaState(convolution, state)`. In a model it sits behind a norm and inside
      `sj.residual`.

    Raises:
      ValueError: from `init`, if the input has another width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.mamba(4)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 4)))
      >>> carry.state.shape, ys.shape
      ((8, 16), (5, 4))

    Source: Gu and Dao 2023, arXiv:2312.00752; initialisation: the released code.
    """
    features = positive_int("mamba", "features", features)
    layers = positive_int("mamba", "layers", layers)
    inner = features * positive_int("mamba", "expand", expand)
    rank = -(-features // 16) if rank is None else rank
    convolution = short_convolution(
        inner,
        width=width,
        activation=jax.nn.silu,
        bias_init=initializers.Uniform(width**-0.5),
    )
    recurrence = s6(inner, state=state, rank=rank, negative_eigenvalues=negative_eigenvalues)

    def init(key, in_features):
        expect_width("mamba", features, in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key, 4)
        return MambaParameters(
            initializers.Uniform(features**-0.5)(keys[0], (features, 2 * inner), dtype),
            convolution.init(keys[1], inner),
            recurrence.init(keys[2], inner),
            initializers.Uniform((inner * layers) ** -0.5)(keys[3], (inner, features), dtype),
        )

    def initial_carry(params, batch_shape=()):
        return MambaState(
            convolution.initial_carry(params.convolution, batch_shape),
            recurrence.initial_carry(params.recurrence, batch_shape),
        )

    def branches(params: Params, x: Array) -> list[Array]:
        expect_inputs("mamba", params.input.shape[0], x)
        return jnp.split(x @ params.input, 2, axis=-1)

    def join(params: Params, u: Array, gate: Array) -> Array:
        return (u * jax.nn.silu(gate)) @ params.output

    def step(params, carry, x):
        u, gate = branches(params, x)
        convolved, u = convolution.step(params.convolution, carry.convolution, u)
        state, u = recurrence.step(params.recurrence, carry.state, u)
        return MambaState(convolved, state), join(params, u, gate)

    def sequence(scan, params, carry, initial, xs, steps):
        u, gate = branches(params, xs)
        first = scan(
            convolution, params.convolution, carry.convolution, initial.convolution, u, steps
        )
        second = scan(recurrence, params.recurrence, carry.state, initial.state, first.ys, steps)
        return Run(
            carry=MambaState(first.carry, second.carry),
            ys=join(params, second.ys, gate),
            carries=MambaState(first.carries, second.carries),
        )

    return checkpointed(
        Cell(init, initial_carry, step, features, in_features=features, sequence=sequence)
    )


@factory
def mamba_block(features: int, *, state: int = 16, layers: int = 1) -> Cell:
    """One block of a Mamba.

        y = x + mamba(norm(x))

    Args:
      features: width of the input and of the output.
      state: of the recurrence.
      layers: how many such blocks the model has.

    Returns:
      A cell; `sj.stack(*[sj.mamba_block(64)] * 6)` is the trunk of a language model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(*[sj.mamba_block(8, state=4)] * 2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Gu and Dao 2023, arXiv:2312.00752.
    """
    return prenorm(mamba(features, state=state, layers=layers))
