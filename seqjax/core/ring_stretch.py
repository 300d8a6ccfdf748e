"""How rings of keys and values compose over stretches of time: later steps overwrite earlier."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.device_axis import before_here, place_of
from seqjax.core.key_ring import Ring, places
from seqjax.core.masks import select
from seqjax.core.steps import ScanFn, Steps
from seqjax.core.types import Array, Int, Params


@dataclasses.dataclass(frozen=True)
class RingStretch:
    """The `Composition` of rings, in which each step has its slot, on any device.

    The transition says which slots the stretch has written, `(*batch, window)` bool; after a reset
    all are.

    Args:
      begin: the number of steps before this device, as `placed` finds it.
    """

    begin: Int[Array, "*batch"] | None = None
    forgets: bool = False

    def placed(self, axis: str, carry: Ring, xs: Array, steps: Steps) -> "RingStretch":
        """The one of this device, whose steps count from those before it on."""
        if steps.valid is None and steps.resets is None:
            before = place_of(axis, reverse=steps.reverse) * xs.shape[0]
            return RingStretch(carry.steps + before)
        found = places(carry._replace(steps=jnp.zeros_like(carry.steps)), steps, xs.shape[:-1])
        own = found.order.last(found.position + 1, jnp.zeros_like(carry.steps)), _anew(steps, carry)

        def join(first: Any, second: Any) -> Any:
            count = jnp.where(second[1], second[0], first[0] + second[0])
            return count, first[1] | second[1]

        batch_ndim = carry.steps.ndim
        count, anew = before_here(axis, join, own, batch_ndim=batch_ndim, reverse=steps.reverse)
        return RingStretch(jnp.where(anew, count, carry.steps + count))

    def summarize(
        self,
        scan: ScanFn,
        cell: Cell,
        params: Params,
        empty: Ring,
        initial: Ring,
        xs: Array,
        steps: Steps,
    ) -> tuple[Array, Ring]:
        end = scan(cell, params, empty, initial, xs, steps).carry
        count = xs.shape[0]
        if steps.valid is not None:
            count = steps.valid.sum(0, dtype=jnp.int32)[..., None]
        shape = end[0].shape[:-2]
        slots = jax.lax.broadcasted_iota(jnp.int32, shape, end.steps.ndim)
        age = (end.steps[..., None] - 1 - slots) % shape[-1]
        return (age < count) | _anew(steps, end)[..., None], end

    def reach(self, carry: Ring, xs: Array, steps: Steps) -> int | None:
        return None if steps.valid is not None else -(-carry[0].shape[-3] // xs.shape[0])

    def empty(self, carry: Ring) -> Ring:
        empty = jax.tree.map(jnp.zeros_like, carry)
        return empty if self.begin is None else empty._replace(steps=self.begin)

    def chain(self, first: Array, second: Array) -> Array:
        return first | second

    def follow(self, transition: Array, carry: Ring, end: Ring) -> Ring:
        rings = map(partial(select, transition), end[:-1], carry[:-1])
        return carry._make([*rings, end.steps])


def _anew(steps: Steps, carry: Ring) -> Array:
    """Whether a reset is in the stretch, `(*batch,)`."""
    if steps.resets is None:
        return jnp.zeros(carry.steps.shape, bool)
    return (steps.resets if steps.valid is None else steps.resets & steps.valid).any(0)
