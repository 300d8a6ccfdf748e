"""The reference: backpropagation through time by hand, one row and one step at a time."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.noise import restart
from seqjax.core.trees import floats, put_floats
from seqjax.testing.case import (
    ROWS,
    STEPS,
    Case,
    numbers,
    row_of,
    steps_of,
)


class Loop:
    """Backpropagation through time by hand: a Python loop over single steps, row by row."""

    def __init__(self, case: Case):
        self.case = case
        cell = case.cell
        self.step = jax.jit(cell.step)
        self.restart = jax.jit(lambda start, now: restart(jnp.array(True), start, now))

        @jax.jit
        def step_vjp(params, carry, x, d_carry, d_y):
            def step(p, c, x_):
                new, y = cell.step(put_floats(params, p), put_floats(carry, c), put_floats(x, x_))
                return floats(new), y

            parts = tuple(map(floats, (params, carry, x)))
            return jax.vjp(step, *parts)[1]((d_carry, d_y))

        @jax.jit
        def start_vjp(params, d_initial):
            def start(p):
                return floats(cell.initial_carry(put_floats(params, p)))

            return jax.vjp(start, floats(params))[1](d_initial)[0]

        self.step_vjp, self.start_vjp = step_vjp, start_vjp

    def run(self, xs, mask, resets, weights, *, reverse=False, truncate=None, **_) -> dict:
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
        initial = self.case.cell.initial_carry(params)
        ys = jax.tree.map(lambda leaf: np.zeros_like(leaf[row]), weights.ys)
        d_xs = [np.zeros_like(leaf) for leaf in floats(xs)]
        order = range(STEPS)[::-1] if reverse else range(STEPS)
        tape = []
        for t in (t for t in order if valid[t]):
            cut = bool(truncate and tape) and len(tape) % truncate == 0
            start = self.restart(initial, carry) if resets[t] else carry
            x = steps_of(xs, t, axis=0)
            carry, y = self.step(params, start, x)
            for all_ys, one in zip(jax.tree.leaves(ys), jax.tree.leaves(y), strict=True):
                all_ys[t] = one
            tape.append((t, start, x, cut))

        d_params = [np.zeros_like(leaf) for leaf in floats(params)]
        d_carry = [leaf[row] for leaf in weights.carry]
        for t, start, x, cut in reversed(tape):
            d_y = jax.tree.map(lambda leaf, t=t: leaf[row, t], weights.ys)
            more, d_start, d_x = self.step_vjp(params, start, x, d_carry, d_y)
            if resets[t]:
                more = jax.tree.map(np.add, more, self.start_vjp(params, d_start))
            d_params = jax.tree.map(np.add, d_params, more)
            for all_d, one in zip(d_xs, d_x, strict=True):
                all_d[t] = one
            stops = resets[t] or cut
            d_carry = [np.zeros_like(leaf) for leaf in d_start] if stops else d_start
        carry = jax.tree.map(numbers, carry)
        return {
            "carry": carry,
            "ys": ys,
            "d_params": d_params,
            "d_carry": d_carry,
            "d_xs": d_xs,
        }
