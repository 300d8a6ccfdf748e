"""One cell forward in time, one backward."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, factory
from seqjax.core.exportable import exportable
from seqjax.core.ranks import side_by_side
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.steps import Run
from seqjax.core.types import Array, Carry, Params


@exportable
class BidirectionalState(NamedTuple):
    """The carry of the forward cell (after the last step) and of the backward cell (after
    the first step)."""

    forward: Carry
    backward: Carry


@exportable
class BidirectionalParameters(NamedTuple):
    """The parameters of the two cells."""

    forward: Params
    backward: Params


@factory
def bidirectional(
    forward: Cell,
    backward: Cell | None = None,
    *,
    merge: Literal["concatenate", "sum"] | Callable[[Array, Array], Array] = "concatenate",
) -> Cell:
    """Two cells over the same sequence, one in each direction.

        forward_carry, f = scan(forward, xs)
        backward_carry, b = scan(backward, xs, reverse=True)
        y_t = merge(f_t, b_t)

    Resets mark the same boundaries for both directions: with a reset before step t, the
    backward cell starts anew before the valid step that precedes t.

    Args:
      forward: the cell that goes from the first step to the last.
      backward: the cell that goes from the last step to the first; by default a cell like
        `forward` with parameters of its own.
      merge: `"concatenate"` (features add up), `"sum"`, or a function
        `(..., features)` x 2 -> `(..., any)` of the two outputs, for any leading dimensions.

    Returns:
      A cell that needs the whole sequence: `sj.scan` runs it, it has no `step`. Its
      parameters are `BidirectionalParameters(forward, backward)`, its carry is
      `BidirectionalState(forward, backward)`.

    Raises:
      ValueError: if the widths do not fit the merge, or the cells differ in rank.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.bidirectional(sj.lstm(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape
      (5, 8)

    Source: Schuster and Paliwal 1997, "Bidirectional recurrent neural networks".
    """
    expect_cell("bidirectional", forward)
    backward = forward if backward is None else backward
    expect_cell("bidirectional", backward)
    fitted = side_by_side("bidirectional", {"forward": forward, "backward": backward})
    forward, backward = fitted["forward"], fitted["backward"]
    join = _join(merge, forward, backward)
    merged = jax.eval_shape(
        join,
        jax.ShapeDtypeStruct((1, forward.features), jnp.float32),
        jax.ShapeDtypeStruct((1, backward.features), jnp.float32),
    )

    def init(key, in_features):
        forward_key, backward_key = jax.random.split(key)
        return BidirectionalParameters(
            forward.init(forward_key, in_features), backward.init(backward_key, in_features)
        )

    def initial_carry(params, batch_shape=()):
        return BidirectionalState(
            forward.initial_carry(params.forward, batch_shape),
            backward.initial_carry(params.backward, batch_shape),
        )

    def sequence(scan, params, carry, initial, xs, steps):
        ahead = scan(forward, params.forward, carry.forward, initial.forward, xs, steps)
        back = scan(
            backward, params.backward, carry.backward, initial.backward, xs, steps.opposite()
        )
        return Run(
            carry=BidirectionalState(ahead.carry, back.carry),
            ys=join(ahead.ys, back.ys),
            carries=BidirectionalState(ahead.carries, back.carries),
        )

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=no_step("bidirectional", (forward, backward)),
        features=merged.shape[-1],
        input_ndim=forward.input_ndim,
        output_ndim=forward.output_ndim,
        pixelwise=forward.pixelwise and backward.pixelwise,
        in_features=forward.in_features or backward.in_features,
        causal=False,
        sequence=sequence,
    )


def _join(
    merge: str | Callable[[Array, Array], Array], forward: Cell, backward: Cell
) -> Callable[[Array, Array], Array]:
    """The function of both outputs that `merge` means."""
    if merge == "concatenate":
        return _concatenate
    if merge == "sum":
        if forward.features != backward.features:
            raise ValueError(
                "bidirectional: merge='sum' needs outputs of equal width, got "
                f"{forward.features} and {backward.features}."
            )
        return jnp.add
    if callable(merge):
        return merge
    raise ValueError(
        "bidirectional: `merge` must be 'concatenate', 'sum' or a function of the two "
        f"outputs, got {merge!r}."
    )


def _concatenate(forward: Array, backward: Array) -> Array:
    return jnp.concatenate([forward, backward], axis=-1)
