"""A ring of keys and values: what attention over the last steps remembers."""

from typing import NamedTuple, TypeVar

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


@exportable
class LatentAttentionState(NamedTuple):
    """The latents of the last steps, in a ring, and how many steps there were.

    `latents` is `(*batch, window, 1, rank + shared)`, in the places of the keys of a
    `WindowAttentionState`: the latent of each step, and behind it the key that all heads share.
    """

    latents: Array
    steps: Array


Ring = WindowAttentionState | LatentAttentionState
AnyRing = TypeVar("AnyRing", WindowAttentionState, LatentAttentionState)


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


def places(before: Ring, steps: Steps, shape: tuple[int, ...]) -> Places:
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


def _never(state: Ring) -> int:
    """A place before all that a ring holds."""
    return -_window(state)


def _window(state: Ring) -> int:
    return state[0].shape[-3]


def _slots(state: Ring) -> Array:
    """The numbers of all slots, `(*batch, window)`."""
    return jax.lax.broadcasted_iota(jnp.int32, state[0].shape[:-2], state.steps.ndim)


def written(state: AnyRing, *made: Array) -> AnyRing:
    """The ring after one more step, of which all is `(*batch, key_heads, width)`."""
    now = _slots(state) == (state.steps % _window(state))[..., None]
    now = expand(now, state[0].ndim)
    rings = (
        jnp.where(now, new[..., None, :, :].astype(ring.dtype), ring)
        for ring, new in zip(state[:-1], made, strict=True)
    )
    return state._make([*rings, state.steps + 1])


def filled(state: Ring) -> Array:
    """Which slots of the ring hold a step, `(*batch, window)` bool."""
    return _slots(state) < state.steps[..., None]


def in_a_row(state: Ring) -> tuple[Array, ...]:
    """What the ring holds, the latest step last."""
    slots = (_slots(state) + state.steps[..., None]) % _window(state)
    pick = lambda ring: jnp.take_along_axis(ring, slots[..., None, None], axis=-3)  # noqa: E731
    return tuple(map(pick, state[:-1]))


def after(
    before: AnyRing,
    initial: AnyRing,
    past: tuple[Array, ...],
    made: tuple[Array, ...],
    found: Places,
) -> AnyRing:
    """The ring after a sequence.

    Args:
      before: the ring before it.
      initial: after a reset.
      past: `in_a_row(before)`.
      made: what the sequence writes, `(time, *batch, key_heads, width)`, in its order.
      found: the places of its steps.
    """
    window, order = _window(before), found.order
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

    rings = (ring(*parts) for parts in zip(past, made, initial[:-1], strict=True))
    return before._make([*rings, steps])
