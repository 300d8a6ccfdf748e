"""Long short-term memory and its variants."""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.exportable import exportable
from seqjax.core.gated import gated
from seqjax.core.layers import standardize
from seqjax.core.types import Array, Initializer


@exportable
class LSTMState(NamedTuple):
    """What an LSTM carries: both `(*batch, features)`, `hidden` narrower if projected."""

    hidden: Array
    cell: Array


@factory
def lstm(
    features: int,
    *,
    forget_bias: float | Initializer = 1.0,
    peepholes: bool = False,
    coupled: bool = False,
    projection: int | None = None,
    blocks: int = 1,
    recurrent_limit: float | None = None,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    peephole_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """Long short-term memory.

        i = sigmoid(W_i x + U_i h + b_i)
        f = sigmoid(W_f x + U_f h + b_f)
        g = tanh(W_g x + U_g h + b_g)
        o = sigmoid(W_o x + U_o h + b_o)
        c = f * c + i * g
        h = o * tanh(c)

    Gates are stored in the order i, f, g, o (f, g, o when coupled).

    Args:
      features: width of the cell state `c`, and of `h` and the output unless projected.
      forget_bias: start of b_f, a number; or an initializer of the whole `(gates,
        features)` bias, such as `sj.initializers.Chrono(longest=1000)`.
      peepholes: let the gates see the cell state, unit by unit: i and f the old one, o the
        new one. Adds parameters `peephole_input`, `peephole_forget`, `peephole_output`.
      coupled: one gate for both, `i = 1 - f`.
      projection: width of a projected hidden state, `h = (o * tanh(c)) P`.
      blocks: diagonal blocks (heads) of U, see `sj.gated`.
      recurrent_limit: bound of the entries of U and of the peepholes, see `sj.gated`.
      layer_norm: normalise `W x` and `U h` (over all gates) and the new cell state on its
        way to `h`; adds `cell_gain` and `cell_bias`.
      input_init: initializer of each gate's W (and of P).
      recurrent_init: initializer of each gate's U.
      peephole_init: initializer of each peephole.

    Returns:
      A cell whose carry is `LSTMState(hidden, cell)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)), lengths=jnp.array([5, 2]))
      >>> carry.hidden.shape, carry.cell.shape, ys.shape
      ((2, 4), (2, 4), (2, 5, 4))

    Source: Hochreiter and Schmidhuber 1997; forget gate: Gers et al. 2000; peepholes: Gers
    et al. 2002; coupled gates: Greff et al. 2015, arXiv:1503.04069; projection: Sak et al.
    2014, arXiv:1402.1128; layer norm: arXiv:1607.06450. PyTorch has two biases, of which
    this has the sum, starts them without a forget bias, and its `proj_size` is
    `projection`. Haiku orders the gates i, g, f, o.
    """
    forget = 0 if coupled else 1
    if isinstance(forget_bias, initializers.Chrono):
        bias_init = dataclasses.replace(forget_bias, forget=forget, input=None if coupled else 0)
    elif callable(forget_bias):
        bias_init = forget_bias
    else:
        bias_init = initializers.GateBias(forget, float(forget_bias))

    parameters: dict[str, Initializer] = {}
    if peepholes:
        gates = ("forget", "output") if coupled else ("input", "forget", "output")
        parameters |= {f"peephole_{gate}": peephole_init for gate in gates}
    peephole_names = tuple(parameters)
    if layer_norm:
        parameters["cell_gain"] = initializers.Constant(1.0)
        parameters["cell_bias"] = initializers.Constant(0.0)

    # `p` holds the extra parameters; without any, `update` is called without it.
    def update(state, x, r, p: Any = None):
        c = state.cell
        if peephole_names and recurrent_limit is not None:
            weights = {name: getattr(p, name) for name in peephole_names}
            limited = partial(jnp.clip, min=-recurrent_limit, max=recurrent_limit)
            p = p._replace(**jax.tree.map(limited, weights))
        if coupled:
            f, g, o = x + r
            f = named_scope("forget")(sigmoid)(f + p.peephole_forget * c if peepholes else f)
            i = 1 - f
        else:
            i, f, g, o = x + r
            i = named_scope("input")(sigmoid)(i + p.peephole_input * c if peepholes else i)
            f = named_scope("forget")(sigmoid)(f + p.peephole_forget * c if peepholes else f)
        c = f * c + i * named_scope("candidate")(jnp.tanh)(g)
        o = named_scope("output")(sigmoid)(o + p.peephole_output * c if peepholes else o)
        seen = standardize(c) * p.cell_gain + p.cell_bias if layer_norm else c
        return LSTMState(hidden=o * named_scope("cell")(jnp.tanh)(seen), cell=c)

    return gated(
        update,
        features=features,
        gates=3 if coupled else 4,
        state=LSTMState,
        hidden="hidden",
        parameters=parameters,
        projection=projection,
        blocks=blocks,
        recurrent_limit=recurrent_limit,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
