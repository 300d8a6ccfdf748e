"""What engines with a derivative of their own share: flags of steps, tangents of carries."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from seqjax.core.masks import select
from seqjax.core.noise import restart
from seqjax.core.trees import is_float
from seqjax.core.types import Array, Carry, PyTree


class Flags(NamedTuple):
    """`(time, *batch)` bools or None: steps that count, resets, and cuts before a step."""

    valid: Array | None = None
    resets: Array | None = None
    cuts: Array | None = None


def restarted(flags: Flags, initial: Carry, carry: Carry) -> Carry:
    """The initial carry where a row is reset, else the carry."""
    return carry if flags.resets is None else restart(flags.resets, initial, carry)


def held(flags: Flags, new: PyTree, old: PyTree) -> PyTree:
    """The new values at steps that count, else the old ones."""
    if flags.valid is None:
        return new
    return jax.tree.map(partial(select, flags.valid), new, old)


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


def tangent_tree(primal: PyTree, leaves: list[Array]) -> PyTree:
    """Tangents in the form of the primal values, for those that have any."""
    found = iter(leaves)
    return jax.tree.map(
        lambda leaf: (
            next(found) if is_float(leaf) else SymbolicZero(jax.typeof(leaf).to_tangent_aval())
        ),
        primal,
    )
