"""A ring of keys and values: what attention over the last steps remembers."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.masks import Order, expand, processing_order, select
from seqjax.core.steps import Steps
from seqjax.core.types import Array, Int


@exportable
class WindowAttentionState(NamedTuple):
    """The keys and values of the last steps, in a ring, and how many steps there were.

    `keys` and `values` are `(*batch, window, key_heads, width)`: those of step n stand at n modulo
    `window`. `steps` `(*batch,)` int32 counts from the last reset on, up to 2^31.
    """

    keys: Array
    values: Array
    steps: Array


class Places(NamedTuple):
    """Where the steps of a sequence are, as they are processed; all `(time, *batch)` int32.

    Attributes:
      order: the order of processing.
      begin: the place in the order at which counting began: that of the last reset, or one before
        the sequence.
      reset: the place of the last reset, below all others if there was none in the sequence; None
        without resets.
      cut: the place of the last cut of the gradient, likewise.
    """

    order: Order
    begin: Int[Array, "time *batch"]
    reset: Int[Array, "time *batch"] | None
    cut: Int[Array, "time *batch"] | None

    @property
    def position(self) -> Array:
        """Steps since counting began."""
        return jax.lax.broadcasted_iota(jnp.int32, self.begin.shape, 0) - self.begin


def places(before: WindowAttentionState, steps: Steps, shape: tuple[int, ...]) -> Places:
    """The places of steps of shape `(time, *batch)`."""
    order = processing_order(steps.valid, reverse=steps.reverse)
    place = jax.lax.broadcasted_iota(jnp.int32, shape, 0)

    def latest(flags):
        if flags is None:
            return None
        return jax.lax.cummax(jnp.where(order.take(flags), place, _never(before)))

    reset, cut = latest(steps.resets), latest(steps.cuts)
    begin = jnp.broadcast_to(-before.steps, shape)
    if reset is not None:
        begin = jnp.where(reset < 0, begin, reset)
    return Places(order, begin, reset, cut)


def _never(state: WindowAttentionState) -> int:
    """A place before all that a ring holds."""
    return -state.keys.shape[-3]


def _slots(state: WindowAttentionState) -> Array:
    """The numbers of all slots, `(*batch, window)`."""
    return jax.lax.broadcasted_iota(jnp.int32, state.keys.shape[:-2], state.steps.ndim)


def written(state: WindowAttentionState, key: Array, value: Array) -> WindowAttentionState:
    """The ring after one more step, its key and value `(*batch, key_heads, width)`."""
    now = _slots(state) == (state.steps % state.keys.shape[-3])[..., None]
    now = expand(now, state.keys.ndim)
    put = lambda ring, new: jnp.where(now, new[..., None, :, :].astype(ring.dtype), ring)  # noqa: E731
    return WindowAttentionState(put(state.keys, key), put(state.values, value), state.steps + 1)


def filled(state: WindowAttentionState) -> Array:
    """Which slots of the ring hold a step, `(*batch, window)` bool."""
    return _slots(state) < state.steps[..., None]


def in_a_row(state: WindowAttentionState) -> tuple[Array, Array]:
    """Keys and values of the ring, the latest last."""
    slots = (_slots(state) + state.steps[..., None]) % state.keys.shape[-3]
    pick = lambda ring: jnp.take_along_axis(ring, slots[..., None, None], axis=-3)  # noqa: E731
    return pick(state.keys), pick(state.values)


def after(
    before: WindowAttentionState,
    initial: WindowAttentionState,
    past: tuple[Array, Array],
    made: tuple[Array, Array],
    found: Places,
) -> WindowAttentionState:
    """The ring after a sequence.

    Args:
      before: the ring before it.
      initial: after a reset.
      past: `in_a_row(before)`.
      made: keys and values of the sequence, `(time, *batch, key_heads, width)`, in its order.
      found: the places of its steps.
    """
    window, order = before.keys.shape[-3], found.order
    never = jnp.full_like(before.steps, _never(before))
    reset, cut = (
        never if places is None else order.last(places, never)
        for places in (found.reset, found.cut)
    )
    steps = order.last(found.position + 1, before.steps)
    count = len(found.begin) if order.counted is None else order.counted.max(0)[..., None]
    # Each slot holds one of the last `window` steps.
    back = (_slots(before) - steps[..., None]) % window
    place = back + count - window
    unwritten = (reset >= 0)[..., None] & (_slots(before) >= steps[..., None])
    born = jnp.where(unwritten, reset[..., None], place)

    def ring(past, made, anew):
        line = jnp.concatenate([past, jnp.moveaxis(made, 0, -3)], axis=-3)
        entries = jnp.take_along_axis(line, (back + count)[..., None, None], axis=-3)
        entries = select(unwritten, anew, entries)
        if found.cut is None:
            return entries
        return select(born < cut[..., None], jax.lax.stop_gradient(entries), entries)

    keys = ring(past[0], made[0], initial.keys)
    values = ring(past[1], made[1], initial.values)
    return WindowAttentionState(keys, values, steps)
