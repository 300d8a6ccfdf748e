"""How Newton's method went for a sequence."""

from functools import partial
from typing import Unpack

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.linear import Diagonal
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.recurrence import AnyStep, Recurrence
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.methods import Newton, spell_method
from seqjax.engines.newton import newton
from seqjax.engines.newton_rounds import NewtonReport
from seqjax.engines.request import Request, ScanOptions, checked
from seqjax.engines.scan import opened


def newton_report(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    **options: Unpack[ScanOptions],
) -> NewtonReport:
    """How `sj.scan(..., method="newton")` finds the states of one nonlinear cell.

    Args:
      cell: one cell, not a stack of them: each has rounds of its own.
      params, xs, carry: as for `sj.scan`.
      **options: as for `sj.scan`; `method` may be a `sj.Newton`.

    Returns:
      A `NewtonReport`: for each window the rounds, the largest residual, whether all states
      converged, and how many steps went one after the other because they did not.

    Raises:
      ValueError: if the cell is affine in its state, is made of several, or the method is another.

    Example:
      >>> import jax
      >>> import seqjax as sj
      >>> cell = sj.gru(8)
      >>> params = cell.init(jax.random.key(0), 4)
      >>> report = sj.newton_report(cell, params, jax.random.normal(jax.random.key(1), (2, 100, 4)))
      >>> bool(report.converged.all()), int(report.iterations[0]) < 10, int(report.sequential[0])
      (True, True, 0)
    """
    method = options.get("method", "newton")
    request = checked(cell, params, xs, carry, **{**options, "method": method})
    if not isinstance(request.method, Newton):
        raise ValueError(
            "newton_report: `method` must be 'newton' or a value of sj.Newton; got "
            f"{spell_method(request.method)}."
        )
    one = cell.sequence is None or isinstance(cell.structure, Recurrence | AnyStep)
    if not one or isinstance(cell.structure, Diagonal | MatrixRecurrence):
        raise ValueError(
            f"newton_report: expected one cell that is nonlinear in its state; {cell} is affine in "
            "it, or made of several, of which each has rounds of its own."
        )
    return _report(request)


@partial(jax.jit, inline=True)
def _report(request: Request) -> NewtonReport:
    method = request.method
    assert isinstance(method, Newton)
    if not request.time:  # No windows.
        rounds = jnp.zeros(0, jnp.int32)
        return NewtonReport(rounds, jnp.zeros(0), jnp.zeros(0, bool), rounds)
    params, start, initial, xs, steps = opened(request)
    steps = steps.counted(request.time, request.batch_shape)
    return newton(method, request.cell, params, start, initial, xs, steps)[1]
