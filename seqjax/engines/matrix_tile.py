"""A tile of a matrix memory in chunks: all of them at once, but for a short loop over chunks.

What each chunk does whatever memory it starts from is found for all chunks together (`chunks.py`,
`stabilized.py`); a loop hands the memory on; then all steps read at once.

Masked steps write nothing and forget nothing, by selection. A reset starts a segment, and steps see
their own segment only. Where a gradient is cut, a chunk starts.
"""

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.masks import expand, select
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import Access, MatrixState
from seqjax.core.types import Array, Inputs, Params, PyTree
from seqjax.engines import chunks, stabilized
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.decays import Decays

LEAST_LOG_DECAY = -1e6
"""In place of the logarithm of 0, where a memory has a scale of its own."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when a run is compiled: sizes are in steps."""

    recurrence: MatrixRecurrence
    chunk: int
    tile: int
    block: int
    strong_block: int
    batch_ndim: int

    def split(self, leaf: Array, fill: float | bool = False) -> Array:
        """`(steps, *batch, ...)` as `(chunks, *batch, ..., C)`, with the width still last."""
        missing = -leaf.shape[0] % self.chunk
        if missing:
            rest = jnp.full((missing, *leaf.shape[1:]), fill, leaf.dtype)
            leaf = jnp.concatenate([leaf, rest])
        leaf = leaf.reshape(-1, self.chunk, *leaf.shape[1:])
        return jnp.moveaxis(leaf, 1, min(self.batch_ndim + 2, leaf.ndim - 1))

    def join(self, leaf: Array, steps: int) -> Array:
        """`(chunks, *batch, heads, C, ...)` as `(steps, *batch, heads, ...)`."""
        leaf = jnp.moveaxis(leaf, self.batch_ndim + 2, 1)
        return leaf.reshape(-1, *leaf.shape[2:])[:steps]


class Segments(NamedTuple):
    """Runs of steps between resets, in each chunk: numbers `(..., C)`, and which steps are in the
    first of their chunk and in the last. None if there are no resets."""

    numbers: Array | None = None
    first: Array | None = None
    last: Array | None = None

    @property
    def fresh(self) -> Array | None:
        """`(chunks, *batch)`: the chunks that a reset is in."""
        return None if self.first is None else ~self.first[..., 0, -1]


def chunk_by_chunk(
    plan: Plan,
    params: Params,
    initial: MatrixState,
    state: MatrixState,
    here: tuple[Inputs, Boundaries],
) -> tuple[MatrixState, PyTree]:
    """Some chunks; a `Tile` of `chunkwise`."""
    x, flags = here
    recurrence = plan.recurrence
    access = recurrence.checked_access(params, x)
    work = jax.tree.map(lambda leaf: leaf.astype(state.memory.dtype), access)
    work = _bounded(recurrence, _in_chunks(plan, _only_valid(work, flags.valid)))
    segments = _segments(plan, flags)
    work, lost = _without_nan(work, segments.numbers)
    decays = Decays(
        work.log_decay,
        segments.numbers,
        size=plan.chunk,
        per_channel=work.decays_per_channel,
        least=recurrence.least_log_decay,
        block=plan.block,
        strong_block=plan.strong_block,
    )
    algebra: Any = stabilized if recurrence.stabilized else chunks
    summary = algebra.summarize(work, decays, segments.last)

    def body(state, now):
        chunk, flags, lost = now
        follow = lambda start: (_spoil(algebra.follow(start, chunk), lost), None)  # noqa: E731
        # A chunk with a reset leaves a memory that has not met the one it started from.
        return flags.step(follow, initial, state)[0], flags.cut(state)

    of_chunks = Boundaries(
        valid=None if flags.valid is None else plan.split(flags.valid).any(-1),
        resets=segments.fresh,
        cuts=None if flags.cuts is None else flags.cuts[:: plan.chunk],
    )
    state, starts = jax.lax.scan(body, state, (summary, of_chunks, lost[..., -1]))
    if segments.first is not None:
        # Steps behind a reset meet another memory, and 0 times NaN of this one would be NaN.
        starts, bad = _finite(starts)
        lost = lost | (bad[..., None] & segments.first)
    reading = _spoil(algebra.readings(summary, starts, initial, segments.first), lost)
    reading = jax.tree.map(partial(plan.join, steps=access.query.shape[0]), reading)
    return state, recurrence.output(params, reading, access, x)


def _segments(plan: Plan, flags: Boundaries) -> Segments:
    if flags.resets is None:
        return Segments()
    resets = flags.resets if flags.valid is None else flags.resets & flags.valid
    numbers = jnp.cumsum(plan.split(resets).astype(jnp.int32), axis=-1)[..., None, :]
    return Segments(numbers, numbers == 0, numbers == numbers[..., -1:])


def _bounded(recurrence: MatrixRecurrence, access: Access) -> Access:
    """Decays without infinite logarithms, whose sums would be NaN.

    Further below nothing is left. What has a scale of its own may be as small as it likes beside
    what is written later, smaller still.
    """
    if access.log_decay is None:
        return access
    least = 4 * jnp.log(jnp.finfo(access.log_decay.dtype).eps)
    least = LEAST_LOG_DECAY if recurrence.stabilized else least
    return access._replace(log_decay=jnp.maximum(access.log_decay, least))


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
    return jax.tree.map(plan.split, access)._replace(
        log_input=None if log_input is None else plan.split(log_input, -jnp.inf)
    )


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
