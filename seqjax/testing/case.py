"""A cell under test: its parameters, inputs, masks and the loss that is differentiated."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.noise import seed_carry
from seqjax.core.trees import cast, floats, is_float, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.scan import scan

TOLERANCE = 1e-10
"""Largest difference allowed in float64, relative to the largest entry or 1."""

ROWS, STEPS = 8, 7

VALID = {3: [0, 1, 2, 3], 4: [1, 4, 5, 6], 5: [3, 4, 5, 6], 6: [3], 7: []}
"""Valid steps of the masked rows: padding behind, holes, padding in front, one step, none."""

RESETS = {1: [0, 3, 6], 2: [4], 3: [2], 4: [3, 4], 5: [1, 5], 6: [3], 7: [1]}
"""Steps with a reset: at both ends, under masks, at the first and at the only valid step."""


@dataclasses.dataclass(frozen=True)
class Case:
    """A cell with everything a law needs to be checked on it."""

    cell: Cell
    params: Params
    initial: Carry
    carry: Carry
    xs: Inputs
    mask: np.ndarray
    resets: np.ndarray
    random: np.random.Generator

    def expect(self, law: str, got: PyTree, wanted: PyTree, tolerance: float = TOLERANCE):
        """Compares the arrays of two trees."""
        got_leaves, wanted_leaves = arrays(got), arrays(wanted)
        self.require(law, len(got_leaves) == len(wanted_leaves), "structures differ")
        for a, b in zip(got_leaves, wanted_leaves, strict=True):
            self.require(law, a.shape == b.shape, f"shapes {a.shape} and {b.shape}")
            if not a.size:
                continue
            self.require(law, bool(np.isfinite(a).all()), "a value is NaN or inf")
            error = np.abs(a - b).max() / max(1.0, np.abs(b).max())
            self.require(law, error <= tolerance, f"they differ by {error:.2e}")

    def require(self, law: str, holds: Any, detail: str) -> None:
        """Raises unless the law holds."""
        if not holds:
            raise AssertionError(f"check_cell({self.cell}): law broken: {law}: {detail}.")


def make_case(cell, in_features, inputs, seed, params=None) -> Case:
    """Random parameters and inputs, with masks and resets of every kind."""
    key = jax.random.key(seed)
    random = np.random.default_rng(seed)

    def disturb(tree: PyTree) -> PyTree:
        """Values that start as zeros or ones would hide mistakes in how they are used."""
        return jax.tree.map(
            lambda leaf: (
                np.asarray(leaf) + 0.3 * random.standard_normal(leaf.shape)
                if is_float(leaf)
                else leaf
            ),
            tree,
        )

    if params is None:
        params = disturb(cast(cell.init(key, in_features), jnp.float64))
    if inputs is None:
        xs = random.standard_normal((ROWS, STEPS, in_features))
    else:
        xs = disturb(inputs(key, (ROWS, STEPS)))
    initial = cell.initial_carry(params, (ROWS,))
    carry = disturb(seed_carry(initial, key))
    mask = np.ones((ROWS, STEPS), bool)
    resets = np.zeros((ROWS, STEPS), bool)
    for row, steps in VALID.items():
        mask[row] = np.isin(np.arange(STEPS), steps)
    for row, steps in RESETS.items():
        resets[row, steps] = True
    return Case(cell, params, initial, carry, xs, mask, resets, random)


class Weights(NamedTuple):
    """Random cotangents: the loss is the inner product of the results with them.

    `ys` are those of the outputs, `carry` those of the floating-point leaves of the carry.
    """

    ys: PyTree
    carry: list[Any]

    def loss(self, carry: Carry, ys: PyTree) -> Array:
        pairs = zip(
            [*jax.tree.leaves(self.ys), *self.carry],
            [*jax.tree.leaves(ys), *floats(carry)],
            strict=True,
        )
        return sum(((weight * value).sum() for weight, value in pairs), jnp.zeros(()))


def make_weights(case: Case) -> Weights:
    """Weights for the results of the whole batch."""
    if case.cell.causal:
        now = steps_of(case.xs, 0)
        _, y = jax.eval_shape(case.cell.step, case.params, case.carry, now)
        ys = jax.tree.map(lambda leaf: np.empty((ROWS, STEPS, *leaf.shape[1:])), y)
    else:
        ys = jax.eval_shape(lambda p, x: scan(case.cell, p, x)[1], case.params, case.xs)
    draw = lambda leaf: case.random.standard_normal(leaf.shape)  # noqa: E731
    return Weights(jax.tree.map(draw, ys), [draw(leaf) for leaf in floats(case.carry)])


class Program:
    """A compiled scan that also returns the gradients of the weighted sum of its results."""

    def __init__(self, cell: Cell, weights: Weights, **options: Any):
        self.cell, self.weights, self.options = cell, weights, options
        self.traces = 0
        self._run = jax.jit(self._trace)

    def __call__(self, params, carry, xs, mask=None, resets=None, weights=None) -> dict:
        weights = self.weights if weights is None else weights
        return jax.tree.map(_plain, self._run(params, carry, xs, weights, mask, resets))

    def _trace(self, params, carry, xs, weights, mask, resets) -> dict:
        self.traces += 1

        def loss(parts):
            p, c, x = (
                put_floats(tree, part)
                for tree, part in zip((params, carry, xs), parts, strict=True)
            )
            end, ys = scan(self.cell, p, x, c, mask=mask, resets=resets, **self.options)
            return weights.loss(end, ys), (end, ys)

        parts = tuple(map(floats, (params, carry, xs)))
        gradients, (end, ys) = jax.grad(loss, has_aux=True)(parts)
        names = ("d_params", "d_carry", "d_xs")
        return {"carry": end, "ys": ys, **dict(zip(names, gradients, strict=True))}


def arrays(tree: PyTree) -> list[np.ndarray]:
    """All leaves in NumPy."""
    return [numbers(leaf) for leaf in jax.tree.leaves(tree)]


def numbers(leaf: Any) -> np.ndarray:
    """The leaf in NumPy, keys as the numbers behind them."""
    return np.asarray(jax.random.key_data(leaf) if _is_key(leaf) else leaf, np.float64)


def _plain(leaf: Any) -> Any:
    """In NumPy, where indexing compiles nothing, unless it is a key."""
    return leaf if _is_key(leaf) else np.asarray(leaf)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def row_of(tree: PyTree, row: Any) -> PyTree:
    """One row of every array, or some rows."""
    return jax.tree.map(lambda leaf: leaf[row], tree)


def steps_of(tree: PyTree, index: Any, axis: int = 1) -> PyTree:
    """Some steps of arrays whose time axis is `axis`."""
    return jax.tree.map(lambda leaf: leaf[index] if axis == 0 else leaf[:, index], tree)


def poison(xs: Inputs, mask: np.ndarray) -> Inputs:
    """NaN at the masked steps."""

    def fill(leaf):
        if not is_float(leaf):
            return leaf
        flags = mask.reshape(mask.shape + (1,) * (leaf.ndim - mask.ndim))
        return np.where(flags, leaf, np.nan)

    return jax.tree.map(fill, xs)
