"""The gated recurrent unit."""

from typing import Literal

import jax.numpy as jnp
from jax import named_scope
from jax.nn import sigmoid

from seqjax.core import initializers
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.types import Initializer


@factory
def gru(
    features: int,
    *,
    reset: Literal["after", "before"] = "after",
    blocks: int = 1,
    recurrent_limit: float | None = None,
    layer_norm: bool = False,
    input_init: Initializer = initializers.Glorot(),
    recurrent_init: Initializer = initializers.Orthogonal(),
    bias_init: Initializer = initializers.Constant(0.0),
) -> Cell:
    """The gated recurrent unit.

        r = sigmoid(W_r x + b_r + U_r h + d_r)
        z = sigmoid(W_z x + b_z + U_z h + d_z)
        n = tanh(W_n x + b_n + r * (U_n h + d_n))      reset="after"
        n = tanh(W_n x + b_n + U_n (r * h))            reset="before"
        h = (1 - z) * n + z * h

    Gates are stored in the order r, z, n. With `reset="before"` there is no recurrent bias
    d, since it would only repeat b.

    Args:
      features: width of the hidden state `h` and of the output.
      reset: whether the reset gate acts after the recurrent product, as in PyTorch, cuDNN
        and Keras (one product per step), or before it, as in the paper (two, one after the other).
        These are different functions, and weights do not carry over.
      blocks: diagonal blocks (heads) of U, see `sj.gated`.
      recurrent_limit: bound of the entries of U, see `sj.gated`.
      layer_norm: normalise `W x` and `U h`, see `sj.gated`.
      input_init: initializer of each gate's W.
      recurrent_init: initializer of each gate's U.
      bias_init: initializer of b; `sj.initializers.Chrono(longest, forget=1, input=None)`
        makes the unit remember.

    Returns:
      A cell whose carry is `h`, `(*batch, features)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4, reset="before")
      >>> params = cell.init(jax.random.key(0), 3)
      >>> h, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 4)

    Source: Cho et al. 2014, arXiv:1406.1078, whose z is PyTorch's and ours; Chung et al.
    2014, arXiv:1412.3555, and Haiku write 1 - z for it.
    """
    if reset not in ("after", "before"):
        raise ValueError(f"gru: `reset` must be 'after' or 'before', got {reset!r}.")

    def update_after(h, x, r):
        reset_gate = named_scope("reset")(sigmoid)(x[0] + r[0])
        update_gate = named_scope("update")(sigmoid)(x[1] + r[1])
        candidate = named_scope("candidate")(jnp.tanh)(x[2] + reset_gate * r[2])
        return (1 - update_gate) * candidate + update_gate * h

    def update_before(h, x, r):
        _, update_gate, candidate = x + r
        update_gate = named_scope("update")(sigmoid)(update_gate)
        candidate = named_scope("candidate")(jnp.tanh)(candidate)
        return (1 - update_gate) * candidate + update_gate * h

    def reset_hidden(h, x, r):
        return named_scope("reset")(sigmoid)(x[0] + r[0]) * h

    after = reset == "after"
    return gated(
        update_after if after else update_before,
        features=features,
        gates=3,
        recurrent_bias=after,
        modulate=None if after else reset_hidden,
        modulated=0 if after else 1,
        blocks=blocks,
        recurrent_limit=recurrent_limit,
        layer_norm=layer_norm,
        input_init=input_init,
        recurrent_init=recurrent_init,
        bias_init=bias_init,
    )
