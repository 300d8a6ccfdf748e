"""The reference: backpropagation through time by hand, one row and one step at a time."""

from typing import Any

import jax
import numpy as np

from seqjax.core.noise import restart
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import PyTree
from seqjax.testing.case import ROWS, STEPS, Case, Weights, numbers, row_of, steps_of


class Reference:
    """Backpropagation through time by hand: a Python loop over single steps, row by row.

    One program is compiled: a step of one row, with its gradient. The forward loop takes the
    values from it and the backward loop the gradients.
    """

    def __init__(self, case: Case):
        self.case = case
        cell = case.cell

        @jax.jit
        def step_with_gradient(params, carry, x, reset, d_carry, d_y):
            def step(p, c, x_):
                p, c = put_floats(params, p), put_floats(carry, c)
                start = restart(reset, cell.initial_carry(p), c)
                new, y = cell.step(p, start, put_floats(x, x_))
                return (floats(new), y), new

            parts = tuple(map(floats, (params, carry, x)))
            (_, y), vjp, new = jax.vjp(step, *parts, has_aux=True)
            return (new, y), vjp((d_carry, d_y))

        self.step_with_gradient = step_with_gradient

    def run(
        self,
        xs: PyTree,
        mask: np.ndarray,
        resets: np.ndarray,
        weights: Weights,
        *,
        reverse: bool = False,
        truncate: int | None = None,
        **_: Any,
    ) -> dict:
        """What a scan with gradients returns, for the whole batch."""
        rows = [
            self._row(row, row_of(xs, row), mask[row], resets[row], weights, reverse, truncate)
            for row in range(ROWS)
        ]
        stacked = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        stacked["d_params"] = jax.tree.map(lambda leaf: leaf.sum(0), stacked["d_params"])
        return stacked

    def _row(self, row, xs, valid, resets, weights, reverse, truncate) -> dict:
        params = self.case.params
        carry = row_of(self.case.carry, row)
        ys = jax.tree.map(lambda leaf: np.zeros_like(leaf[row]), weights.ys)
        d_params, d_xs = ([np.zeros_like(leaf) for leaf in floats(tree)] for tree in (params, xs))
        d_carry = [leaf[row] for leaf in weights.carry]
        order = range(STEPS)[::-1] if reverse else range(STEPS)
        tape = []
        for t in (t for t in order if valid[t]):
            cut = bool(truncate and tape) and len(tape) % truncate == 0
            x, d_y = (steps_of(tree, t, axis=0) for tree in (xs, row_of(weights.ys, row)))
            tape.append((t, carry, x, d_y, cut))
            (carry, y), _ = self.step_with_gradient(params, carry, x, resets[t], d_carry, d_y)
            for all_ys, one in zip(jax.tree.leaves(ys), jax.tree.leaves(y), strict=True):
                all_ys[t] = one
        for t, start, x, d_y, cut in reversed(tape):
            _, (more, d_start, d_x) = self.step_with_gradient(
                params, start, x, resets[t], d_carry, d_y
            )
            d_params = jax.tree.map(np.add, d_params, more)
            for all_d, one in zip(d_xs, d_x, strict=True):
                all_d[t] = one
            stops = resets[t] or cut
            d_carry = [np.zeros_like(leaf) for leaf in d_start] if stops else d_start
        carry = jax.tree.map(numbers, carry)
        return {"carry": carry, "ys": ys, "d_params": d_params, "d_carry": d_carry, "d_xs": d_xs}
