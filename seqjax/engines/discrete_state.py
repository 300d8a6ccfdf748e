"""Parts of a state that are no floating-point numbers: counters of steps, random keys."""

from typing import Any, NamedTuple

import jax
from jax.interpreters import partial_eval

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, is_float, put_floats
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.boundaries import Boundaries


class Discrete(NamedTuple):
    """The leaves of a state that are no floating-point numbers, before each step and at the end."""

    before: list
    last: list


def discrete(tree: Carry) -> list:
    """The leaves that cannot be differentiated."""
    return [leaf for leaf in jax.tree.leaves(tree) if not is_float(leaf)]


def joined(like: Carry, numbers: list, others: list) -> Carry:
    """The state with these floating-point leaves and these others, in order."""
    rest = iter(others)
    return put_floats(
        jax.tree.map(lambda leaf: leaf if is_float(leaf) else next(rest), like), numbers
    )


def is_apart(cell: Cell, params: Params, carry: Carry, x: Inputs) -> bool:
    """Whether the discrete leaves after a step depend on no floating-point leaves before it."""
    if not discrete(carry):
        return True

    def step(numbers: list, others: list, params: Params, x: Inputs) -> list:
        return discrete(cell.step(params, joined(carry, numbers, others), x)[0])

    numbers = floats(carry)
    jaxpr = jax.make_jaxpr(step)(numbers, discrete(carry), params, x).jaxpr
    _, used = partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))
    return not any(used[: len(numbers)])


def run_discrete(
    cell: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, flags: Boundaries
) -> Discrete:
    """Runs the discrete leaves alone, step by step; what else a step does, the compiler drops.

    Args:
      cell, params, carry, initial: as for every engine; `is_apart`.
      xs, flags: in the order of processing.
    """
    fixed = floats(carry)

    def body(others: list, now: Any) -> tuple[list, list]:
        x, flags = now
        advance = lambda start: cell.step(params, start, x)  # noqa: E731
        new, _ = flags.step(advance, initial, joined(carry, fixed, others))
        return discrete(new), others

    if not discrete(carry):
        return Discrete([], [])
    last, before = jax.lax.scan(body, discrete(carry), (xs, flags))
    return Discrete(before, last)
