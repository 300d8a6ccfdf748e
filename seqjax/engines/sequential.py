"""The plain path: a `lax.scan` over `step`, differentiated by JAX. The oracle for the rest."""

from typing import Any

import jax

from seqjax.core.cell import Cell
from seqjax.core.masks import select
from seqjax.core.noise import restart, with_keys_of
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.placement import place_like_result, place_rows


def sequential(
    cell: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
) -> Run:
    """Runs `cell.step` over time, one step after the other.

    Before step t the gradient is cut if `cuts` says so, then the state is reset if `resets`
    says so, then the cell steps. Masked steps see zeros, keep the carry, and put out zeros:
    all by selection, so a NaN in them reaches neither values nor gradients.
    """
    batch_ndim = len(batch_shape_of(cell, xs))

    def body(carry: Carry, now: Any):
        x, valid_now, reset_now, cut_now = now
        if cut_now is not None:
            carry = jax.tree.map(
                lambda leaf: select(cut_now, jax.lax.stop_gradient(leaf), leaf), carry
            )
        start = carry if reset_now is None else restart(reset_now, initial, carry)
        new, y = cell.step(params, start, x)
        if valid_now is not None:
            # Back to the carry before any reset: that of a masked step does not happen either.
            new = jax.tree.map(lambda a, b: select(valid_now, a, b), new, carry)
        return new, (y, new if steps.record else None)

    inputs = time_major((zero_masked(xs, steps.valid), *steps.flags), batch_ndim)
    initial = with_keys_of(initial, carry)
    carry, initial = place_rows((carry, initial), xs, batch_ndim)
    carry, initial = place_like_result(body, (carry, initial), inputs, params)
    carry, outputs = jax.lax.scan(body, carry, inputs, reverse=steps.reverse)
    ys, carries = batch_major(outputs, batch_ndim)
    return Run(carry, zero_masked(ys, steps.valid), carries)
