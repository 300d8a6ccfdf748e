"""The sLSTM of xLSTM: exponential gates, a normaliser, heads that mix inside; its block."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import log_scaled
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gated import gated
from seqjax.core.gates import like_features
from seqjax.core.layers import centred_norm, feed_forward, pointwise, standardize
from seqjax.core.linear import linear
from seqjax.core.matrix import from_heads
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer


class SLSTMState(NamedTuple):
    """What an sLSTM carries, all `(*batch, features)`: `hidden` is the output; `cell` and
    `normalizer` are to be multiplied by `exp(maximum)`, which their quotient does not show."""

    hidden: Array
    cell: Array
    normalizer: Array
    maximum: Array


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
      A gated cell whose carry is `SLSTMState(hidden, cell, normalizer, maximum)`; without R a
      linear one whose carry is `sj.LogScaled((c', n'), maximum)`.

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
    heads = positive_int("slstm", "heads", heads)
    if features % heads:
        raise ValueError(f"slstm: `heads={heads}` does not divide `features={features}`.")
    if input_init is None:
        input_init = jax.nn.initializers.normal((2 / (5 * features)) ** 0.5)
    depth = layer / max(1, layers - 1)

    def bias_init(key, shape, dtype):
        place = jnp.tile(jnp.linspace(0.0, 1.0, features // heads), heads)
        forget = 5.0 - 12.0 * place ** (0.3 + 1.3 * depth)
        return jnp.zeros(shape, dtype).at[1].set(forget.astype(dtype))

    def update(state, x, r):
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

    def coefficients(x):
        i, f, z, _ = x
        return jax.nn.log_sigmoid(f), log_scaled((jnp.tanh(z), jnp.ones_like(z)), i)

    def read(state, x):
        cell, normalizer = state.values
        return jax.nn.sigmoid(x[3]) * cell / normalizer

    if not recurrent:
        return linear(
            coefficients,
            features=features,
            gates=4,
            read=read,
            input_init=input_init,
            bias_init=bias_init,
        )
    return gated(
        update,
        features=features,
        gates=4,
        state=SLSTMState,
        hidden="hidden",
        blocks=heads,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )


@factory
def slstm_block(features: int, *, heads: int = 4, layer: int = 0, layers: int = 1) -> Cell:
    """One block of an xLSTM made of scalar memories.

        x = x + head_norm(slstm(norm(x)))           head_norm: layer norm, head by head
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      heads: of the sLSTM.
      layer, layers: which layer this is, of how many: some parameters start accordingly.

    Returns:
      A cell; together with `sj.prenorm(sj.mlstm_layer(64))` it makes the trunk of a language
      model, see `sj.block_stack`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.prenorm(sj.mlstm_layer(8, heads=2)), sj.slstm_block(8, heads=2))
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Beck et al. 2024, arXiv:2405.04517, the block with the projections behind the sLSTM,
    without the short convolution that the paper has as an option. Products of the input are dense;
    in the authors' code they have a block for each head. There norms have no bias.
    """
    cell = slstm(features, heads=heads, layer=layer, layers=layers)
    exact = functools.partial(jax.nn.gelu, approximate=False)
    after = feed_forward(features, hidden=-(-4 * features // 3), activation=exact)
    memory = stack(cell, _head_norm(features, heads=heads))
    return stack(prenorm(memory, norm=centred_norm), prenorm(after, norm=centred_norm))


@factory
def _head_norm(features: int, *, heads: int) -> Cell:
    def apply(gain, x):
        apart = x.reshape(*x.shape[:-1], heads, features // heads)
        return from_heads(standardize(apart, 1e-5)) * like_features(gain, x)

    return pointwise(apply, features=features, init=lambda key, in_features: jnp.ones((features,)))
