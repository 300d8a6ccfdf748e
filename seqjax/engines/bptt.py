"""The gradient engine's way to run a cell that shows its parts."""

import jax

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.recurrence import Recurrence
from seqjax.core.run import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.types import Array, Carry, Params
from seqjax.engines.backprop import Flags, Plan, run

STORED_BYTES = 2**22
"""Gates of a whole sequence up to this size are stored rather than computed again."""

TILE_BYTES = 2**20
"""Gates of a tile: a working set that stays in the cache of a core."""

FORWARD_TILE_BYTES = 2**16
"""Gates of a tile when only outputs are asked for, and nothing is kept."""


def bptt(
    method: str,
    recurrence: Recurrence,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Array,
    steps: Steps,
) -> Run:
    """Runs a cell that shows its parts.

    Args:
      method: `"recompute"`, `"store"`, or `"auto"`: small sequences are stored, of large ones
        the gates are computed again. Measured in `seqjax/bench/README.md`.
      recurrence: the parts of the cell.
      cell, params, carry, initial, xs, steps: as for every engine.
    """
    batch_ndim = len(batch_shape_of(cell, xs))
    flags = Flags(*steps.flags)
    inputs, flags = time_major((zero_masked(xs, steps.valid), flags), batch_ndim)
    time = inputs.shape[0]
    gates = jax.eval_shape(recurrence.project_inputs, params, inputs)
    step_bytes = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(gates)) // time
    sequence_bytes = step_bytes * time
    plan = Plan(
        recurrence,
        tile=tile_size(time, step_bytes, steps.devices),
        forward_tile=_divisor(time, max(1, FORWARD_TILE_BYTES // step_bytes)),
        reverse=steps.reverse,
        store=method == "store" or (method == "auto" and sequence_bytes <= STORED_BYTES),
        keep="carry" if steps.record else "output",
    )
    carry, kept = run(plan, params, carry, with_keys_of(initial, carry), inputs, flags)
    carries = kept[0] if steps.record else None
    ys = recurrence.output(carries) if steps.record else kept
    ys, carries = batch_major((ys, carries), batch_ndim)
    return Run(carry, zero_masked(ys, steps.valid), carries)


def tile_size(time: int, step_bytes: int, devices: int) -> int:
    """Steps of a tile when there is a gradient to compute.

    On one device, a tile costs more than it saves until it would leave the cache by far. Where
    several CPU devices share cache and memory, smaller tiles win.
    """
    alone = devices == 1
    if step_bytes * time <= (STORED_BYTES if alone else TILE_BYTES // 2):
        return time
    return _divisor(time, max(4, (TILE_BYTES if alone else TILE_BYTES // 2) // step_bytes))


def _divisor(time: int, most: int) -> int:
    """A number of steps up to `most`, if possible one that divides the time."""
    most = min(time, most)
    divisors = [size for size in range((most + 1) // 2, most + 1) if time % size == 0]
    return max(divisors, default=most)
