"""Sequences of a batch on several devices: each has its own gradient, then their sum."""

from collections.abc import Callable
from typing import Any

import jax

from seqjax.core.cell import Cell
from seqjax.core.steps import batch_shape_of
from seqjax.core.types import Carry, Params, PyTree
from seqjax.engines.placement import all_varying, rows_of, with_specs


def rows_apart(
    run: Callable[..., Any], cell: Cell, result: Callable[..., Any]
) -> Callable[..., Any]:
    """A pass over a sequence in which each device takes the rows that it has.

    An Explicit mesh says which these are; the sum over devices is made once, after all steps.
    Inside `shard_map` there is none: loss and gradient are those of the device.

    Args:
      run: `(params, carry, influence, steps) -> (loss, gradient, carry, influence)`.
      cell: whose inputs are the first of the steps.
      result: what the four of them are put in.
    """

    def own(*parts: PyTree) -> tuple:
        return tuple(run(*all_varying(parts)))

    def call(params: Params, carry: Carry, influence: PyTree, steps: tuple) -> Any:
        parts = params, carry, influence, steps
        first = jax.tree.leaves(steps[0])[0]
        rows, axes = rows_of(first, len(batch_shape_of(cell, steps[0])))
        if not axes:
            return result(*own(*parts))

        def summed(*parts: PyTree) -> tuple:
            loss, gradient, *after = own(*parts)
            return *jax.lax.psum((loss, gradient), tuple(axes)), *after

        mesh, by_row = jax.typeof(first).sharding.mesh, jax.P(*rows)
        specs = jax.P(), by_row, by_row, jax.P(None, *rows)
        made = jax.shard_map(
            summed,
            mesh=mesh,
            in_specs=specs,
            out_specs=(jax.P(), jax.P(), by_row, by_row),
            axis_names=axes,
        )
        return result(*made(*with_specs(parts, specs, axes, mesh)))

    return call
