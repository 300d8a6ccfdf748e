"""Which engine runs which part of a cell."""

from functools import partial
from typing import Any

import jax

from seqjax.core.cell import Cell
from seqjax.core.linear import Diagonal
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.programs import closed_over
from seqjax.core.recurrence import AnyStep, Recurrence
from seqjax.core.steps import Run, Steps, batch_shape_of, is_symbolic, time_of, zero_masked
from seqjax.core.trees import floats
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.any_steps import any_steps
from seqjax.engines.chunkwise import chunkwise
from seqjax.engines.diagonal import diagonal
from seqjax.engines.explained import batch_major_shapes, explained
from seqjax.engines.fused.choice import varies
from seqjax.engines.fused.fused_memory import fused_memory, memory_wins
from seqjax.engines.fused.fused_steps import fused_gated, wins
from seqjax.engines.gated_steps import gated_steps
from seqjax.engines.methods import (
    Associative,
    Auto,
    Chunked,
    Fused,
    Method,
    Newton,
    Plain,
    Recompute,
    SequenceParallel,
    Store,
    as_method,
    spell_method,
)
from seqjax.engines.newton import newton
from seqjax.engines.sequence_parallel import sequence_parallel
from seqjax.engines.sequential import sequential
from seqjax.engines.stretches import in_checkpoints, with_snapshots


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
    with explained(cell, params, batch_major_shapes(cell, xs)):
        run = _run(method, cell, params, carry, initial, xs, steps)
    return run._replace(ys=zero_masked(run.ys, steps.valid))


def _run(
    method: Method,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    again = partial(run_cell, method)
    if not cell.causal:
        # Its parts run in directions of their own: what counts steps is left to them.
        assert cell.sequence is not None
        return cell.sequence(again, params, carry, initial, xs, steps)
    time, batch_shape = time_of(xs), batch_shape_of(cell, xs)
    steps = steps.counted(time, batch_shape)
    parts = (params, carry, initial, xs, steps)
    if isinstance(method, SequenceParallel):
        inside = partial(run_cell, as_method(method.inside))
        return sequence_parallel(method, again, inside, cell, *parts)
    if steps.snapshots is not None:
        return with_snapshots(again, cell, params, carry, initial, xs, steps)
    if steps.checkpoint_every is not None:
        return in_checkpoints(again, cell, params, carry, initial, xs, steps)
    structure = cell.structure
    if is_symbolic(time, *batch_shape):
        # Engines choose tiles by numbers.
        if not isinstance(method, Plain | Auto):
            raise ValueError(
                f"scan: method={spell_method(method)} goes by the sizes of its inputs, of which "
                f"the batch {batch_shape} and the {time} steps are not all numbers. Use "
                "method='auto' or 'plain', which go step by step where a size is a symbol, or "
                "export for numbers."
            )
        structure = None
    if isinstance(method, Plain) or 0 in (*batch_shape, time):
        return sequential(cell, *parts)
    if _closes_over_traced(structure, cell, params, carry, xs):
        # The derivative rules of our own know arguments only; JAX knows closures.
        if isinstance(method, Recompute | Store | Fused):
            raise ValueError(
                f"scan: method={spell_method(method)} differentiates by what is in `params`, but "
                f"the step of {cell} closes over a number that is traced, as the argument of a "
                "function under jax.grad or jax.jit is. Put it into the parameters (sj.gated "
                "takes names for them), or use method='auto', which goes the plain way then."
            )
        structure = None
    if isinstance(method, Newton):
        if isinstance(structure, Diagonal | MatrixRecurrence) or not floats(carry):
            method = Auto()  # One round solves what is affine.
        elif cell.sequence is None or isinstance(structure, Recurrence | AnyStep):
            return newton(method, cell, *parts)[0]
    if isinstance(method, Fused) and varies(params, carry, xs):
        raise ValueError(
            f"scan: method={spell_method(method)} makes kernels, which jax.shard_map cannot type "
            "by the axes that they vary over. Call it with check_vma=False, or use method='auto'."
        )
    if isinstance(structure, Diagonal) and isinstance(method, _DIAGONAL):
        return diagonal(method, structure, *parts)
    if isinstance(structure, Recurrence) and isinstance(method, Auto) and wins(params, carry, xs):
        method = Fused()
    if isinstance(structure, Recurrence) and isinstance(method, Fused):
        return fused_gated(method, structure, *parts)
    if isinstance(structure, Recurrence) and isinstance(method, Auto | Recompute | Store):
        return gated_steps(method, structure, *parts)
    if isinstance(structure, AnyStep) and isinstance(method, Auto | Recompute):
        return any_steps(method, cell, *parts)
    if isinstance(structure, MatrixRecurrence):
        if isinstance(method, Auto) and memory_wins(structure, cell, params, carry, xs):
            method = Fused()
        if isinstance(method, Fused):
            return fused_memory(method, structure, cell, *parts)
    if isinstance(structure, MatrixRecurrence) and isinstance(method, Auto | Chunked):
        return chunkwise(method, structure, cell, *parts)
    if cell.sequence is not None:
        return cell.sequence(again, *parts)
    if isinstance(method, Auto):
        return sequential(cell, *parts)
    raise ValueError(
        f"scan: method={spell_method(method)} needs {_NEEDS[type(method)]}; {cell} is none of "
        "them. Use method='auto', which finds a way for each part of a cell."
    )


def _closes_over_traced(
    structure: Any, cell: Cell, params: Params, carry: Carry, xs: Inputs
) -> bool:
    """Whether a step with a derivative rule of our own uses traced numbers beside its arguments."""
    if isinstance(structure, Recurrence):
        return structure.closes_over_traced
    if not isinstance(structure, AnyStep):
        return False
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    return bool(closed_over(cell.step, params, carry, x))


_GATED = "cells that show which products they make, as those from sj.gated do"
_LINEAR = "cells that are linear in their state, as those from sj.linear are"
_CHUNKED = "cells that are linear in their state, as those from sj.linear and sj.matrix_state are"
_DIAGONAL = Auto | Associative | Chunked | Fused
_NEEDS = {
    Recompute: _GATED,
    Store: _GATED,
    Fused: f"{_GATED}, or a state whose numbers are apart or a matrix, as sj.linear and "
    "sj.matrix_state make them",
    Associative: _LINEAR,
    Chunked: _CHUNKED,
}
