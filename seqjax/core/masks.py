"""Which steps count and where a state starts anew: lengths, segments, masks, resets."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, StepFlags, TimeFlags


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
    if lengths.dtype.itemsize < 4:
        lengths = lengths.astype(jnp.int32)  # Narrow ones could not count to `time`.
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


def opposite_resets(
    resets: TimeFlags, valid: TimeFlags | None, *, reverse: bool, beyond: Array | None = None
) -> TimeFlags:
    """The resets, for a pass in the other direction, that mark the same boundaries.

    A reset before step t separates t from the valid step processed before it. A pass in
    the other direction meets that boundary when it comes from t, so it resets before that
    earlier step.

    Args:
      resets: `(time, *batch)` bool, flags of the given direction.
      valid: `(time, *batch)` bool or None; masked steps count for nothing.
      reverse: the direction of `resets`: True if they belong to a reversed pass.
      beyond: `(*batch,)` bool, the flag of the step that is processed next after all of these, if
        there is one; by default there is none.
    """
    if reverse:
        flipped = None if valid is None else valid[::-1]
        return opposite_resets(resets[::-1], flipped, reverse=False, beyond=beyond)[::-1]
    time = resets.shape[0]
    after = jnp.zeros_like(resets[:1]) if beyond is None else beyond[None]
    padded = jnp.concatenate([resets, after])
    if valid is None:
        return padded[1:]
    steps = jax.lax.broadcasted_iota(jnp.int32, resets.shape, 0)
    next_valid = jax.lax.cummin(jnp.where(valid, steps, time), reverse=True)
    after = jnp.concatenate([next_valid[1:], jnp.full_like(next_valid[:1], time)])
    return jnp.take_along_axis(padded, after, axis=0)


def expand(flags: Array, ndim: int) -> Array:
    """`flags` with trailing axes of size 1 up to rank `ndim`, to select whole entries."""
    return flags.reshape(flags.shape + (1,) * (ndim - flags.ndim))


def select(flags: Array, new: Array, old: Array) -> Array:
    """`new` where the flag is set, else `old`: a selection, so no NaN crosses it."""
    return jnp.where(expand(flags, new.ndim), new, old)


class Order(NamedTuple):
    """Where the steps that count go when they are put one after the other.

    `counted` is, for each step, how many steps up to and with it count, in the order of
    processing; `place` where it goes, those that do not count behind all that do; `step` is
    the inverse of `place`. All are `(time, *batch)`, and None if every step counts.
    """

    reverse: bool
    counted: Array | None = None
    place: Array | None = None
    step: Array | None = None

    def take(self, values: Array) -> Array:
        """`(time, *batch, ...)` in the order of processing, without holes."""
        if self.step is None:
            return jnp.flip(values, 0) if self.reverse else values
        return _take(values, self.step)

    def put_back(self, values: Array) -> Array:
        """The opposite of `take`."""
        if self.place is None:
            return jnp.flip(values, 0) if self.reverse else values
        return _take(values, self.place)

    def last(self, values: Array, start: Array) -> Array:
        """Of `(time, *batch, ...)` in order the entry of the last step that counts, or
        `start` if none does."""
        if self.counted is None:
            return values[-1]
        count = self.counted.max(0)
        entry = _take(values, jnp.maximum(count - 1, 0)[None])[0]
        return select(count > 0, entry, start)

    def held(self, values: Array, start: Array) -> Array:
        """For each step, in the order of time, the entry of the last step that counts so far."""
        if self.counted is None:
            return self.put_back(values)
        entry = _take(values, jnp.maximum(self.counted - 1, 0))
        return select(self.counted > 0, entry, start[None])


def _take(values: Array, index: Array) -> Array:
    """`values[index[t]]` for each t and each sequence by itself."""
    return jnp.take_along_axis(values, expand(index, values.ndim), axis=0)


def processing_order(valid: TimeFlags | None, *, reverse: bool) -> Order:
    """The order in which the steps that count are processed.

    Args:
      valid: `(time, *batch)` bool, or None if all steps count.
      reverse: the last step comes first.
    """
    if valid is None:
        return Order(reverse)
    counted = jax.lax.cumsum(valid.astype(jnp.int32), reverse=reverse)
    others = jax.lax.cumsum((~valid).astype(jnp.int32), reverse=reverse)
    total = valid.sum(0, keepdims=True, dtype=jnp.int32)
    place = jnp.where(valid, counted, total + others) - 1
    return Order(reverse, counted, place, jnp.argsort(place, axis=0))
