"""Matrix memories with kernels for the loops over time: the memory never leaves the core.

Step by step, each in a few passes over the memory in VMEM. That is arithmetic of the vector unit,
without the products of matrices that chunks make of it; for memories of the usual size it takes a
third of the cycles of XLA's chunks (`docs/measured/tpu.md`).
"""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import Access, MatrixState, advance_spread
from seqjax.core.steps import Run, Steps, batch_shape_of, time_of
from seqjax.core.trees import tree_bytes
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.chunkwise import in_tiles
from seqjax.engines.fused.checkpointed import checkpointed_scan
from seqjax.engines.fused.choice import suits_kernels
from seqjax.engines.fused.lanes import Lanes
from seqjax.engines.methods import Fused
from seqjax.engines.sequential import sequential
from seqjax.engines.tiles import divisor


def fused_memory(
    method: Fused,
    recurrence: MatrixRecurrence,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a matrix-state cell.

    Args:
      method: the sizes.
      recurrence: the parts of the cell.
      cell, params, carry, initial, xs, steps: as for every engine.
    """
    if steps.record:
        # Whoever asks for the memory after every step gets it from the steps.
        return sequential(cell, params, carry, initial, xs, steps)
    time = time_of(xs)
    lanes = Lanes(recurrence, batch_shape_of(cell, xs))
    block = method.block or max(1, sizes.MEMORIES_OF_BLOCK.here // lanes.memory_bytes)
    block = min(block, time)
    access = jax.eval_shape(recurrence.checked_access, params, xs)
    step_bytes = tree_bytes(jax.eval_shape(lanes.access, access)) // time
    step_bytes += lanes.groups * lanes.memory_bytes // block
    tile = tile_of(
        time, block, method.tile or max(block, sizes.MEMORIES_OF_KERNEL.here // step_bytes)
    )
    run = partial(_by_kernel, recurrence, lanes, block)
    return in_tiles(run, tile, params, carry, initial, xs, steps)


def tile_of(time: int, block: int, most: int) -> int:
    """Steps of a tile: whole blocks, in tiles of equal size if possible. Each size is a program of
    its own, kernels included, which takes as long again to compile."""
    blocks, tiles = -(-time // block), -(-time // most)
    return min(time, divisor(blocks, -(-blocks // tiles)) * block)


def memory_wins(
    recurrence: MatrixRecurrence, cell: Cell, params: Params, carry: MatrixState, xs: Inputs
) -> bool:
    """Whether kernels are the fastest way: on a TPU, where heads are small or decays are per
    channel, which take chunks longest, and the memories of a block fit in VMEM."""
    room = sizes.MEMORIES_OF_BLOCK.here
    lanes = Lanes(recurrence, batch_shape_of(cell, xs))
    if 4 * lanes.memory_bytes > room or not suits_kernels(params, carry, xs):
        return False
    access = jax.eval_shape(recurrence.checked_access, params, xs)
    size = sizes.CHANNELS_OF_KERNEL if access.decays_per_channel else sizes.HEAD_OF_KERNEL
    return recurrence.keys * recurrence.values <= size.here


@dataclasses.dataclass(frozen=True)
class MemoryStep:
    """One step of the memories of a group: the body of a loop. It carries the state, and the
    initial one too if there are resets."""

    resets: bool

    def __call__(self, carry: tuple, now: tuple[Access, Boundaries]) -> tuple[tuple, PyTree]:
        access, flags = now
        # Keys are in front; what has one number for each value has none for keys.
        spread = jax.tree.map(lambda leaf: leaf[:, None], access)._replace(value=access.value[None])
        flags = jax.tree.map(lambda flag: flag[:, None], flags)
        advance = partial(advance_spread, access=spread, sum_over_keys=_sum_over_keys)
        state, initial = carry if self.resets else (*carry, None)
        new, reading = flags.step(advance, initial, state)
        return ((new, initial) if self.resets else (new,)), reading


def _sum_over_keys(a: Array, b: Array) -> Array:
    return (a * b).sum(0, keepdims=True)


def _by_kernel(
    recurrence: MatrixRecurrence,
    lanes: Lanes,
    block: int,
    params: Params,
    initial: MatrixState,
    state: MatrixState,
    here: tuple[Inputs, Boundaries],
) -> tuple[MatrixState, PyTree]:
    """Some steps; a `Tile` of `chunkwise`."""
    x, flags = here
    access = recurrence.checked_access(params, x)
    work = jax.tree.map(lambda leaf: leaf.astype(state.memory.dtype), access)
    work, flags, time = _whole_blocks(work, flags, block)
    resets = flags.resets is not None
    start = (lanes.state(state), lanes.state(initial)) if resets else (lanes.state(state),)
    run = jax.vmap(partial(checkpointed_scan, MemoryStep(resets), block))
    end, reading = run(start, (lanes.access(work), lanes.flags(flags)))
    reading = jax.tree.map(lambda leaf: leaf[:time], lanes.reading(reading))
    return lanes.state_back(end[0]), recurrence.output(params, reading, access, x)


def _whole_blocks(access: Access, flags: Boundaries, block: int) -> tuple[Access, Boundaries, int]:
    """With masked steps behind the last, so that all blocks are whole; and the steps before."""
    time, *batch = access.query.shape[: access.query.ndim - 2]
    missing = -time % block
    if not missing:
        return access, flags, time
    if flags.valid is None:
        flags = flags._replace(valid=jnp.ones((time, *batch), bool))
    longer = lambda leaf: jnp.pad(leaf, [(0, missing)] + [(0, 0)] * (leaf.ndim - 1))  # noqa: E731
    access, flags = jax.tree.map(longer, (access, flags))
    return access, flags, time
