"""Tangents of trees, of which only the floating-point leaves have any."""

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from seqjax.core.trees import is_float
from seqjax.core.types import Array, PyTree


def tangent_leaves(primal: PyTree, tangent: PyTree) -> list[Array] | None:
    """The tangents of the floating-point leaves, None if all of them are zero."""
    leaves = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    pairs = list(zip(jax.tree.leaves(primal), leaves, strict=True))
    if all(isinstance(d, SymbolicZero) for _, d in pairs):
        return None
    return [
        jnp.zeros_like(leaf) if isinstance(d, SymbolicZero) else d
        for leaf, d in pairs
        if is_float(leaf)
    ]


def tangent_tree(primal: PyTree, leaves: list[Array] | None) -> PyTree:
    """Tangents in the form of the primal values, for those that have any; None has none."""
    found = iter(leaves or [])
    return jax.tree.map(
        lambda leaf: (
            next(found) if is_float(leaf) else SymbolicZero(jax.typeof(leaf).to_tangent_aval())
        ),
        primal,
    )


def settled(leaf: Array) -> Array:
    """The same array, whose `vmap` dimension has come to the front.

    JAX takes it that a function and its derivative rule leave that dimension at the same place.
    With tiles of several sizes they would not: a reshape moves it, and one tile needs none.
    """
    return jax.lax.reshape(jax.lax.reshape(leaf, (1, *leaf.shape)), leaf.shape)
