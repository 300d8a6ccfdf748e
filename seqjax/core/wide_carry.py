"""The state of a gated cell in float32 where the cell computes in bfloat16."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.gated_recurrence import Gated
from seqjax.core.gates import Gates
from seqjax.core.trees import narrow, widen
from seqjax.core.types import Array


class WideState(NamedTuple):
    """A hidden state in the dtype of the parameters, and the same in float32 at least."""

    hidden: Array
    wide: Array


@factory
def wide_carry(cell: Cell) -> Cell:
    """A gated cell whose state is in float32 at least, while it computes in a narrower dtype.

    A state to which every step adds a little stops growing in bfloat16 where one step is less than
    a 256th of it. Here updates are made in float32; products and outputs stay as narrow as the
    parameters. In float32 nothing changes but the carry: where the state was one array it is a
    `WideState`, so nothing is left out of what flows from step to step.

    Args:
      cell: made by `gated`. Any other is returned as it is: states of linear and matrix-state cells
        are in float32 at least by themselves.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.wide_carry(sj.gru(4))
      >>> params = sj.cast(cell.init(jax.random.key(0), 3), jnp.bfloat16)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3), jnp.bfloat16))
      >>> carry.wide.dtype, ys.dtype
      (dtype('float32'), dtype(bfloat16))
    """
    parts = cell.structure
    if not isinstance(parts, Gated):
        return dataclasses.replace(cell, call="")
    names = {field.name for field in dataclasses.fields(parts)} - {"apart", "owner"}
    options: dict[str, Any] = {name: getattr(parts, name) for name in names}
    options |= {"parameters": dict(parts.parameters), "wide_state": True}
    if parts.state is None and parts.projection is None:
        options |= {"update": _in_wide(parts.update), "state": WideState, "hidden": "hidden"}
        if parts.modulate is not None:
            options["modulate"] = _modulated_in_wide(parts.modulate)
    return dataclasses.replace(gated(**options), name=cell.name, call="")


@functools.cache
def _in_wide(update: Callable[..., Array]) -> Callable[..., WideState]:
    def wide_update(state: WideState, x: Gates, r: Gates, *extra: Any) -> WideState:
        new = update(state.wide, x.map(widen), r.map(widen), *extra)
        return WideState(new, new)

    return wide_update


@functools.cache
def _modulated_in_wide(modulate: Callable[..., Array]) -> Callable[..., Array]:
    def wide_modulate(state: WideState, x: Gates, r: Gates, *extra: Any) -> Array:
        return narrow(modulate(state.wide, x.map(widen), r.map(widen), *extra), state.hidden)

    return wide_modulate
