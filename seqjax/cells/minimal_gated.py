"""The minimal gated unit."""

from typing import Literal

import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.types import Initializer


@factory
def minimal_gated(
    features: int,
    *,
    reset: Literal["after", "before"] = "after",
    blocks: int = 1,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The minimal gated unit: a GRU with one gate.

        f = sigmoid(W_f x + U_f h + b_f)
        n = tanh(W_n x + b_n + f * (U_n h))      reset="after"
        n = tanh(W_n x + b_n + U_n (f * h))      reset="before"
        h = (1 - f) * h + f * n

    Gates are stored in the order f, n.

    Args:
      features: width of the hidden state `h` and of the output.
      reset: whether the gate acts after the recurrent product (one product per step) or
        before it, as in the paper (two, one after the other).
      blocks: diagonal blocks (heads) of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.
      bias_init: initializer of b.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.minimal_gated(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sum(leaf.size for leaf in jax.tree.leaves(params))
      64

    Source: Zhou et al. 2016, arXiv:1603.09420. Flax's `MGUCell` resets after the product
    and exchanges f and 1 - f in the last line.
    """
    if reset not in ("after", "before"):
        raise ValueError(f"minimal_gated: `reset` must be 'after' or 'before', got {reset!r}.")

    def update_after(h, x, r):
        forget = named_scope("forget")(sigmoid)(x[0] + r[0])
        return (1 - forget) * h + forget * named_scope("candidate")(jnp.tanh)(x[1] + forget * r[1])

    def update_before(h, x, r):
        forget, candidate = x + r
        forget = named_scope("forget")(sigmoid)(forget)
        return (1 - forget) * h + forget * named_scope("candidate")(jnp.tanh)(candidate)

    def forget_hidden(h, x, r):
        return named_scope("forget")(sigmoid)(x[0] + r[0]) * h

    after = reset == "after"
    return gated(
        update_after if after else update_before,
        features=features,
        gates=2,
        modulate=None if after else forget_hidden,
        modulated=0 if after else 1,
        blocks=blocks,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
