"""The multiplicative LSTM."""

import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.cells.lstm import LSTMState
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.types import Initializer


@factory
def multiplicative_lstm(
    features: int,
    *,
    forget_bias: float = 1.0,
    blocks: int = 1,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
) -> Cell:
    """An LSTM whose recurrent weights are another matrix for every input.

        m = (W_m x + b_m) * (U_m h)
        i = sigmoid(W_i x + U_i m + b_i)
        f = sigmoid(W_f x + U_f m + b_f)
        g = tanh(W_g x + U_g m + b_g)
        o = sigmoid(W_o x + U_o m + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Gates are stored in the order m, i, f, g, o.

    Args:
      features: width of the cell state `c`, of `m`, of `h` and of the output.
      forget_bias: start of b_f.
      blocks: diagonal blocks of U, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.

    Returns:
      A gated cell whose carry is `LSTMState(hidden, cell)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.multiplicative_lstm(4)
      >>> carry, ys = sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 5, 3)))
      >>> carry.cell.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Krause et al. 2016, arXiv:1609.07959, where m has no bias and the output gate is inside
    of the tanh, `h = tanh(o * c)`. Here the output is that of an LSTM, as in most code since, and
    in torchrecurrent, which has a bias at every product.
    """

    def intermediate(state, x, r):
        return x[0] * r[0]

    def update(state, x, r):
        _, i, f, g, o = x + r
        i = named_scope("input")(sigmoid)(i)
        f = named_scope("forget")(sigmoid)(f)
        c = f * state.cell + i * named_scope("candidate")(jnp.tanh)(g)
        o = named_scope("output")(sigmoid)(o)
        return LSTMState(hidden=o * named_scope("cell")(jnp.tanh)(c), cell=c)

    return gated(
        update,
        features=features,
        gates=5,
        state=LSTMState,
        hidden="hidden",
        modulate=intermediate,
        modulated=4,
        blocks=blocks,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=initializers.GateBias(2, forget_bias),
    )
