"""The plain path: a `lax.scan` over `step`, differentiated by JAX. The oracle for the rest."""

from typing import Any

import jax

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, Steps, batch_shape_of
from seqjax.core.trees import narrowed, widened
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.placement import place_like_result, place_rows


def sequential(
    cell: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
) -> Run:
    """Runs `cell.step` over time, one step after the other."""
    # Gradients of parameters add up over steps: in float32 at least.
    wide = widened(params)

    def body(carry: Carry, now: Any):
        x, flags = now
        advance = lambda start: cell.step(narrowed(wide, params), start, x)  # noqa: E731
        new, y = flags.step(advance, initial, carry)
        return new, (y, new if steps.record else None)

    inputs = (xs, Boundaries(*steps.flags))
    initial = widened(with_keys_of(initial, carry))
    carry, initial = place_rows((carry, initial), xs, len(batch_shape_of(cell, xs)))
    carry, initial = place_like_result(body, (carry, initial), inputs, wide)
    carry, outputs = jax.lax.scan(body, carry, inputs, reverse=steps.reverse)
    return Run(carry, *outputs)
