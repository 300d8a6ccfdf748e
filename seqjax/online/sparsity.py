"""Which parameters influence which numbers of a state: how much of the influence there is to keep.

The influence of a step is `P_t = J_t P_{t-1} + I_t`, with `J_t` the Jacobian of the state after
with respect to the state before, and `I_t` that with respect to the parameters. Parameters that
influence the same numbers of a state form a group: a block `(k, m)` of k numbers and m parameters,
whose share of `J_t` is k by k. A dense cell is one group of everything; a diagonal one has a
group of all parameters of a unit for each of its numbers.
"""

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell, StepFn
from seqjax.core.trees import floats
from seqjax.core.types import Array
from seqjax.online.dependence import dependence
from seqjax.online.transition import initial_state, one_row, state_after, vector


class Bundle(NamedTuple):
    """Groups of equally many numbers: `states` `(groups, k)`, `members` `(groups, m)`; a group of
    fewer members names its last one several times."""

    states: np.ndarray
    members: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(groups, k, m)`."""
        return (*self.states.shape, self.members.shape[1])


@dataclasses.dataclass(frozen=True)
class Sparsity:
    """Where an influence is not zero; equal if made for the same.

    Attributes:
      made_for: the cell, the step, how far it reaches, and the shapes of all that goes in.
      which: the floating-point leaves of the parameters that influence the state at all.
      bundles: the groups of parameters, of all those in these leaves.
      place: for each of these parameters where it is in the bundles, one after the other; one
        behind their end for those without influence.
      colours: `(n,)` ints: numbers of a state that no parameter influences together may share one.
      closed: whether `J_t` leads nowhere outside of the pattern.
      starts: whether the state that a sequence starts from depends on parameters.
    """

    made_for: tuple
    which: tuple[int, ...] = dataclasses.field(compare=False)
    bundles: tuple[Bundle, ...] = dataclasses.field(compare=False)
    place: np.ndarray = dataclasses.field(compare=False)
    colours: np.ndarray = dataclasses.field(compare=False)
    closed: bool = dataclasses.field(compare=False)
    starts: bool = dataclasses.field(compare=False)

    @property
    def size(self) -> int:
        """Numbers of the influence of one sequence."""
        return sum(int(np.prod(bundle.shape)) for bundle in self.bundles)

    def seeds(self, dtype: Any) -> Array:
        """`(colours, n)`: the sum of the rows of each colour."""
        count = int(self.colours.max(initial=-1)) + 1
        return jnp.asarray(np.arange(count)[:, None] == self.colours, dtype)


def sparsity_of(
    cell: Cell, step: StepFn, params: Any, carry: Any, x: Any, steps: int | None
) -> Sparsity:
    """The pattern of an influence.

    Args:
      cell: whose initial carry it is.
      step: whose Jacobians make the influence.
      params, carry, x: of one sequence; only their shapes and dtypes count.
      steps: what parameters reach in so many steps; None for all that they ever reach.
    """
    leaves, tree = jax.tree.flatten((params, carry, x))
    shapes = tuple((jnp.shape(leaf), leaf.dtype) for leaf in leaves)
    return _sparsity_of(cell, step, shapes, tree, steps)


@functools.lru_cache(maxsize=128)
def _sparsity_of(cell: Cell, step: StepFn, leaves: tuple, tree: Any, steps: int | None) -> Sparsity:
    # Not the dtypes: no number more or less depends on a parameter in another precision.
    shapes = tuple((shape, jnp.issubdtype(dtype, jnp.inexact)) for shape, dtype in leaves)
    made_for = cell, step, steps, shapes, tree
    like = [jax.ShapeDtypeStruct(*leaf) for leaf in leaves]
    params, carry, x = jax.tree.unflatten(tree, like)
    weights, numbers = floats(params), floats(carry)
    every, dtype = range(len(weights)), jnp.result_type(float)
    n = sum(leaf.size for leaf in numbers)
    if not n or not weights:
        return Sparsity(made_for, (), (), np.zeros(0, int), np.full(n, -1), True, False)

    def moved(weights: list[Array], numbers: list[Array]) -> Array:
        move = state_after(step, one_row(params), every, one_row(carry), one_row(x))
        return vector(move(weights, numbers), dtype)

    def started(weights: list[Array]) -> Array:
        return vector(initial_state(cell.initial_carry, one_row(params), every)(weights), dtype)

    found, begun = dependence(moved, weights, numbers), dependence(started, weights)
    direct = [now | start for now, start in zip(found, begun, strict=False)]
    if not any(map(np.any, direct)):
        return Sparsity(made_for, (), (), np.zeros(0, int), np.full(n, -1), True, False)
    slopes = np.concatenate([np.zeros((n, 0), bool), *found[len(weights) :]], axis=1)
    which = tuple(index for index, marks in enumerate(direct) if marks.any())
    marks = np.concatenate([np.zeros((n, 0), bool), *(direct[index] for index in which)], axis=1)
    columns, kind, closed = _kinds(marks, slopes, steps)
    bundles, place = _bundled(columns, kind)
    starts = any(start.any() for start in begun)
    return Sparsity(made_for, which, bundles, place, _coloured(n, bundles), closed, starts)


def _kinds(
    marks: np.ndarray, slopes: np.ndarray, steps: int | None
) -> tuple[np.ndarray, np.ndarray, bool]:
    """Sets of numbers `(n, kinds)` that parameters reach, the kind of each parameter, and whether
    none ever reaches more."""
    packed, kind = np.unique(np.packbits(marks, axis=0), axis=1, return_inverse=True)
    columns = np.unpackbits(packed, axis=0, count=len(marks)).astype(bool)
    columns, closed = _reached(columns, slopes, steps)
    # Several kinds may have become one.
    columns, again = np.unique(columns, axis=1, return_inverse=True)
    return columns, again.reshape(-1)[kind.reshape(-1)], closed


def _bundled(columns: np.ndarray, kind: np.ndarray) -> tuple[tuple[Bundle, ...], np.ndarray]:
    """The groups, those of about the same size together, and the place of each parameter."""
    groups: dict[tuple[int, int], list[tuple[np.ndarray, np.ndarray]]] = {}
    order, ends = np.argsort(kind, kind="stable"), np.cumsum(np.bincount(kind))
    for column, members in enumerate(np.split(order, ends[:-1])):
        states = np.flatnonzero(columns[:, column])
        if states.size:
            alike = (states.size, int(members.size).bit_length())
            groups.setdefault(alike, []).append((states, members))
    bundles, place, start = [], np.full(kind.size, -1), 0
    for own in groups.values():
        widest = max(members.size for _, members in own)
        padded = [np.pad(members, (0, widest - members.size), mode="edge") for _, members in own]
        bundle = Bundle(np.stack([states for states, _ in own]), np.stack(padded))
        count = len(own) * widest
        place[bundle.members] = start + np.arange(count).reshape(len(own), widest)
        bundles.append(bundle)
        start += count
    place[place < 0] = start
    return tuple(bundles), place


def _reached(columns: np.ndarray, slopes: np.ndarray, steps: int | None) -> tuple[np.ndarray, bool]:
    """What parameters reach in some steps, and whether they ever reach more."""
    onward = slopes.astype(np.float32)
    done = 1
    while True:
        more = columns | (onward @ columns > 0)
        if (more == columns).all():
            return columns, True
        if steps is not None and done >= steps:
            return columns, False
        columns, done = more, done + 1


def _coloured(n: int, bundles: tuple[Bundle, ...]) -> np.ndarray:
    """A colour for each number of a state, different within a group: the first that is free."""
    together: list[set[int]] = [set() for _ in range(n)]
    for group in {tuple(states) for bundle in bundles for states in bundle.states}:
        for state in group:
            together[state].update(group)
    colours = np.full(n, -1)
    for state in range(n):
        taken = {colours[other] for other in together[state]}
        colours[state] = next(colour for colour in range(n + 1) if colour not in taken)
    return colours
