"""Which engine runs which part of a cell."""

from collections.abc import Callable
from functools import partial

import jax

from seqjax.core.cell import Cell
from seqjax.core.linear import Diagonal
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.noise import with_keys_of
from seqjax.core.recurrence import AnyStep, Recurrence
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.bptt import bptt
from seqjax.engines.chunkwise import chunkwise
from seqjax.engines.diagonal import diagonal
from seqjax.engines.methods import (
    Associative,
    Auto,
    Chunked,
    Method,
    Plain,
    Recompute,
    Store,
    spell_method,
)
from seqjax.engines.placement import place_like_result, place_rows
from seqjax.engines.sequential import sequential
from seqjax.engines.stepwise import stepwise
from seqjax.engines.tiles import over_tiles


def run_cell(
    method: Method,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell over a sequence, each part of it by the engine that `method` asks for.

    Raises:
      ValueError: if a part cannot be run that way.
    """
    again = partial(run_cell, method)
    if not cell.causal and cell.sequence is not None:
        # Its parts run in directions of their own: what counts steps is left to them.
        return cell.sequence(again, params, carry, initial, xs, steps)
    batch_shape = batch_shape_of(cell, xs)
    time = jax.tree.leaves(xs)[0].shape[len(batch_shape)]
    steps = steps.counted(batch_shape, time)
    if steps.checkpoint_every is not None:

        def chunk(carry, some):
            xs, flags = some
            run = again(cell, params, carry, initial, xs, steps.part(flags))
            return run.carry, (run.ys, run.carries)

        here, size = (xs, steps.flags), steps.checkpoint_every
        carry, initial = _placed(chunk, (carry, initial), here, params, len(batch_shape), size)
        carry, outputs = in_chunks(
            chunk,
            carry,
            here,
            batch_ndim=len(batch_shape),
            size=size,
            reverse=steps.reverse,
        )
        return Run(carry, *outputs)
    parts = (cell, params, carry, initial, xs, steps)
    if isinstance(method, Plain) or 0 in (*batch_shape, time):
        return sequential(*parts)
    structure = cell.structure
    if isinstance(structure, Diagonal) and isinstance(method, Auto | Associative | Chunked):
        return diagonal(method, structure, *parts)
    if isinstance(structure, Recurrence) and isinstance(method, Auto | Recompute | Store):
        return bptt(method, structure, *parts)
    if isinstance(structure, AnyStep) and isinstance(method, Auto | Recompute):
        return stepwise(method, *parts)
    if isinstance(structure, MatrixRecurrence) and isinstance(method, Auto | Chunked):
        return chunkwise(method, structure, *parts)
    if cell.sequence is not None:
        return cell.sequence(again, params, carry, initial, xs, steps)
    if isinstance(method, Auto):
        return sequential(*parts)
    raise ValueError(
        f"scan: method={spell_method(method)} needs {_NEEDS[type(method)]}; {cell} is none of "
        "them. Use method='auto', which finds a way for each part of a cell."
    )


def _placed(
    chunk: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carries: tuple[Carry, Carry],
    here: PyTree,
    params: Params,
    batch_ndim: int,
    size: int,
) -> tuple[Carry, Carry]:
    """The carries to start from and to go back to, where a chunk of `size` steps leaves its own."""

    def first(leaf: Array) -> Array:
        return jax.lax.slice_in_dim(leaf, 0, min(size, leaf.shape[batch_ndim]), axis=batch_ndim)

    carry, initial = carries
    placed = place_rows((carry, with_keys_of(initial, carry)), here[0], batch_ndim)
    return place_like_result(
        chunk, placed, jax.tree.map(lambda leaf: first(leaf)[None], here), params
    )


_GATED = "cells that show which products they make, as those from sj.gated do"
_LINEAR = "cells that are linear in their state, as those from sj.linear are"
_CHUNKED = "cells that are linear in their state, as those from sj.linear and sj.matrix_state are"
_NEEDS = {Recompute: _GATED, Store: _GATED, Associative: _LINEAR, Chunked: _CHUNKED}


def in_chunks(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    *,
    batch_ndim: int,
    size: int,
    reverse: bool,
) -> tuple[PyTree, PyTree]:
    """Time in chunks that the backward pass runs a second time.

    All layers of a chunk are run before the next chunk, so between the chunks nothing is
    stored but `carry` and what `function` returns for each step.

    Args:
      function: `(carry, xs of some steps) -> (carry, ys of these steps)`, the arrays
        `(*batch, steps, ...)`.
      carry: before the first chunk in the order of processing.
      xs: leaves `(*batch, time, ...)`.
      batch_ndim: number of batch dimensions.
      size: steps of a chunk.
      reverse: begin with the last steps.
    """

    def chunk(carry, here):
        carry, ys = function(carry, batch_major(here, batch_ndim))
        return carry, time_major(ys, batch_ndim)

    xs = time_major(xs, batch_ndim)
    whole = size >= jax.tree.leaves(xs)[0].shape[0]
    carry, ys = over_tiles(
        # Inside a loop nothing can be merged across the checkpoint, so no barrier is needed.
        jax.checkpoint(chunk, prevent_cse=whole),
        carry,
        xs,
        size=size,
        reverse=reverse,
    )
    return carry, batch_major(ys, batch_ndim)
