"""A memory that is read by attention, such as the outputs of an encoder."""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.steps import is_symbolic
from seqjax.core.trees import narrowed, widened
from seqjax.core.types import Array, Float, PyTree

Score = Literal["additive", "multiplicative"]

SCORES: tuple[Score, ...] = ("additive", "multiplicative")

READ_BYTES = 2**24
"""Largest size of the comparisons of the additive score that are made at once."""


@exportable
class Memory(NamedTuple):
    """Vectors at source positions, one memory for each sequence or one for all.

    It is data, not weights, but stands among the parameters of a cell that reads it: the cell
    has no state of its own to keep it in. Engines that split the batch over devices split it too.

    Attributes:
      values: `(*batch, positions, width)`, what is read.
      keys: `(*batch, positions, attention)`, what queries are compared with.
      valid: `(*batch, positions)`, 1 at the source positions that may be read and 0 elsewhere.
        Floats, as all parameters are, so that a cell with its memory goes through `jax.grad` and
        `jax.tree.map`; their gradient is zero.
    """

    values: Array
    keys: Array
    valid: Float[Array, "*batch positions"]

    @property
    def batch_ndim(self) -> int:
        """Number of its batch dimensions; 0 if all sequences share it."""
        return self.valid.ndim - 1

    def beside(self, axis: int) -> "Memory":
        """With a new axis among the batch dimensions, over which everything is the same.

        Args:
          axis: its position from the end of the batch dimensions: 0 puts it behind all of them.
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
) -> tuple[Float[Array, "*batch queries width"], Float[Array, "*batch queries positions"]]:
    """Reads a memory with several queries for each sequence.

        score[i, s]  = vector . tanh(query[i] + key[s])      additive, with a vector
        score[i, s]  = query[i] . key[s]                      multiplicative, without
        weights[i]   = softmax over the valid positions s of score[i]
        reading[i]   = sum over s of weights[i, s] value[s]

    Without a valid position the reading is zeros.

    Args:
      memory: what is read.
      queries: `(*batch, queries, attention)`.
      vector: `(attention,)` or None.

    Returns:
      `(readings, weights)`, the weights in float32 at least.
    """
    wide = jnp.promote_types(queries.dtype, jnp.float32)
    # A batch may have more dimensions than the memory that it shares.
    values, keys = _like(memory.values, queries.ndim), _like(memory.keys, queries.ndim)
    if vector is None:
        score = jnp.matmul(queries, jnp.swapaxes(keys, -1, -2))
    else:
        score = jnp.tanh(queries[..., :, None, :] + keys[..., None, :, :]) @ vector
    valid = _like(jax.lax.stop_gradient(memory.valid)[..., None, :] > 0.5, queries.ndim)
    score = jnp.where(valid, score.astype(wide), jnp.finfo(wide).min)
    weights = jnp.where(valid, jax.nn.softmax(score, -1), 0.0)
    return jnp.matmul(weights.astype(values.dtype), values), weights


def attend_in_tiles(
    memory: Memory, queries: Array, vector: Array | None
) -> tuple[Float[Array, "*batch queries width"], Float[Array, "*batch queries positions"]]:
    """`attend` for many queries, in a working memory that does not grow with them.

    The additive score compares `(*batch, queries, positions, attention)` numbers. They are computed
    for as many sequences at a time as fit into `READ_BYTES`, and again in the backward pass. Each
    sequence has its own memory, so a loop over sequences accumulates the gradient of `vector` only.
    If one sequence does not fit, or all share one memory, a loop over queries goes inside; it
    accumulates the gradient of the memory that it reads.

    Args and returns: see `attend`.
    """
    if vector is None:
        return attend(memory, queries, vector)
    *batch, count, width = queries.shape
    positions = memory.valid.shape[-1]
    again = jax.checkpoint(attend, prevent_cse=False)
    if is_symbolic(*batch, count, positions):
        return again(memory, queries, vector)
    fit = max(1, READ_BYTES // max(1, positions * width * queries.dtype.itemsize))
    if math.prod(batch) * count <= fit:
        return again(memory, queries, vector)

    # Sequences that share one memory are one with more queries.
    sequences = 1 if math.prod(memory.valid.shape[:-1]) == 1 else math.prod(batch)
    each = math.prod(batch) * count // sequences

    def by_sequence(leaf: Array) -> Array:
        entry = leaf.shape[memory.batch_ndim :]
        if sequences > 1:
            leaf = jnp.broadcast_to(leaf, (*batch, *entry))
        return leaf.reshape(sequences, *entry)

    # Gradients of what a loop closes over add up in float32 at least.
    wide_vector = widened(vector)

    def read(sequence: tuple[Memory, Array]) -> tuple[Array, Array]:
        memory, queries = sequence
        if each <= fit:
            return again(memory, queries, narrowed(wide_vector, vector))
        shared, wide = (memory, vector), (widened(memory), wide_vector)

        def read_one(query: Array) -> tuple[Array, Array]:
            memory, vector = narrowed(wide, shared)
            found, weights = again(memory, query[None], vector)
            return found[0], weights[0]

        return jax.lax.map(read_one, queries, batch_size=fit)

    apart = (jax.tree.map(by_sequence, memory), queries.reshape(sequences, each, width))
    found = jax.lax.map(read, apart, batch_size=max(1, fit // each))
    return jax.tree.map(lambda leaf: leaf.reshape(*batch, count, leaf.shape[-1]), found)


def _like(leaf: Array, ndim: int) -> Array:
    """With leading axes of size 1 up to rank `ndim`."""
    return leaf.reshape((1,) * (ndim - leaf.ndim) + leaf.shape)
