"""Attention over a window of steps, for a whole sequence: a loop over tiles of queries.

    query i reads the keys j with i - W < j <= i and begin[i] <= j

A tile has T queries, which see no more than the keys of its own steps and of the W steps before. So
scores are `(T, W + T)`, of one tile at a time: never of all steps with all steps. What one tile
hands to the next is its last W keys and values; for the backward pass these are stored, and a
tile is computed again when its turn comes.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.masks import expand
from seqjax.core.types import Array, Int
from seqjax.core.window_attention import Sight, attend_in_groups
from seqjax.engines import sizes
from seqjax.engines.tiles import over_tiles


class Reads(NamedTuple):
    """What the steps of a sequence ask and write, in the order of processing.

    Attributes:
      query: `(time, *batch, key_heads, group, D)`.
      key, value: `(time, *batch, key_heads, D)` and `(time, *batch, key_heads, V)`.
      begin: the first step whose key a query may see, `(time, *batch)`, below 0 for steps before
        the sequence.
      cut: the step before whose key no gradient goes back; None if none is cut.
    """

    query: Array
    key: Array
    value: Array
    begin: Int[Array, "time *batch"]
    cut: Int[Array, "time *batch"] | None


class Past(NamedTuple):
    """The keys and values of the last W steps, `(*batch, W, key_heads, ...)`, the latest last."""

    keys: Array
    values: Array


def banded(
    past: Past,
    reads: Reads,
    *,
    scale: float,
    soft_cap: float | None = None,
    tile: int | None = None,
) -> Array:
    """The readings of all steps, `(time, *batch, key_heads, group, V)`.

    Args:
      past: before the first step.
      reads: of all steps.
      scale, soft_cap: as for `attend_in_groups`.
      tile: T; by default as `seqjax.engines.sizes` has it.
    """
    time = reads.begin.shape[0]
    size = tile or tile_size(past.keys.shape[-3])

    def read(past: Past, here: tuple[Array, Reads]) -> tuple[Past, Array]:
        return _tile(past, *here, scale=scale, soft_cap=soft_cap)

    if size < time:
        read = jax.checkpoint(read, prevent_cse=False)
    steps = jnp.arange(time, dtype=jnp.int32)
    return over_tiles(read, past, (steps, reads), size=size, reverse=False)[1]


def tile_size(window: int) -> int:
    """T: half of the window, within bounds."""
    return min(max(window // 2, sizes.FEWEST_QUERIES.here), sizes.MOST_QUERIES.here)


def _tile(past: Past, steps: Array, reads: Reads, **options: Any) -> tuple[Past, Array]:
    """The readings of some steps in a row, and their past for the next ones."""
    window, batch_ndim = past.keys.shape[-3], reads.begin.ndim - 1
    behind = lambda leaf: jnp.moveaxis(leaf, 0, batch_ndim)  # noqa: E731
    query, key, value, begin, cut = jax.tree.map(behind, reads)
    keys, values = (
        jnp.concatenate(pair, axis=-3) for pair in ((past.keys, key), (past.values, value))
    )
    i, j = steps[:, None], steps[0] - window + jnp.arange(window + len(steps))[None, :]
    band = (i - window < j) & (j <= i)
    whole = lambda flags: flags.reshape((1,) * batch_ndim + flags.shape)  # noqa: E731
    visible = whole(band) & (whole(j) >= begin[..., None])
    sight = Sight(visible, None if cut is None else whole(j) < cut[..., None])

    # A weight of 0 would turn a NaN behind a reset, or outside of the window, into NaN.
    sound = _finite(keys, 2) & _finite(values, 2)
    clear = lambda flags, leaf: jnp.where(expand(flags, leaf.ndim), leaf, 0.0)  # noqa: E731
    asked = _finite(query, 3)
    readings = attend_in_groups(
        clear(asked, query), clear(sound, keys), clear(sound, values), sight, **options
    )
    spoiled = ~asked | (visible & ~sound[..., None, :]).any(-1)
    readings = jnp.where(expand(spoiled, readings.ndim), jnp.nan, readings)
    last = Past(keys[..., -window:, :, :], values[..., -window:, :, :])
    return last, jnp.moveaxis(readings, batch_ndim, 0)


def _finite(leaf: Array, axes: int) -> Array:
    return jnp.isfinite(leaf).all(tuple(range(-axes, 0)))
