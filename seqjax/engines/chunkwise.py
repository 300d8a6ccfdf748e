"""Matrix-state recurrences in chunks: matrix products inside, a short loop over chunks.

Time goes in tiles, and tiles in chunks. A tile asks the cell for all its steps at once and finds
out what each of its chunks does whatever memory it starts from (`chunks.py`, `stabilized.py`);
then a loop over the chunks hands the memory on, and that is all that is done one after the other;
then all steps read at once. For the backward pass the memories at the boundaries of tiles are
stored and nothing else; a tile is computed again when its turn comes. What fits in one tile is kept
as it is. All of it is JAX, so every derivative of it exists.

On a CPU the memories of small heads go step by step instead: the cell is still asked for all steps
of a tile at once and answers for all, and only the memory itself is in the loop.

Masked steps write nothing and forget nothing, by selection. Where a gradient is cut, a chunk starts
(`windows.py`), so a cut is a `stop_gradient` between chunks.
"""

from collections.abc import Callable
from functools import partial

import jax

from seqjax.core.cell import Cell
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import Access, MatrixState, advance
from seqjax.core.steps import Run, Steps, batch_shape_of, time_of
from seqjax.core.trees import narrowed, tree_bytes, widened
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.cut_windows import in_windows
from seqjax.engines.matrix_tile import Plan, chunk_by_chunk
from seqjax.engines.methods import Auto, Chunked
from seqjax.engines.sequential import sequential
from seqjax.engines.tiles import divisor, over_tiles

Tile = Callable[
    [Params, MatrixState, MatrixState, tuple[Inputs, Boundaries]], tuple[MatrixState, PyTree]
]
"""`(params, initial, state, (x, flags)) -> (state, ys)` for some steps in the order of processing,
leaves `(steps, *batch, ...)`."""


def chunkwise(
    method: Auto | Chunked,
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
      method: `Auto` is `Chunked()`, unless single steps are faster.
      recurrence: the parts of the cell.
      cell, params, carry, initial, xs, steps: as for every engine.
    """
    if steps.record:
        # Whoever asks for the memory after every step gets it from the steps.
        return sequential(cell, params, carry, initial, xs, steps)
    time, batch_ndim = time_of(xs), len(batch_shape_of(cell, xs))
    access = jax.eval_shape(recurrence.checked_access, params, xs)
    if isinstance(method, Auto):
        short = time if steps.cuts is None else min(time, steps.cuts_apart)
        faster = short < sizes.SHORT.here or steps_are_faster(recurrence, access, carry)
        method = Chunked(inside="steps" if faster else "parallel")
    if method.inside == "steps":
        size = method.tile or steps_together(access, carry, time)
        return in_tiles(partial(step_by_step, recurrence), size, params, carry, initial, xs, steps)

    def run(carry, initial, xs, steps, window=None):
        plan = plan_chunks(method, recurrence, params, xs, window or time, batch_ndim)
        return in_tiles(partial(chunk_by_chunk, plan), plan.tile, params, carry, initial, xs, steps)

    if steps.cuts is None:
        return run(carry, initial, xs, steps)
    size = chunk_size(method, recurrence, steps.cuts_apart)
    return in_windows(run, size, carry, initial, xs, steps)


def in_tiles(
    run_tile: Tile,
    size: int,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """The run itself, `size` steps at a time."""
    turn = lambda tree: jax.tree.map(lambda leaf: leaf[::-1], tree) if steps.reverse else tree  # noqa: E731
    # Gradients of parameters add up over tiles: in float32 at least.
    wide = widened(params)

    def tile(carry, here):
        return run_tile(narrowed(wide, params), initial, carry, here)

    if size < time_of(xs):
        tile = jax.checkpoint(tile, prevent_cse=False)
    inputs = turn((xs, Boundaries(*steps.flags)))
    carry, ys = over_tiles(tile, carry, inputs, size=size, reverse=False)
    return Run(carry, turn(ys), None)


def plan_chunks(
    method: Chunked,
    recurrence: MatrixRecurrence,
    params: Params,
    xs: Inputs,
    longest: int,
    batch_ndim: int,
) -> Plan:
    """Steps of a chunk and of a tile, where no more than `longest` steps go without a cut."""
    time = time_of(xs)
    access = jax.eval_shape(recurrence.checked_access, params, xs)
    chunk = chunk_size(method, recurrence, longest)
    heads = access.query.size // time // recurrence.keys
    width = 4 * (recurrence.keys + recurrence.values) + 3 * chunk
    memory = recurrence.keys * (recurrence.values + recurrence.keys)
    chunk_bytes = 4 * heads * (chunk * width + memory)
    count = -(-time // chunk)
    if method.tile is not None:
        together = -(-method.tile // chunk)
    elif count * chunk_bytes <= sizes.MEMORIES_STORED.here:
        together = count
    else:
        together = max(1, sizes.MEMORIES_OF_TILE.here // chunk_bytes)
    return Plan(
        recurrence,
        chunk=chunk,
        tile=chunk * together,
        block=method.block or sizes.BLOCK.here,
        strong_block=method.strong_block or sizes.STRONG_BLOCK.here,
        batch_ndim=batch_ndim,
    )


def chunk_size(method: Chunked, recurrence: MatrixRecurrence, steps: int) -> int:
    """Steps of a chunk: a power of two, of which one suffices for all steps."""
    wide = recurrence.keys * recurrence.values >= sizes.WIDE_HEAD.here
    most = method.chunk or (sizes.CHUNK if wide else sizes.NARROW_CHUNK).here
    return min(most, 1 << (steps - 1).bit_length())


def steps_are_faster(recurrence: MatrixRecurrence, access: Access, carry: MatrixState) -> bool:
    """Whether one step after the other is; measured in `docs/measured/bench.md`."""
    corrects = any(a is not None for a in (access.rate, access.erase, access.low_rank))
    dear = access.decays_per_channel or corrects
    small_head = recurrence.keys * recurrence.values <= sizes.SMALL_HEAD.here
    return small_head or (dear and carry.memory.size <= sizes.SMALL_MEMORY.here)


def steps_together(access: Access, carry: MatrixState, time: int) -> int:
    """Steps of a tile that goes step by step."""
    step_bytes = tree_bytes(carry) + tree_bytes(access) // time
    if time * step_bytes <= sizes.MEMORIES_STORED.here:
        return time
    fit = sizes.MEMORIES_OF_TILE.here // step_bytes
    return divisor(time, max(sizes.FEWEST_STEPS_TOGETHER.here, fit))


def step_by_step(
    recurrence: MatrixRecurrence,
    params: Params,
    initial: MatrixState,
    state: MatrixState,
    here: tuple[Inputs, Boundaries],
) -> tuple[MatrixState, PyTree]:
    """Some steps, one after the other; a `Tile`."""
    x, flags = here
    access = recurrence.checked_access(params, x)
    work = jax.tree.map(lambda leaf: leaf.astype(state.memory.dtype), access)

    # Only the states are stored, not what is computed between them.
    @partial(jax.checkpoint, prevent_cse=False)
    def body(state, now):
        access, flags = now
        return flags.step(lambda start: advance(start, access), initial, state)

    state, reading = jax.lax.scan(body, state, (work, flags))
    return state, recurrence.output(params, reading, access, x)
