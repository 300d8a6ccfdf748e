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

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import expand, select
from seqjax.core.matrix import Access, MatrixRecurrence, MatrixState, advance
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.trees import tree_bytes, widen
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines import chunks, sizes, stabilized
from seqjax.engines.cut_windows import in_windows
from seqjax.engines.decays import Decays
from seqjax.engines.methods import Auto, Chunked
from seqjax.engines.sequential import sequential
from seqjax.engines.tiles import divisor, over_tiles

LEAST_LOG_DECAY = -1e6
"""In place of the logarithm of 0, where a memory has a scale of its own."""

Tile = Callable[[Params, MatrixState, MatrixState, Any], tuple[MatrixState, PyTree]]
"""`(params, initial, state, here) -> (state, ys)` for some steps; `here` has their inputs, valid,
resets and cuts, `(steps, *batch, ...)`."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when a run is compiled: sizes are in steps."""

    recurrence: MatrixRecurrence
    chunk: int
    tile: int
    block: int
    strong_block: int
    batch_ndim: int


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
    batch_shape = batch_shape_of(cell, xs)
    if steps.record:
        # Whoever asks for the memory after every step gets it from the steps.
        return sequential(cell, params, carry, initial, xs, steps)
    time = jax.tree.leaves(xs)[0].shape[len(batch_shape)]
    access = jax.eval_shape(recurrence.look, params, xs)
    short = time if steps.cuts is None else min(time, steps.cuts_apart)
    if isinstance(method, Auto):
        faster = short < sizes.SHORT.here or steps_are_faster(recurrence, access, carry)
        method = Chunked(inside="steps" if faster else "parallel")
    if method.inside == "steps":
        tile = partial(step_by_step, recurrence)
        size = method.tile or steps_together(access, carry, time)
        return _in_tiles(tile, size, params, carry, initial, xs, steps, batch_shape)

    def run(carry, initial, xs, steps, batch_shape, window=None):
        plan = plan_sizes(method, recurrence, params, xs, window, batch_shape)
        tile = partial(chunk_by_chunk, plan)
        return _in_tiles(tile, plan.tile, params, carry, initial, xs, steps, batch_shape)

    if steps.cuts is None:
        return run(carry, initial, xs, steps, batch_shape)
    size = chunk_size(method, recurrence, steps.cuts_apart)
    return in_windows(run, size, carry, initial, xs, steps, batch_shape)


def _in_tiles(
    run_tile: Tile,
    size: int,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
    batch_shape: tuple[int, ...],
) -> Run:
    """The run itself, so many steps at a time."""
    batch_ndim = len(batch_shape)
    inputs = (zero_masked(xs, steps.valid), *steps.flags)
    inputs = time_major(inputs, batch_ndim)
    if steps.reverse:
        inputs = jax.tree.map(lambda leaf: leaf[::-1], inputs)
    # Gradients of parameters add up over tiles: in float32 at least.
    wide = jax.tree.map(widen, params)

    def tile(carry, here):
        narrow = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), wide, params)
        return run_tile(narrow, initial, carry, here)

    if size < jax.tree.leaves(inputs)[0].shape[0]:
        tile = jax.checkpoint(tile, prevent_cse=False)
    carry, ys = over_tiles(tile, carry, inputs, size=size, reverse=False)
    if steps.reverse:
        ys = jax.tree.map(lambda leaf: leaf[::-1], ys)
    return Run(carry, zero_masked(batch_major(ys, batch_ndim), steps.valid), None)


def plan_sizes(
    method: Chunked,
    recurrence: MatrixRecurrence,
    params: Params,
    xs: Inputs,
    window: int | None,
    batch_shape: tuple[int, ...],
) -> Plan:
    """Steps of a chunk and of a tile; with a window, cuts are at the starts of windows only."""
    batch_ndim = len(batch_shape)
    time = jax.tree.leaves(xs)[0].shape[batch_ndim]
    access = jax.eval_shape(recurrence.look, params, xs)
    chunk = chunk_size(method, recurrence, time if window is None else window)
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
    """Whether one step after the other is; measured in `bench/README.md`."""
    per_channel = access.log_decay is not None and access.log_decay.ndim == access.key.ndim
    dear = per_channel or access.rate is not None or access.low_rank is not None
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
    here: Any,
) -> tuple[MatrixState, PyTree]:
    """Some steps, one after the other; a `Tile`."""
    x, *flags = here
    access = recurrence.look(params, x)
    work = jax.tree.map(lambda leaf: leaf.astype(state.memory.dtype), access)

    # Only the states are stored, not what is computed between them.
    @partial(jax.checkpoint, prevent_cse=False)
    def body(state, now):
        access, (valid, reset, cut) = now
        if cut is not None:
            state = jax.tree.map(lambda a: select(cut, jax.lax.stop_gradient(a), a), state)
        start = state
        if reset is not None:
            start = jax.tree.map(partial(select, reset), initial, state)
        after, reading = advance(start, access)
        if valid is not None:
            after = jax.tree.map(partial(select, valid), after, state)
        return after, reading

    state, reading = jax.lax.scan(body, state, (work, flags))
    return state, recurrence.answer(params, reading, access, x)


def chunk_by_chunk(
    plan: Plan, params: Params, initial: MatrixState, state: MatrixState, here: Any
) -> tuple[MatrixState, PyTree]:
    """Some chunks; a `Tile`."""
    x, valid, resets, cuts = here
    recurrence = plan.recurrence
    access = recurrence.look(params, x)
    work = jax.tree.map(lambda leaf: leaf.astype(state.memory.dtype), access)
    work = _in_chunks(plan, _only_valid(work, valid))
    if work.log_decay is not None:
        # Further below nothing is left; sums of infinite numbers would be NaN. What has a scale
        # of its own may be as small as it likes beside what is written later, smaller still.
        least = 4 * jnp.log(jnp.finfo(work.log_decay.dtype).eps)
        least = LEAST_LOG_DECAY if recurrence.stabilized else least
        work = work._replace(log_decay=jnp.maximum(work.log_decay, least))
    segments = first = last = fresh = None
    if resets is not None:
        resets = _cut(plan, resets if valid is None else resets & valid)
        segments = jnp.cumsum(resets.astype(jnp.int32), axis=-1)[..., None, :]
        first, last = segments == 0, segments == segments[..., -1:]
        fresh = ~first[..., 0, -1]
    work, lost = _without_nan(work, segments)
    decays = Decays(
        work.log_decay,
        segments,
        size=plan.chunk,
        per_channel=work.log_decay is not None and work.log_decay.ndim == work.query.ndim,
        least=recurrence.least_log_decay,
        block=plan.block,
        strong_block=plan.strong_block,
    )
    algebra: Any = stabilized if recurrence.stabilized else chunks
    summary = algebra.summarize(work, decays, last)

    def body(state, now):
        chunk, some, fresh, cut, lost = now
        if cut is not None:
            state = jax.tree.map(lambda a: select(cut, jax.lax.stop_gradient(a), a), state)
        start = state
        if fresh is not None:
            start = jax.tree.map(lambda new, old: select(fresh, new, old), initial, state)
        after = _spoil(algebra.follow(start, chunk), lost)
        if some is not None:
            after = jax.tree.map(lambda new, old: select(some, new, old), after, state)
        return after, state

    some = None if valid is None else _cut(plan, valid).any(-1)
    cut_before = None if cuts is None else cuts[:: plan.chunk]
    state, starts = jax.lax.scan(body, state, (summary, some, fresh, cut_before, lost[..., -1]))
    if first is not None:
        # Steps behind a reset meet another memory, and 0 times NaN of this one would be NaN.
        starts, bad = _finite(starts)
        lost = lost | (bad[..., None] & first)
    reading = _spoil(algebra.readings(summary, starts, initial, first), lost)
    reading = jax.tree.map(partial(_join, plan, access.query.shape[0]), reading)
    return state, recurrence.answer(params, reading, access, x)


def _only_valid(access: Access, valid: Array | None) -> Access:
    """Masked steps write nothing and forget nothing."""
    if valid is None:
        return access
    keep = lambda leaf, empty=0.0: select(valid, leaf, jnp.full_like(leaf, empty))  # noqa: E731
    log_input = access.log_input
    return jax.tree.map(keep, access)._replace(
        log_input=None if log_input is None else keep(log_input, -jnp.inf)
    )


def _in_chunks(plan: Plan, access: Access) -> Access:
    """Leaves `(steps, *batch, heads, ...)` as `(chunks, *batch, heads, C, ...)`."""
    log_input = access.log_input
    return jax.tree.map(partial(_cut, plan), access)._replace(
        log_input=None if log_input is None else _cut(plan, log_input, -jnp.inf)
    )


def _cut(plan: Plan, leaf: Array, fill: float | bool = False) -> Array:
    """`(steps, *batch, ...)` as `(chunks, *batch, ..., C)`, the axis of the width still last."""
    missing = -leaf.shape[0] % plan.chunk
    if missing:
        rest = jnp.full((missing, *leaf.shape[1:]), fill, leaf.dtype)
        leaf = jnp.concatenate([leaf, rest])
    leaf = leaf.reshape(-1, plan.chunk, *leaf.shape[1:])
    return jnp.moveaxis(leaf, 1, min(plan.batch_ndim + 2, leaf.ndim - 1))


def _join(plan: Plan, steps: int, leaf: Array) -> Array:
    """`(chunks, *batch, heads, C, ...)` as `(steps, *batch, heads, ...)`."""
    leaf = jnp.moveaxis(leaf, plan.batch_ndim + 2, 1)
    return leaf.reshape(-1, *leaf.shape[2:])[:steps]


def _without_nan(access: Access, segments: Array | None) -> tuple[Access, Array]:
    """The access without NaN and inf, and the steps that they reach: later ones of the segment.

    Other steps are left out of products by a factor of 0, and 0 times NaN is NaN.
    """
    log_input = access.log_input
    checked = access._replace(log_input=None)
    shape = access.query.shape[:-1]
    bad = jnp.zeros(shape, bool) if log_input is None else jnp.isnan(log_input)
    for leaf in jax.tree.leaves(checked):
        wrong = ~jnp.isfinite(leaf)
        bad = bad | (wrong if leaf.ndim == bad.ndim else wrong.any(-1))
    access = jax.tree.map(lambda leaf: jnp.where(expand(bad, leaf.ndim), 0.0, leaf), access)
    segment = jnp.zeros((), jnp.int32) if segments is None else segments
    latest = jax.lax.cummax(jnp.where(bad, segment, -1), axis=bad.ndim - 1)
    return access, latest == segment


def _finite(state: MatrixState) -> tuple[MatrixState, Array]:
    """States with zeros for memories, head by head, that hold NaN or inf; and which these are."""
    bad = ~jnp.isfinite(state.memory).all((-1, -2))
    if state.log_scale is not None:
        bad = bad | ~jnp.isfinite(state.log_scale)
    return jax.tree.map(lambda a: jnp.where(expand(bad, a.ndim), 0.0, a), state), bad


def _spoil(tree: PyTree, which: Array) -> PyTree:
    """NaN where rows of `(..., *)` leaves are said to hold it."""
    return jax.tree.map(lambda a: jnp.where(expand(which, a.ndim), jnp.nan, a), tree)
