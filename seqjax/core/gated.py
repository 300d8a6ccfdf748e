"""From one update rule to a cell: the products, biases and parameters around it."""

from collections.abc import Callable, Mapping
from typing import Any

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory, positive_int
from seqjax.core.gated_recurrence import Gated
from seqjax.core.types import Array, Initializer


@factory
def gated(
    update: Callable[..., Any],
    *,
    features: int,
    gates: int,
    state: type | None = None,
    hidden: str | None = None,
    wide_state: bool = False,
    parameters: Mapping[str, Initializer] | None = None,
    recurrent_bias: bool = False,
    blocks: int = 1,
    recurrent_limit: float | None = None,
    modulate: Callable[..., Array] | None = None,
    modulated: int = 0,
    input_gates: int = 0,
    projection: int | None = None,
    layer_norm: bool = False,
    input_weights: bool = True,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """A cell from its gate equations.

    At each step, with `h` the hidden state:

        x_g = input[:, g] x + bias[g]         for every gate g
        r_g = recurrent[:, g] h               but for the last `input_gates`
        state = update(state, x, r)
        y = hidden leaf of the new state

    Parameters are a dict: `input` `(in_features, gates, features)`, `recurrent`
    `(features, gates, features)`, `bias` `(gates, features)`, and what the options change.

    Args:
      update: `(state, x, r) -> state`, or `(state, x, r, p)` when `parameters` are given.
        `x` and `r` hold `gates` arrays `(*batch, features)`: they index and unpack by
        gate, and `x + r` adds gate by gate. `p` has the extra parameters as attributes.
        Everything in it should work unit by unit on the last axis.
      features: width of the state, and of the output unless `projection` is given.
      gates: number of gates, candidates included.
      state: a NamedTuple class for a state with several leaves, each `(*batch, features)`.
        Without it the state is one array, the hidden state itself.
      hidden: the field of `state` that feeds the recurrent product and is the output;
        the first field unless given.
      wide_state: keep the other fields in float32 at least, also where parameters are narrower:
        for sums over many steps, which stop growing where one step is less than their rounding.
      parameters: names of extra parameters of shape `(features,)` and how they start, for
        peepholes and the like.
      recurrent_bias: add a `recurrent_bias` `(gates, features)` to `r`, apart from `bias`.
      blocks: number of equal diagonal blocks (heads) of the recurrent weights, which are
        then `(blocks, features / blocks, gates, features / blocks)`. `blocks=features` is
        a diagonal recurrence.
      recurrent_limit: bound of `recurrent`: larger weights act as if they were this large, and
        their gradient is 0. Without it there is none.
      modulate: `(state, x, r) -> (*batch, features)` (and `p`, as for `update`): what the
        last `modulated` gates see in place of `h`; here `r` holds the gates before them.
        The GRU of the paper applies its reset gate this way.
      modulated: how many gates, the last ones of `r`, take the product with `modulate`'s result.
      input_gates: how many gates, the last ones of `x`, are of the input alone: `r` and the
        recurrent parameters have none for them.
      projection: width of a projected hidden state: the hidden leaf that `update` returns
        is multiplied by `projection` `(features, projection)`, and `recurrent` is
        `(projection, gates, features)`.
      layer_norm: normalise `input x` and `recurrent h` before they meet, each over all
        gates, with gains `input_gain` and `recurrent_gain` `(gates, features)`.
      input_weights: whether there are any. If not, the input is what the gates get of it, one
        after the other, `(*batch, gates * features)`: whatever stands before the cell made it.
      input_init: initializer of each gate's input weights `(in_features, features)`.
      recurrent_init: initializer of each gate's (and block's) recurrent weights.
      bias_init: initializer of `bias` `(gates, features)`.

    Returns:
      A `Cell`. Equal calls return equal cells as long as `update` is the same function:
      put `sj.factory` or `functools.cache` on a function that defines `update` inside.

    Raises:
      ValueError: if sizes or names do not fit together.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> def minimal_gated_unit(features):
      ...     def update(h, x, r):
      ...         forget = jax.nn.sigmoid(x[0] + r[0])
      ...         return (1 - forget) * h + forget * jnp.tanh(x[1] + forget * r[1])
      ...     return sj.gated(update, features=features, gates=2)
      >>> cell = minimal_gated_unit(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> jax.tree.map(jnp.shape, params)
      {'bias': (2, 4), 'input': (3, 2, 4), 'recurrent': (4, 2, 4)}
      >>> carry, ys = sj.scan(cell, params, jnp.ones((2, 5, 3)))
      >>> ys.shape
      (2, 5, 4)
    """
    structure = Gated(
        update=update,
        features=positive_int("gated", "features", features),
        gates=positive_int("gated", "gates", gates),
        state=state,
        hidden=hidden,
        wide_state=wide_state,
        parameters=tuple((parameters or {}).items()),
        recurrent_bias=recurrent_bias,
        blocks=positive_int("gated", "blocks", blocks),
        recurrent_limit=recurrent_limit,
        modulate=modulate,
        modulated=modulated,
        input_gates=input_gates,
        projection=None if projection is None else positive_int("gated", "projection", projection),
        layer_norm=layer_norm,
        input_weights=input_weights,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
    return Cell(
        init=structure.init,
        initial_carry=structure.initial_carry,
        step=structure.step,
        features=structure.hidden_features,
        output=structure.output,
        structure=structure,
    )
