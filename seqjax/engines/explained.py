"""The errors of a scan, in the terms of its user: which cell, and the shapes that were passed."""

import contextlib
from collections.abc import Iterator
from typing import Any

import jax

from seqjax.core.cell import Cell
from seqjax.core.misfits import (
    FAILURES,
    ArgumentError,
    WidthError,
    clearer,
    explain_inputs,
    explain_params,
)
from seqjax.core.steps import batch_shape_of
from seqjax.core.types import Inputs, Params


@contextlib.contextmanager
def explained(cell: Cell, params: Params, xs: Inputs) -> Iterator[None]:
    """Says what is wrong with parameters or inputs if what is done with them fails.

    Args:
      cell: the cell that runs.
      params: its parameters.
      xs: its inputs, `(*batch, time, ...)`; shapes are enough.
    """
    try:
        yield
    except FAILURES as error:
        clear = clearer(
            cell.call,
            error,
            lambda: explain_inputs(cell, xs, "xs") or explain_params(cell, params, xs),
        )
        if clear is None and isinstance(error, WidthError) and error.cell == cell.call:
            clear = error
        if isinstance(clear, WidthError):
            # What failed saw time in front, or a part of it.
            shapes = [leaf.shape for leaf in jax.tree.leaves(xs)]
            whole = next((own for own in shapes if own[-1:] == clear.shape[-1:]), None)
            clear = clear.of(cell.call, whole)
        if clear is None:
            raise
        raise clear from error.__cause__ if isinstance(error, ArgumentError) else error


def batch_major_shapes(cell: Cell, xs: Inputs) -> Any:
    """The shapes of inputs `(time, *batch, ...)` with the batch in front."""
    ndim = len(batch_shape_of(cell, xs))

    def move(leaf: Any) -> jax.ShapeDtypeStruct:
        time, batch, rest = leaf.shape[:1], leaf.shape[1 : ndim + 1], leaf.shape[ndim + 1 :]
        return jax.ShapeDtypeStruct((*batch, *time, *rest), leaf.dtype)

    return jax.tree.map(move, xs)
