"""Steps with the value of a cell's own, through some of whose paths no derivative goes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, StepFn
from seqjax.core.linear import Diagonal
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.recurrence import Recurrence, multiply
from seqjax.core.steps import Run, Steps
from seqjax.core.trees import floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree


@functools.lru_cache(maxsize=256)
def cut_step(cell: Cell, *, inputs: bool = False, products: bool = False) -> StepFn:
    """The step of a cell without some derivatives.

    Args:
      cell: any causal cell; a composite is taken apart.
      inputs: cut what goes into each layer, so that its state depends on no layer below it.
      products: cut the state where it meets recurrent weights.

    Raises:
      ValueError: from the step, if products are to be cut in a layer that does not show them.
    """

    def scan(
        part: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
    ) -> Run:
        xs = jax.lax.stop_gradient(xs) if inputs else xs
        if part.sequence is not None:
            return part.sequence(scan, params, carry, initial, xs, steps)
        step = _without_products(part) if products else part.step
        new, y = step(params, carry, jax.tree.map(lambda leaf: leaf[0], xs))
        return Run(new, jax.tree.map(lambda leaf: leaf[None], y), None)

    def step(params: Params, carry: Carry, x: PyTree) -> tuple[Carry, PyTree]:
        xs = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], x)
        run = scan(cell, params, carry, carry, xs, Steps())
        return run.carry, jax.tree.map(lambda leaf: leaf[0], run.ys)

    return step


def _without_products(cell: Cell) -> StepFn:
    """The step of one layer whose recurrent products take the state as a constant."""
    parts = cell.structure
    if isinstance(parts, Recurrence):

        def step(params: Params, carry: Carry, x: Array) -> tuple[Carry, Array]:
            own = parts.flat(params)
            return parts.advance(own, carry, parts.project_inputs(own, x), _multiply_constant)

        return step
    if isinstance(parts, Diagonal | MatrixRecurrence):
        return cell.step

    def stateless(params: Params, carry: Carry, x: PyTree) -> tuple[Carry, PyTree]:
        if floats(carry):
            raise ValueError(
                "eprop: expected cells that show which products they make with their state, as "
                f"those from sj.gated do, or that are linear in it; got {cell}. Use rtrl or snap."
            )
        return cell.step(params, carry, x)

    return stateless


def _multiply_constant(
    product: Any,
    operand: Array,
    weights: Array,
    bias: Array | None = None,
    gates: slice | None = None,
) -> PyTree:
    """`multiply`, where a product is for gates, of a constant."""
    operand = operand if gates is None else jax.lax.stop_gradient(operand)
    return multiply(product, operand, weights, bias, gates)
