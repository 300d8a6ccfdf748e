"""A cell under test: its parameters, inputs, masks and the loss that is differentiated."""

import dataclasses
from typing import Any

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

ROWS, STEPS = 4, 7


@dataclasses.dataclass(frozen=True)
class Case:
    """A cell with everything a law needs to be checked on it."""

    cell: Cell
    params: Params
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


def make_case(cell, in_features, inputs, seed) -> Case:
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

    params = disturb(cast(cell.init(key, in_features), jnp.float64))
    if inputs is None:
        xs = random.standard_normal((ROWS, STEPS, in_features))
    else:
        xs = disturb(inputs(key, (ROWS, STEPS)))
    carry = disturb(seed_carry(cell.initial_carry(params, (ROWS,)), key))
    # Rows: all steps; padding; holes with a reset under one; nothing. Resets at both ends.
    mask = np.ones((ROWS, STEPS), bool)
    mask[1, 4:] = False
    mask[2, [0, 2, 3]] = False
    mask[3] = False
    resets = np.zeros((ROWS, STEPS), bool)
    resets[0, [0, 3, 6]] = True
    resets[1, 2] = True
    resets[2, [2, 4]] = True
    resets[3, 1] = True
    return Case(cell, params, carry, xs, mask, resets, random)


class Weights:
    """Random cotangents: the loss is the inner product of the results with them."""

    def __init__(self, case: Case):
        shapes = jax.eval_shape(
            lambda p, c, x: scan(case.cell, p, x, c), case.params, case.carry, case.xs
        )
        carry, ys = shapes
        self.ys, self.carry = jax.tree.map(
            lambda leaf: case.random.standard_normal(leaf.shape), (ys, floats(carry))
        )

    def of(self, row: int, steps: np.ndarray) -> "Weights":
        part = object.__new__(Weights)
        part.ys = steps_of(row_of(self.ys, row), steps, axis=0)
        part.carry = row_of(self.carry, row)
        return part

    def loss(self, carry: Carry, ys: PyTree) -> Array:
        pairs = zip(
            [*jax.tree.leaves(self.ys), *self.carry],
            [*jax.tree.leaves(ys), *floats(carry)],
            strict=True,
        )
        return sum(((weight * value).sum() for weight, value in pairs), jnp.zeros(()))


def with_gradient(cell: Cell, weights: Weights, **setting: Any) -> Any:
    """A compiled scan that also returns the gradients of the weighted sum of its results."""

    def run(params, carry, xs, mask=None, resets=None):
        def loss(parts):
            p, c, x = (
                put_floats(tree, part)
                for tree, part in zip((params, carry, xs), parts, strict=True)
            )
            end, ys = scan(cell, p, x, c, mask=mask, resets=resets, **setting)
            return weights.loss(end, ys), (end, ys)

        parts = tuple(map(floats, (params, carry, xs)))
        gradients, (end, ys) = jax.grad(loss, has_aux=True)(parts)
        names = ("d_params", "d_carry", "d_xs")
        return {"carry": end, "ys": ys, **dict(zip(names, gradients, strict=True))}

    return jax.jit(run)


def arrays(tree: PyTree) -> list[np.ndarray]:
    """All leaves in NumPy."""
    return [numbers(leaf) for leaf in jax.tree.leaves(tree)]


def numbers(leaf: Any) -> np.ndarray:
    """The leaf in NumPy, keys as the numbers behind them."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    return np.asarray(leaf, np.float64)


def row_of(tree: PyTree, row: int) -> PyTree:
    """One row of every array."""
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
