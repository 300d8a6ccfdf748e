"""Which steps count and where a state starts anew: lengths, segments, masks, resets."""

from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, StepFlags


def length_mask(lengths: Any, time: int) -> StepFlags:
    """The steps before each row's length.

    `mask[..., t] = t < lengths[...]`

    Args:
      lengths: `(*batch,)` ints. Lengths of 0 or less mask every step, lengths of `time`
        or more none.
      time: number of steps.

    Returns:
      `(*batch, time)` bool, True for steps that count.

    Example:
      >>> import seqjax as sj
      >>> sj.length_mask([2, 0], time=3)
      Array([[ True,  True, False],
             [False, False, False]], dtype=bool)
    """
    lengths = jnp.asarray(lengths)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(f"lengths must be whole numbers, got dtype {lengths.dtype}.")
    steps = jax.lax.broadcasted_iota(lengths.dtype, (*lengths.shape, time), lengths.ndim)
    return steps < lengths[..., None]


def segment_starts(segment_ids: Any, *, reverse: bool = False) -> StepFlags:
    """The resets of rows that hold several sequences one after the other.

    `starts[..., t] = t == 0 or segment_ids[..., t] != segment_ids[..., t - 1]`

    Args:
      segment_ids: `(*batch, time)`; steps of the same sequence share a number. Padding
        may have a number of its own.
      reverse: for a scan with `reverse=True`: the last step of each segment instead, which
        is the first in the order of processing.

    Returns:
      `(*batch, time)` bool, to pass as `resets`.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> sj.segment_starts(jnp.array([1, 1, 2, 2, 2, 3]))
      Array([ True, False,  True, False, False,  True], dtype=bool)
    """
    ids = jnp.asarray(segment_ids)
    if ids.ndim < 1:
        raise ValueError("segment_ids must be (*batch, time), got a single number.")
    edge = jnp.ones_like(ids[..., :1], dtype=bool)
    change = ids[..., 1:] != ids[..., :-1]
    return jnp.concatenate([change, edge] if reverse else [edge, change], axis=-1)


def opposite_resets(resets: StepFlags, valid: StepFlags | None, *, reverse: bool) -> StepFlags:
    """The resets, for a pass in the other direction, that mark the same boundaries.

    A reset before step t separates t from the valid step processed before it. A pass in
    the other direction meets that boundary when it comes from t, so it resets before that
    earlier step.

    Args:
      resets: `(*batch, time)` bool, flags of the given direction.
      valid: `(*batch, time)` bool or None; masked steps count for nothing.
      reverse: the direction of `resets`: True if they belong to a reversed pass.
    """
    if reverse:
        flipped = opposite_resets(
            resets[..., ::-1], None if valid is None else valid[..., ::-1], reverse=False
        )
        return flipped[..., ::-1]
    time = resets.shape[-1]
    last = jnp.zeros_like(resets[..., :1])
    if valid is None:
        return jnp.concatenate([resets[..., 1:], last], axis=-1)
    steps = jax.lax.broadcasted_iota(jnp.int32, resets.shape, resets.ndim - 1)
    next_valid = jax.lax.cummin(jnp.where(valid, steps, time), axis=resets.ndim - 1, reverse=True)
    after = jnp.concatenate(
        [next_valid[..., 1:], jnp.full_like(next_valid[..., :1], time)], axis=-1
    )
    padded = jnp.concatenate([resets, last], axis=-1)
    return jnp.take_along_axis(padded, after, axis=-1)


def expand(flags: Array, ndim: int) -> Array:
    """`flags` with trailing axes of size 1 up to rank `ndim`, to select whole rows."""
    return flags.reshape(flags.shape + (1,) * (ndim - flags.ndim))


def select(flags: Array, new: Array, old: Array) -> Array:
    """`new` where the row's flag is set, else `old`: a selection, so no NaN crosses it."""
    return jnp.where(expand(flags, new.ndim), new, old)
