"""Nonlinear recurrences at once for all steps, by Newton's method.

The states of a sequence solve one equation for each step, with s_{-1} the carry before it:

    s_t = f_t(s_{t-1})

f_t is a whole step with its boundaries: it holds the state where a step is masked and forgets it at
a reset. Newton's method makes of any guess a better one; in terms of the change d and the residual
r, and with the Jacobians J_t of f_t at the guess,

    r_t = f_t(s_{t-1}) - s_t,    d_t = J_t d_{t-1} + r_t,    s_t <- s_t + d_t

which is one affine recurrence, solved for all steps at once. After i rounds the first i states are
right whatever the cell; where the recurrence contracts, all are after three to five. Steps that are
not when the rounds are over run one after the other, so the result is that of the loop.

Derivatives follow from the equation and not from the rounds: the tangents of the states solve the
same affine recurrence at the solution, with the change of f_t in place of r.

Source: Lim et al. 2023, arXiv:2309.12252 (DEER); damped, and with diagonal Jacobians: Gonzalez et
al. 2024, arXiv:2407.19115 (ELK).
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.bounded_gradient import bounds_gradient
from seqjax.core.cell import Cell
from seqjax.core.programs import closed_over
from seqjax.core.recurrence import Recurrence
from seqjax.core.steps import Run, Steps, batch_shape_of, time_of
from seqjax.core.trees import floats, is_float, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.block_affine import multiply_blocks, solve_blocks
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.discrete_state import is_apart, run_discrete
from seqjax.engines.methods import Newton
from seqjax.engines.newton_rounds import NewtonReport
from seqjax.engines.placement import all_varying
from seqjax.engines.state_blocks import StateBlocks
from seqjax.engines.tiles import divisor

ROUNDS = 24
"""Rounds of Newton's method before the steps that are left go one after the other."""

ROUNDINGS = 32
"""Largest residual, in roundings of the state's dtype, of a state that counts as solved; one of
dtypes narrower than float32, whose states are rounded from float32."""


def newton(
    method: Newton,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> tuple[Run, NewtonReport]:
    """Runs a cell by Newton's method, and tells how it went.

    Raises:
      ValueError: if its state is complex, its counters depend on its numbers, or its step closes
        over traced numbers or clips the gradient.
    """
    _expect_solvable(cell, params, carry, xs)
    time, batch_ndim = time_of(xs), len(batch_shape_of(cell, xs))
    numbers = floats(carry)
    layout = _layout(method, cell, numbers, batch_ndim)
    kinds = tuple(map(is_float, jax.tree.leaves(carry)))
    equations = _Equations(cell, layout, jax.tree.structure(carry), kinds)
    inputs = xs, Boundaries(*steps.flags)
    if steps.reverse:
        inputs = _flipped(inputs)
    others = run_discrete(cell, params, carry, initial, *inputs)
    parts = layout.pack(numbers), params, initial, (*inputs, others.before)
    start, params, initial, inputs = all_varying(parts)

    def run_window(start: Array, inputs: PyTree) -> tuple[Array, tuple[Array, NewtonReport]]:
        after, report = _solve(equations, method, (params, initial, start, inputs))
        return after[-1], (after, report)

    window = divisor(time, method.window or time)
    whole = time - time % window
    cut = lambda leaf: leaf[:whole].reshape(whole // window, window, *leaf.shape[1:])  # noqa: E731
    last, (after, report) = jax.lax.scan(run_window, start, jax.tree.map(cut, inputs))
    after = after.reshape(whole, *after.shape[2:])
    if whole < time:
        rest = jax.tree.map(lambda leaf: leaf[whole:], inputs)
        last, (more, found) = run_window(last, rest)
        after, report = jnp.concatenate([after, more]), jax.tree.map(jnp.append, report, found)
    discrete_after = [
        jnp.concatenate([before[1:], end[None]])
        for before, end in zip(others.before, others.last, strict=True)
    ]
    states = equations.state(after, discrete_after)
    if cell.output is None:
        ys = equations.outputs(params, initial, _before(start, after), inputs)
    else:
        ys = jax.vmap(cell.output)(states)
    results = ys, states if steps.record else None
    final = equations.state(last, others.last)
    return Run(final, *(_flipped(results) if steps.reverse else results)), report


def _flipped(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree)


def _before(start: Array, after: Array) -> Array:
    return jnp.concatenate([start[None], after[:-1]])


def _layout(method: Newton, cell: Cell, numbers: list[Array], batch_ndim: int) -> StateBlocks:
    """The state in the blocks that it falls into, as the method says, or the cell."""
    structure = cell.structure
    own = structure.state_blocks if isinstance(structure, Recurrence) else 1
    blocks = own if method.blocks is None else method.blocks
    layout = StateBlocks.of(f"Newton, {cell}", numbers, batch_ndim, blocks)
    if isinstance(structure, Recurrence) and own % blocks:
        raise ValueError(
            f"Newton: the state of {cell} falls into {own} blocks that do not see one another, and "
            f"not into {blocks}; leave `blocks` out."
        )
    return layout


def _expect_solvable(cell: Cell, params: Params, carry: Carry, xs: Inputs) -> None:
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    wrong = None
    if any(map(jnp.iscomplexobj, floats(carry))):
        wrong = "needs a state of real numbers; that of {} has complex ones"
    elif not is_apart(cell, params, carry, x):
        wrong = "needs counters and keys that go their own way; those of {} depend on its numbers"
    elif closed_over(cell.step, params, carry, x):
        wrong = (
            "differentiates by what is in `params`, but the step of {} closes over a number that "
            "is traced, as the argument of a function under jax.grad is"
        )
    elif bounds_gradient(_numbers_after(cell, carry), floats(carry), params, x):
        wrong = (
            "makes the tangents of all steps at once, so it cannot clip the gradient in each, as "
            "{} says"
        )
    if wrong is not None:
        raise ValueError(f"scan: method='newton' {wrong.format(cell)}. Use method='auto'.")


def _numbers_after(cell: Cell, like: Carry) -> Callable[..., list[Array]]:
    """The floating-point numbers of the state after a step, from those before it."""
    return lambda numbers, params, x: floats(cell.step(params, put_floats(like, numbers), x)[0])


def _tolerance(dtype: Any) -> float:
    kind = jnp.finfo(dtype)
    return float(kind.eps) * (ROUNDINGS if kind.bits >= 32 else 1)


@dataclasses.dataclass(frozen=True)
class _Equations:
    """The equations that the states of a window solve, all at once.

    States are `(time, *batch, blocks, n)`; parameters and the carry after a reset are the same for
    all steps.
    """

    cell: Cell
    layout: StateBlocks
    tree: Any
    kinds: tuple[bool, ...]

    def state(self, packed: Array, others: list) -> Carry:
        """The whole state, from its floating-point numbers and its discrete leaves."""
        numbers, rest = iter(self.layout.unpack(packed)), iter(others)
        leaves = [next(numbers if floating else rest) for floating in self.kinds]
        return jax.tree.unflatten(self.tree, leaves)

    def step(self, params: Params, initial: Carry, before: Array, now: PyTree) -> tuple:
        x, flags, others = now
        advance = lambda start: self.cell.step(params, start, x)  # noqa: E731
        new, y = flags.step(advance, initial, self.state(before, others))
        return self.layout.pack(floats(new)), y

    def after(self, params: Params, initial: Carry, before: Array, inputs: PyTree) -> Array:
        """f_t of all states before."""
        return jax.vmap(lambda *now: self.step(params, initial, *now)[0])(before, inputs)

    def outputs(self, params: Params, initial: Carry, before: Array, inputs: PyTree) -> PyTree:
        return jax.vmap(lambda *now: self.step(params, initial, *now)[1])(before, inputs)

    def jacobians(self, params: Params, initial: Carry, before: Array, inputs: PyTree) -> Array:
        """Of f_t, `(time, *batch, blocks, n, n)`: one tangent for each number of a block, which is
        that of all blocks at once, as none depends on another."""

        def column(unit: Array) -> Array:
            tangent = jnp.broadcast_to(unit, before.shape)
            function = lambda before: self.after(params, initial, before, inputs)  # noqa: E731
            return jax.jvp(function, (before,), (tangent,))[1]

        return jax.vmap(column, out_axes=-1)(jnp.eye(self.layout.width, dtype=before.dtype))


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _solve(equations: _Equations, method: Newton, known: tuple) -> tuple[Array, NewtonReport]:
    """All states after a step, from `(params, initial, start, inputs)`."""
    params, initial, start, (xs, flags, others) = known
    # Where the gradient is cut, states depend on those before all the same.
    inputs = xs, flags._replace(cuts=None), others
    tolerance = method.tolerance or max(map(_tolerance, equations.layout.dtypes))

    def residual(after: Array) -> tuple[Array, Array]:
        made = equations.after(params, initial, _before(start, after), inputs)
        size = jnp.abs(made - after) / (1 + jnp.abs(made))
        largest = size.max(axis=tuple(range(1, size.ndim)), initial=0.0)
        return made, jnp.where(jnp.isfinite(largest), largest, jnp.inf)

    def unsolved(state: tuple) -> Array:
        rounds, _, _, largest = state
        return (rounds < (method.iterations or ROUNDS)) & (largest > tolerance).any()

    def improve(state: tuple) -> tuple:
        rounds, after, made, _ = state
        slopes = equations.jacobians(params, initial, _before(start, after), inputs)
        better = after + solve_blocks((1 - method.damping) * slopes, made - after)
        better = jnp.where(jnp.isfinite(better), better, made)
        return rounds + 1, better, *residual(better)

    guess = jnp.broadcast_to(start, (time_of(xs), *start.shape))
    begun = jnp.int32(0), guess, *residual(guess)
    rounds, _, made, largest = jax.lax.while_loop(unsolved, improve, all_varying(begun))
    wrong = largest > tolerance
    time = len(wrong)
    first = jnp.where(wrong.any(), jnp.argmax(wrong), time).astype(jnp.int32)

    def one_more(t: Array, after: Array) -> Array:
        pick = lambda leaf: jax.lax.dynamic_index_in_dim(leaf, t, keepdims=False)  # noqa: E731
        before = jnp.where(t > 0, after[jnp.maximum(t - 1, 0)], start)
        new, _ = equations.step(params, initial, before, jax.tree.map(pick, inputs))
        return after.at[t].set(new)

    after = jax.lax.fori_loop(first, time, one_more, made)
    return after, NewtonReport(rounds, largest.max(), ~wrong.any(), time - first)


@_solve.defjvp
def _solve_jvp(equations: _Equations, method: Newton, primals: tuple, tangents: tuple) -> tuple:
    """d s_t = J_t d s_{t-1} + d f_t, at the solution."""
    ((params, initial, start, inputs),), ((d_params, d_initial, d_start, d_inputs),) = (
        primals,
        tangents,
    )
    after, report = _solve(equations, method, (params, initial, start, inputs))
    before = _before(start, after)
    slopes = equations.jacobians(params, initial, before, inputs)

    def made(params: Params, initial: Carry, inputs: PyTree) -> Array:
        return equations.after(params, initial, before, inputs)

    _, change = jax.jvp(made, (params, initial, inputs), (d_params, d_initial, d_inputs))
    change = change.at[0].add(multiply_blocks(slopes[0], d_start))
    no_change = jax.tree.map(_no_tangent, report)
    return (after, report), (solve_blocks(slopes, change), no_change)


def _no_tangent(leaf: Array) -> Array:
    if is_float(leaf):
        return jnp.zeros_like(leaf)
    return jnp.zeros(leaf.shape, jax.dtypes.float0)
