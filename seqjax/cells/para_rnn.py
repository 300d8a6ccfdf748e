"""Gated cells with diagonal recurrences: made for Newton's method over all steps at once."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from seqjax.cells.gru import gru
from seqjax.cells.lstm import lstm
from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.types import Array, Initializer


@dataclasses.dataclass(frozen=True)
class _SpreadBias:
    """Of one gate evenly spaced from 0 to `last` over its units, 0 of the others."""

    gate: int
    last: float

    def __call__(self, key: Any, shape: tuple[int, ...], dtype: Any = jnp.float32) -> Array:
        spread = jnp.linspace(0.0, self.last, shape[-1], dtype=dtype)
        return jnp.zeros(shape, dtype).at[self.gate].set(spread)


@factory
def para_gru(
    features: int,
    *,
    recurrent_limit: float | None = 0.5,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer | None = None,
) -> Cell:
    """A GRU whose units see none but themselves.

        r = sigmoid(W_r x + b_r + u_r * h)
        z = sigmoid(W_z x + b_z + u_z * h)
        n = tanh(W_n x + b_n + u_n * (r * h))
        h = (1 - z) * n + z * h

    So it is `sj.gru(features, reset="before", blocks=features)`. The Jacobian of a step is
    diagonal, and a round of `method="newton"` is elementwise; three rounds find all states of a new
    cell, however many steps there are.

    Args:
      features: width of the hidden state `h` and of the output.
      recurrent_limit: bound of u, see `sj.gated`; None for none.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of u, by default normal with standard deviation
        `2 / sqrt(5 * features)`.

    Returns:
      A gated cell whose carry is `h`, `(*batch, features)`, with the parameters of `sj.gru`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.para_gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)), method="newton")
      >>> h.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Danieli et al. 2025, arXiv:2510.21450, whose z is our 1 - z. The bound is that of its
    experiments; its code (apple/ml-pararnn) has none. The start is that of the code: b_z, from 0 to
    1 over the units. There W may have blocks; here it has one.
    """
    features = positive_int("para_gru", "features", features)
    return gru(
        features,
        reset="before",
        blocks=features,
        recurrent_limit=recurrent_limit,
        input_init=input_init,
        recurrent_init=recurrent_init or _small(features),
        bias_init=_SpreadBias(gate=1, last=1.0),
    )


@factory
def para_lstm(
    features: int,
    *,
    recurrent_limit: float | None = 0.5,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer | None = None,
) -> Cell:
    """An LSTM whose units see none but themselves, with one gate for forgetting and writing.

        f = sigmoid(W_f x + b_f + u_f * h + p_f * c)
        g = tanh(W_g x + b_g + u_g * h)
        c = f * c + (1 - f) * g
        o = sigmoid(W_o x + b_o + u_o * h + p_o * c)
        h = o * tanh(c)

    So it is `sj.lstm(features, coupled=True, peepholes=True, blocks=features)`. The Jacobian of a
    step falls into blocks of 2 x 2, one for each unit.

    Args:
      features: width of the cell state `c`, of `h` and of the output.
      recurrent_limit: bound of u and p, see `sj.gated`; None for none.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of u and p, by default normal with standard deviation
        `2 / sqrt(5 * features)`.

    Returns:
      A gated cell whose carry is `LSTMState(hidden, cell)`, with the parameters of `sj.lstm`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.para_lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)), method="newton")
      >>> carry.cell.shape, ys.shape
      ((2, 4), (2, 5, 4))

    Source: Danieli et al. 2025, arXiv:2510.21450. The bound is that of its experiments; its code
    (apple/ml-pararnn) has none. The start is that of the code: b_f, from 0 to -1 over the units.
    There W may have blocks; here it has one.
    """
    features = positive_int("para_lstm", "features", features)
    start = recurrent_init or _small(features)
    return lstm(
        features,
        forget_bias=_SpreadBias(gate=0, last=-1.0),
        peepholes=True,
        coupled=True,
        blocks=features,
        recurrent_limit=recurrent_limit,
        input_init=input_init,
        recurrent_init=start,
        peephole_init=start,
    )


def _small(features: int) -> Initializer:
    return initializers.Normal(2 * (5 * features) ** -0.5)
