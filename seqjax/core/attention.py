"""A memory that is read by attention: what a decoder looks at while it goes through time."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, Bool, Float, PyTree

Score = Literal["additive", "multiplicative"]

SCORES: tuple[Score, ...] = ("additive", "multiplicative")

READ_BYTES = 2**24
"""Working memory of many reads at once."""


class Memory(NamedTuple):
    """Vectors in places, for every row its own or the same for all.

    It is data, not weights, but stands among the parameters of a cell that reads it: the cell
    has no state of its own to keep it in. Engines that split rows over devices split it as well.

    Attributes:
      values: `(*batch, places, width)`, what is read.
      keys: `(*batch, places, attention)`, what queries are compared with.
      valid: `(*batch, places)` bool; the others are never read.
    """

    values: Array
    keys: Array
    valid: Bool[Array, "*batch places"]

    @property
    def batch_ndim(self) -> int:
        """Number of its batch dimensions; 0 if all rows share it."""
        return self.valid.ndim - 1

    def beside(self, axis: int) -> "Memory":
        """With a new axis among the batch dimensions, over which everything is the same.

        Args:
          axis: its place from the end of the batch dimensions: 0 puts it behind all of them.
        """
        at = self.batch_ndim - axis
        if at < 0:
            return self
        return Memory(*(jnp.expand_dims(leaf, at) for leaf in self))


def is_memory(node: object) -> bool:
    """Whether a node of a tree of parameters is a memory."""
    return isinstance(node, Memory)


def map_memories(function: Callable[[Memory], Memory], params: PyTree) -> PyTree:
    """The parameters with every memory in them changed."""
    change = lambda node: function(node) if is_memory(node) else node  # noqa: E731
    return jax.tree.map(change, params, is_leaf=is_memory)


def attend(
    memory: Memory, queries: Array, vector: Array | None
) -> tuple[Float[Array, "*batch queries width"], Float[Array, "*batch queries places"]]:
    """Reads a memory with several queries for each row.

        score[i, s]  = vector . tanh(query[i] + key[s])      additive, with a vector
        score[i, s]  = query[i] . key[s]                      multiplicative, without
        weights[i]   = softmax over the valid places s of score[i]
        reading[i]   = sum over s of weights[i, s] value[s]

    Where no place is valid, the reading is zeros.

    Args:
      memory: what is read.
      queries: `(*batch, queries, attention)`.
      vector: `(attention,)` or None.

    Returns:
      `(readings, weights)`, the weights in float32 at least.
    """
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    # Rows may have more dimensions than the memory that they share.
    memory = Memory(*(_like(leaf, queries.ndim) for leaf in memory[:2]), memory.valid)
    if vector is None:
        score = jnp.matmul(queries, jnp.swapaxes(memory.keys, -1, -2))
    else:
        score = jnp.tanh(queries[..., :, None, :] + memory.keys[..., None, :, :]) @ vector
    valid = _like(memory.valid[..., None, :], queries.ndim)
    score = jnp.where(valid, score.astype(wide), jnp.finfo(wide).min)
    weights = jnp.where(valid, jax.nn.softmax(score, -1), 0.0)
    return jnp.matmul(weights.astype(memory.values.dtype), memory.values), weights


def attend_in_tiles(
    memory: Memory, queries: Array, vector: Array | None
) -> tuple[Float[Array, "*batch queries width"], Float[Array, "*batch queries places"]]:
    """`attend` for many queries, in a working memory that does not grow with them.

    What the additive score compares is `(*batch, queries, places, attention)`. It is made for a
    part of the queries at a time, and made again in the backward pass.
    """
    if vector is None:
        return attend(memory, queries, vector)
    *_, count, width = queries.shape
    rows = max(1, queries.size // max(1, count * width))
    each = rows * memory.valid.shape[-1] * width * queries.dtype.itemsize
    size = max(1, READ_BYTES // max(1, each))
    again = jax.checkpoint(attend, prevent_cse=False)
    if size >= count:
        return again(memory, queries, vector)

    def one(query):
        return jax.tree.map(
            lambda leaf: leaf[..., 0, :], again(memory, query[..., None, :], vector)
        )

    found = jax.lax.map(one, jnp.moveaxis(queries, -2, 0), batch_size=size)
    return jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, -2), found)


def _like(leaf: Array, ndim: int) -> Array:
    """With leading axes of size 1 up to rank `ndim`."""
    return leaf.reshape((1,) * (ndim - leaf.ndim) + leaf.shape)
