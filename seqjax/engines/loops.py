"""The loop over the steps of a tile, as `lax.scan`; `fused/loop.py` has another one."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.gates import Gates
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
        packed, unpack = _packed(d_xs)

        def step(d_carry, now):
            known, d_x = now
            return body(d_carry, d_fixed, known, unpack(d_x))

        # The step's own derivative is computed where it is used: cheaper than storing it.
        step = jax.checkpoint(step, prevent_cse=False)
        return jax.lax.scan(step, d_carry, (known, packed), reverse=reverse)


def _packed(xs: PyTree) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """The gates of each product as one array, for one store in every step of the backward loop
    instead of many; and what takes those of one step apart."""
    is_gates = lambda node: isinstance(node, Gates)  # noqa: E731
    nodes, tree = jax.tree.flatten(xs, is_leaf=is_gates)
    packed = [jnp.concatenate(list(x), axis=-1) if is_gates(x) else x for x in nodes]

    def apart(array: Array, node: PyTree) -> PyTree:
        if not is_gates(node):
            return array
        # One array has one dtype, gates may have several.
        parts = zip(jnp.split(array, len(node), axis=-1), node, strict=True)
        return Gates(part.astype(gate.dtype) for part, gate in parts)

    def unpack(step: PyTree) -> PyTree:
        return tree.unflatten(map(apart, tree.flatten_up_to(step), nodes))

    return tree.unflatten(packed), unpack
