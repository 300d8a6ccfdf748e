"""Gated cells with kernels for the loops over time."""

import dataclasses
import math

import jax

from seqjax.core.recurrence import Recurrence
from seqjax.core.steps import Run, Steps, time_of
from seqjax.core.trees import is_float, tree_bytes
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.bptt import bptt
from seqjax.engines.fused.choice import suits_kernels
from seqjax.engines.fused.loop import KernelLoop
from seqjax.engines.gated_steps import GatedSteps
from seqjax.engines.methods import Fused
from seqjax.engines.tiles import divisor


def fused_gated(
    method: Fused,
    recurrence: Recurrence,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Array,
    steps: Steps,
) -> Run:
    """Runs a cell that shows its products.

    Args:
      method: the sizes.
      recurrence: the parts of the cell.
      params, carry, initial, xs, steps: as for every engine.

    Raises:
      ValueError: if the state has leaves that are no floating-point vectors, such as keys.
    """
    batch_shape, time = xs.shape[1:-1], time_of(xs)
    if not _are_vectors(carry, len(batch_shape)):
        raise ValueError(
            "scan: method='fused' needs a state of vectors of numbers; this cell carries "
            f"{jax.tree.map(jax.typeof, carry)}. Use method='auto', which makes kernels where it "
            "can."
        )
    carry, initial = _rows((carry, initial), len(batch_shape), axis=0)
    xs, flags = _rows(xs, len(batch_shape), axis=1), _rows(steps.flags, len(batch_shape), axis=1)
    recurrence = recurrence.by_gate()
    params = recurrence.flat(params)
    gates = jax.eval_shape(recurrence.project_inputs, params, xs)
    step_bytes = tree_bytes(gates) // time
    tile = method.tile or divisor(time, max(1, sizes.GATES_OF_KERNEL.here // step_bytes))
    block = method.block or max(1, sizes.GATES_OF_BLOCK.here // step_bytes)
    kind = GatedSteps(recurrence, tile=tile, forward_tile=tile, loop=KernelLoop(block))
    valid, resets, cuts = jax.tree.map(lambda flag: flag[..., None], flags)
    steps = dataclasses.replace(steps, valid=valid, resets=resets, cuts=cuts)
    run = bptt(kind, False, params, carry, initial, xs, steps)

    def apart(tree: PyTree, axis: int) -> PyTree:
        return jax.tree.map(
            lambda leaf: leaf.reshape(*leaf.shape[:axis], *batch_shape, *leaf.shape[axis + 1 :]),
            tree,
        )

    return Run(apart(run.carry, 0), apart(run.ys, 1), apart(run.carries, 1))


def wins(params: Params, carry: Carry, xs: Array) -> bool:
    """Whether kernels are the fastest way: on a TPU, where all weights of the loop fit in VMEM."""
    small = tree_bytes(params) <= sizes.WEIGHTS_OF_KERNEL.here
    return small and suits_kernels(params, carry, xs) and _are_vectors(carry, xs.ndim - 2)


def _are_vectors(carry: Carry, batch_ndim: int) -> bool:
    return all(is_float(leaf) and leaf.ndim == batch_ndim + 1 for leaf in jax.tree.leaves(carry))


def _rows(tree: PyTree, count: int, axis: int) -> PyTree:
    """Arrays whose batch dimensions, `count` from `axis` on, are one."""

    def merge(leaf: Array) -> Array:
        rows = math.prod(leaf.shape[axis : axis + count])
        return leaf.reshape(*leaf.shape[:axis], rows, *leaf.shape[axis + count :])

    return jax.tree.map(merge, tree)
