"""The gradient engine's way to run a cell that shows its parts."""

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.recurrence import Recurrence
from seqjax.core.run import Run, Steps, batch_shape_of, time_major, zero_masked
from seqjax.core.types import Array, Carry, Params
from seqjax.engines.backprop import Flags, Plan, run

TILE_BYTES = 4e6
STORE_BYTES = 0


def bptt(
    method: str,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Array,
    steps: Steps,
) -> Run:
    recurrence = cell.structure
    batch_ndim = len(batch_shape_of(cell, xs))
    flags = Flags(steps.valid, steps.resets, steps.cuts)
    inputs, flags = time_major((zero_masked(xs, steps.valid), flags), batch_ndim)
    time = inputs.shape[0]
    gates = jax.eval_shape(recurrence.project_inputs, params, inputs)
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(gates)) // time
    plan = Plan(
        recurrence,
        tile=tile_size(time, step_bytes),
        reverse=steps.reverse,
        store=method == "store" or method == "auto" and step_bytes * time <= STORE_BYTES,
        keep="carry" if steps.record else "output",
    )
    carry, kept = run(plan, params, carry, with_keys_of(initial, carry), inputs, flags)
    carries = kept[0] if steps.record else None
    ys = recurrence.output(carries) if steps.record else kept
    ys, carries = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, batch_ndim), (ys, carries))
    return Run(carry, zero_masked(ys, steps.valid), carries)


def tile_size(time: int, step_bytes: int) -> int:
    """Steps of a tile: as many as fit the cache, and if possible a divisor of the time."""
    most = max(1, int(TILE_BYTES // max(step_bytes, 1)))
    if most >= time:
        return time
    divisors = [size for size in range((most + 1) // 2, most + 1) if time % size == 0]
    return max(divisors, default=most)
