"""Minimal gated cells without recurrent products: minGRU and minLSTM, and a block."""

import jax
import jax.numpy as jnp

from seqjax.core import initializers
from seqjax.core.affine import log_scaled
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell, factory
from seqjax.core.layers import dense, feed_forward
from seqjax.core.linear import linear
from seqjax.core.shift import short_convolution
from seqjax.core.stack import stack
from seqjax.core.types import Array, Initializer


@factory
def minimal_gru(
    features: int,
    *,
    logarithmic: bool = False,
    input_init: Initializer = initializers.Glorot(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The minimal GRU: a GRU whose gates see the input alone.

        z = sigmoid(W_z x + b_z)
        n = W_n x + b_n                              g(W_n x + b_n) if logarithmic
        h = (1 - z) * h + z * n

    with `g(u) = u + 1/2` for `u >= 0` and `sigmoid(u)` below. Gates are stored in the order
    z, n. `1 - z` is computed as `sigmoid(-W_z x - b_z)`, which keeps its digits where z is
    close to 1.

    Args:
      features: width of the hidden state `h` and of the output.
      logarithmic: the form that the paper computes with logarithms: a positive candidate,
        and a state kept as `values * exp(maximum)`. It costs more; it is here to compare with.
      input_init: initializer of each gate's W.
      bias_init: initializer of b.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`, or `sj.LogScaled((h',), maximum)` if
      logarithmic, with `h = h' * exp(maximum)`. It is in float32 at least.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Feng et al. 2024, "Were RNNs all we needed?", arXiv:2410.01201. The paper starts W
    as PyTorch's linear layers do (`sj.initializers.Uniform(in_features**-0.5)`), and prints a
    cumulative sum of logarithms, which loses digits as time goes on; here the logarithmic form
    is a scan too.
    """

    def coefficients(x):
        update, candidate = x
        keep, write = jax.nn.sigmoid(-update), jax.nn.sigmoid(update)
        return keep, write * candidate

    def logarithms(x):
        update, candidate = x
        exponent = jax.nn.log_sigmoid(update) + _log_positive(candidate)
        return jax.nn.log_sigmoid(-update), log_scaled((jnp.ones_like(update),), exponent)

    return linear(
        logarithms if logarithmic else coefficients,
        features=features,
        gates=2,
        read=_read_logarithmic if logarithmic else None,
        input_init=input_init,
        bias_init=bias_init,
    )


@factory
def minimal_lstm(
    features: int,
    *,
    logarithmic: bool = False,
    input_init: Initializer = initializers.Glorot(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The minimal LSTM: gates that see the input alone and sum to 1.

        f = sigmoid(W_f x + b_f)
        i = sigmoid(W_i x + b_i)
        n = W_n x + b_n                              g(W_n x + b_n) if logarithmic
        h = f / (f + i) * h + i / (f + i) * n

    with `g` as in `sj.minimal_gru`. Gates are stored in the order f, i, n. The two quotients
    are computed as `sigmoid(-d)` and `sigmoid(d)`, `d = log i - log f`, so nothing is divided
    by zero where both gates close.

    Args:
      features: width of the hidden state `h` and of the output.
      logarithmic: as for `sj.minimal_gru`.
      input_init: initializer of each gate's W.
      bias_init: initializer of b.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`, or `sj.LogScaled((h',), maximum)` if
      logarithmic. It is in float32 at least.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Feng et al. 2024, arXiv:2410.01201.
    """

    def difference(forget: Array, write: Array) -> Array:
        return jax.nn.log_sigmoid(write) - jax.nn.log_sigmoid(forget)

    def coefficients(x):
        forget, write, candidate = x
        d = difference(forget, write)
        return jax.nn.sigmoid(-d), jax.nn.sigmoid(d) * candidate

    def logarithms(x):
        forget, write, candidate = x
        d = difference(forget, write)
        exponent = jax.nn.log_sigmoid(d) + _log_positive(candidate)
        return jax.nn.log_sigmoid(-d), log_scaled((jnp.ones_like(d),), exponent)

    return linear(
        logarithms if logarithmic else coefficients,
        features=features,
        gates=3,
        read=_read_logarithmic if logarithmic else None,
        input_init=input_init,
        bias_init=bias_init,
    )


def _log_positive(x: Array) -> Array:
    """`log g(x)`, with the branch that is not taken kept away from the logarithm of 0."""
    above = jnp.log(jnp.maximum(x, 0) + 0.5)
    return jnp.where(x >= 0, above, jax.nn.log_sigmoid(jnp.minimum(x, 0)))


def _read_logarithmic(state, x):
    (value,) = state.values
    return value * jnp.exp(state.maximum)


@factory
def minimal_gru_block(features: int, *, expand: int = 1, norm_epsilon: float = 1e-6) -> Cell:
    """A block around the minimal GRU.

        x = x + W minimal_gru(convolution(norm(x)))
        y = x + feed_forward(norm(x))

    Args:
      features: width of the input and of the output.
      expand: how many times wider the state is.
      norm_epsilon: of the norms in front of both.

    Returns:
      A cell; `sj.stack(*[sj.minimal_gru_block(64)] * 3)` is the trunk of a model.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_gru_block(8)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 8), jnp.ones((5, 8)))[1].shape
      (5, 8)

    Source: Feng et al. 2024, arXiv:2410.01201, as described for language models.
    """
    mix = stack(
        convolve=short_convolution(features),
        memory=minimal_gru(expand * features),
        output=dense(features),
    )
    return stack(
        time=prenorm(mix, epsilon=norm_epsilon),
        channel=prenorm(feed_forward(features), epsilon=norm_epsilon),
    )
