"""The sLSTM of xLSTM: exponential gates, a normaliser, heads that mix inside; layer and block."""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import LogScaled, log_scaled
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, expect_width, factory, position_in_stack, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.gated import gated
from seqjax.core.gates import Gates, initialize_gates, like_features, project_blocks
from seqjax.core.heads import from_heads, head_width
from seqjax.core.layers import feed_forward, layer_norm, pointwise, standardize
from seqjax.core.linear import linear
from seqjax.core.shift import convolve, short_convolution, windowed
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer


@exportable
class SLSTMState(NamedTuple):
    """What an sLSTM carries, all `(*batch, features)`: `hidden` is the output; `cell` and
    `normalizer` are to be multiplied by `exp(maximum)`, which their quotient does not show."""

    hidden: Array
    cell: Array
    normalizer: Array
    maximum: Array

    settable = ("hidden",)
    exponent = "maximum"
    scaled = ("cell", "normalizer")


@factory
def slstm(
    features: int,
    *,
    heads: int = 1,
    recurrent: bool = True,
    layer: int = 0,
    layers: int = 1,
    input_init: Initializer | None = None,
    recurrent_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The scalar LSTM of xLSTM, with exponential gates.

        i = W_i x + R_i h + b_i
        f = log(sigmoid(W_f x + R_f h + b_f))
        z = tanh(W_z x + R_z h + b_z)
        o = sigmoid(W_o x + R_o h + b_o)
        c = exp(f) * c + exp(i) * z
        n = exp(f) * n + exp(i)
        h = o * c / n

    Gates are stored in the order i, f, z, o. Of c and n the largest exponent is kept apart,
    so gates of any size do not overflow: `m = max(f + m, i)`, and m = i at the first step.

    Args:
      features: width of the state and of the output.
      heads: number of equal diagonal blocks of R: units mix inside a head.
      recurrent: whether there is R at all. Without it the cell is linear in its state, and
        runs in parallel over time.
      layer, layers: which layer this is, of how many: the biases of the forget gate start
        accordingly.
      input_init: initializer of each gate's W, by default normal with standard deviation
        `sqrt(2 / (5 * features))`.
      recurrent_init: initializer of each gate's and head's R.

    Returns:
      A gated cell whose carry is `SLSTMState(hidden, cell, normalizer, maximum)`, in float32 at
      least but for `hidden`; without R a linear one whose carry is `sj.LogScaled((c', n'),
      maximum)`.

    Raises:
      ValueError: if `heads` does not divide `features`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.slstm(4, heads=2)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> carry.normalizer.shape, ys.shape
      ((4,), (5, 4))

    Source: Beck et al. 2024, arXiv:2405.04517, with the sigmoid forget gate and the start of the
    authors' code. Their first step is told by a whole batch whose n is zero; here each unit
    tells its own. No small number is added to n.
    """
    features = positive_int("slstm", "features", features)
    width = head_width("slstm", "features", features, heads)
    depth, _ = position_in_stack("slstm", layer, layers)
    options: dict[str, Any] = {
        "features": features,
        "gates": 4,
        "input_init": input_init or initializers.Normal((2 / (5 * features)) ** 0.5),
        "bias_init": _ForgetBias(width, depth),
    }
    if not recurrent:
        return linear(_coefficients, read=_read, **options)
    return gated(
        _update,
        state=SLSTMState,
        hidden="hidden",
        wide_state=True,
        blocks=heads,
        recurrent_init=recurrent_init,
        **options,
    )


@dataclasses.dataclass(frozen=True)
class _ForgetBias:
    """Biases of four gates: those of the forget gate fall from 5 to -7 over a head, the later the
    layer, the later they fall."""

    width: int
    depth: float

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any) -> Array:
        position = jnp.tile(jnp.linspace(0.0, 1.0, self.width), shape[-1] // self.width)
        forget = 5.0 - 12.0 * position ** (0.3 + 1.3 * self.depth)
        return jnp.zeros(shape, dtype).at[1].set(forget.astype(dtype))


def _update(state: SLSTMState, x: Gates, r: Gates) -> SLSTMState:
    i, f, z, o = x + r
    f = jax.nn.log_sigmoid(f) + state.maximum
    # The maximum is a gauge: it cancels in c / n, and so does its gradient.
    first = state.normalizer == 0
    maximum = jax.lax.stop_gradient(jnp.where(first, i, jnp.maximum(f, i)))
    keep = jnp.where(first, 0, jnp.exp(jnp.where(first, 0, f - maximum)))
    write = jnp.exp(i - maximum)
    cell = keep * state.cell + write * jnp.tanh(z)
    normalizer = keep * state.normalizer + write
    return SLSTMState(jax.nn.sigmoid(o) * cell / normalizer, cell, normalizer, maximum)


def _coefficients(x: Gates) -> tuple[Array, LogScaled]:
    i, f, z, _ = x
    return jax.nn.log_sigmoid(f), log_scaled((jnp.tanh(z), jnp.ones_like(z)), i)


def _read(state: LogScaled, x: Gates) -> Array:
    cell, normalizer = state.values
    return jax.nn.sigmoid(x[3]) * cell / normalizer


@factory
def slstm_layer(
    features: int, *, heads: int = 4, convolution: int = 4, layer: int = 0, layers: int = 1
) -> Cell:
    """The sLSTM behind a short convolution, with a norm behind it.

        c = silu(convolve(x))
        i, f from c, z, o from x as in `sj.slstm`       W with a block for each head
        y = norm(h)                                     layer norm, head by head

    Args:
      features: width of the input and of the output.
      heads: number of equal diagonal blocks of R and of W.
      convolution: steps of the short convolution.
      layer, layers: which layer this is, of how many, as for `sj.slstm`.

    Returns:
      A cell of three parts, `gates`, `memory` and `norm`, whose carry is a dict of theirs: the last
      inputs of the convolution, and the `SLSTMState`. In a model it sits behind a norm and inside
      `sj.residual`; see `sj.slstm_block`.

    Raises:
      ValueError: if `heads` does not divide `features`, and from `init` if the input has another
        width than the output.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.slstm_layer(8, heads=2)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((2, 5, 8)))
      >>> carry["gates"].inputs.shape, carry["memory"].cell.shape, ys.shape
      ((2, 3, 8), (2, 8), (2, 5, 8))

    Source: Beck et al. 2024, arXiv:2405.04517, figure 9, with the start of the authors' code.
    """
    features = positive_int("slstm_layer", "features", features)
    width = head_width("slstm_layer", "features", features, heads)
    convolution = positive_int("slstm_layer", "convolution", convolution)
    depth, _ = position_in_stack("slstm_layer", layer, layers)
    small = initializers.Normal((2 / (5 * features)) ** 0.5)
    short = short_convolution(
        features, width=convolution, bias_init=initializers.Uniform(convolution**-0.5)
    )

    def init_gates(key, in_features):
        expect_width("slstm_layer", features, in_features)
        keys = jax.random.split(key)
        shape = (heads, width, 4, width)
        return {
            "convolution": short.init(keys[0], features),
            "weights": initialize_gates(keys[1], small, shape, jnp.result_type(float)),
        }

    def gates(p, window):
        x = window[0]
        c = jax.nn.silu(convolve(p["convolution"], window))
        early, late = jnp.split(p["weights"], 2, axis=-2)
        return jnp.concatenate([*project_blocks(c, early), *project_blocks(x, late)], axis=-1)

    memory = gated(
        _update,
        features=features,
        gates=4,
        state=SLSTMState,
        hidden="hidden",
        wide_state=True,
        blocks=heads,
        input_weights=False,
        recurrent_init=initializers.Constant(0.0),
        bias_init=_ForgetBias(width, depth),
    )
    return stack(
        gates=windowed(
            gates,
            width=convolution,
            features=4 * features,
            init=init_gates,
            in_features=features,
        ),
        memory=memory,
        norm=_head_norm(features, heads=heads),
    )


@factory
def slstm_block(
    features: int,
    *,
    hidden: int | None = None,
    layer: int = 0,
    layers: int = 1,
    norm_bias: bool = True,
    norm_epsilon: float = 1e-5,
    **options: Any,
) -> Cell:
    """One block of an xLSTM made of scalar memories.

        x = x + slstm_layer(norm(x))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      hidden: width inside the feed-forward layer, by default 4/3 of `features`.
      layer, layers: which layer this is, of how many: some parameters start accordingly.
      norm_bias: whether the norms in front of both have one; in the authors' code they have none.
      norm_epsilon: of these norms.
      **options: further arguments of the layer, such as `heads`.

    Returns:
      A cell; together with `sj.prenorm(sj.mlstm_layer(64))` it makes the trunk of a language
      model, see `sj.block_stack`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.slstm_block(8, heads=2)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Beck et al. 2024, arXiv:2405.04517, the block with the projections behind the sLSTM.
    """
    memory = slstm_layer(features, layer=layer, layers=layers, **options)
    exact = functools.partial(jax.nn.gelu, approximate=False)
    hidden = -(-4 * features // 3) if hidden is None else hidden
    after = feed_forward(features, hidden=hidden, activation=exact)
    norm = {"norm": layer_norm, "bias": norm_bias, "epsilon": norm_epsilon}
    return stack(time=prenorm(memory, **norm), channel=prenorm(after, **norm))


@factory
def _head_norm(features: int, *, heads: int) -> Cell:
    def apply(gain, x):
        apart = x.reshape(*x.shape[:-1], heads, features // heads)
        return from_heads(standardize(apart, 1e-5)) * like_features(gain, x)

    return pointwise(apply, features=features, init=lambda key, in_features: jnp.ones((features,)))
