"""How counts of steps compose over stretches of time: they add up."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.types import Carry, Inputs, Params, PyTree


@dataclasses.dataclass(frozen=True)
class Counting:
    """The `Composition` of a cell whose carry counts steps.

    Args:
      forgets: whether a reset begins to count anew.
    """

    forgets: bool

    def summarize(
        self,
        scan: Any,
        cell: Cell,
        params: Params,
        empty: Carry,
        initial: Carry,
        xs: Inputs,
        steps: Any,
    ) -> tuple[PyTree, Carry]:
        return (), scan(cell, params, empty, initial, xs, steps).carry

    def reach(self, carry: Carry, xs: Inputs, steps: Any) -> int | None:
        return None

    def empty(self, carry: Carry) -> Carry:
        return jax.tree.map(jnp.zeros_like, carry)

    def chain(self, first: PyTree, second: PyTree) -> PyTree:
        return ()

    def follow(self, transition: PyTree, carry: Carry, end: Carry) -> Carry:
        return jax.tree.map(jnp.add, carry, end)
