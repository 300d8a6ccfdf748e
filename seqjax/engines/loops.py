"""The loop over the steps of a tile, as `lax.scan`; `fused/loop.py` has another one."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax

from seqjax.core.types import Array, Carry, PyTree


@runtime_checkable
class Loop(Protocol):
    """How the steps of a tile follow each other. A record like this is hashable."""

    def scan(
        self,
        body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
        carry: Carry,
        xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[Carry, PyTree]:
        """`lax.scan`, but not to be differentiated."""
        ...

    def linear(
        self,
        body: Callable[..., tuple[list[Array], PyTree]],
        d_carry: list[Array],
        d_fixed: list[Array] | None,
        known: PyTree,
        d_xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[list[Array], PyTree]:
        """A `lax.scan` that is linear in all tangents, to be transposed.

        Args:
          body: `(d_carry, d_fixed, known, d_x) -> (d_carry, d_y)`.
          d_carry: for the step processed first.
          d_fixed: the same in every step.
          known: of every step, leaves `(time, ...)`.
          d_xs: of every step, leaves `(time, ...)`.
          reverse: begin with the last step.
        """
        ...


@dataclasses.dataclass(frozen=True)
class ScanLoop:
    """The loop as `lax.scan`."""

    def scan(
        self,
        body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
        carry: Carry,
        xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[Carry, PyTree]:
        return jax.lax.scan(body, carry, xs, reverse=reverse)

    def linear(
        self,
        body: Callable[..., tuple[list[Array], PyTree]],
        d_carry: list[Array],
        d_fixed: list[Array] | None,
        known: PyTree,
        d_xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[list[Array], PyTree]:
        def step(d_carry, now):
            return body(d_carry, d_fixed, *now)

        # The step's own derivative is computed where it is used: cheaper than storing it.
        step = jax.checkpoint(step, prevent_cse=False)
        return jax.lax.scan(step, d_carry, (known, d_xs), reverse=reverse)
