"""Helpers for pytrees of arrays."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import DTypeLike


def is_float(leaf: Any) -> bool:
    """Whether the leaf can be differentiated."""
    return jnp.issubdtype(leaf.dtype, jnp.inexact)


def floats(tree: Any) -> list:
    """The leaves that can be differentiated."""
    return [leaf for leaf in jax.tree.leaves(tree) if is_float(leaf)]


def put_floats(tree: Any, floats: Sequence) -> Any:
    """The tree with its floating-point leaves replaced, in order."""
    new = iter(floats)
    return jax.tree.map(lambda leaf: next(new) if is_float(leaf) else leaf, tree)


def widen(leaf: Any) -> Any:
    """In float32 at least, as states and gates are computed; leaves that are not floating stay."""
    return leaf.astype(jnp.promote_types(leaf.dtype, jnp.float32)) if is_float(leaf) else leaf


def narrow(wide: Any, like: Any) -> Any:
    """Back in the dtype of `like`, unless that is one of whole numbers."""
    return wide.astype(like.dtype) if is_float(like) else wide


def widened(tree: Any) -> Any:
    """What a loop closes over, for its outside; inside, `narrowed` makes it what it was.

    A loop adds to the gradients of all that it closes over, once in every step, and in their own
    dtype: in bfloat16 terms are lost beside the sum of hundreds of others. Of leaves that are wide
    already both functions make nothing.
    """
    return jax.tree.map(widen, tree)


def narrowed(wide: Any, like: Any) -> Any:
    """A tree in the dtypes of another one."""
    return jax.tree.map(narrow, wide, like)


def tree_bytes(tree: Any) -> int:
    """What the arrays of a tree take, or would take."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def cast(tree: Any, dtype: DTypeLike) -> Any:
    """The tree with its floating-point leaves in another dtype; other leaves stay.

    Use it to hold parameters in bfloat16, or to compute in bfloat16 with parameters in
    float32 (the gradient of the cast is float32 again).

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(4)
      >>> params = sj.cast(cell.init(jax.random.key(0), 3), jnp.bfloat16)
      >>> cell.step(params, cell.initial_carry(params), jnp.ones(3))[1].dtype
      dtype(bfloat16)
    """

    def convert(leaf):
        floating = jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
        return jnp.asarray(leaf, dtype) if floating else leaf

    return jax.tree.map(convert, tree)
