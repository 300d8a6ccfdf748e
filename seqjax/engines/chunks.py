"""The algebra of one chunk of a matrix-state recurrence: everything but the state it starts from.

Over a chunk of C steps the memory and the readings are affine in the memory S at its start:

    o_i = outputs_i + S' readers_i
    S_end = kept S + turned S + added

Rows of Q, K, V, A, B are the queries, keys, values and the low-rank pair of the C steps, `P(L, R)`
the scores `L_i . R_j` with the decay between the steps, for the pairs in which i sees j; a bar
over a matrix is its rows with the decay from the start of the chunk (queries, E, A) or until its
end (keys, B).

    add          outputs = P(Q, K) V                readers = Q~         added = K~' V
    delta rule   (I + P(E, K)) [U, W] = [V, E~]     E = rate K, V = rate V, or an E of its own
                 outputs = P(Q, K) U                readers = Q~ - P(Q, K) W
                 added = K~' U                      turned = -K~' W
    low rank     (I - P(A, B)) [U, W] = [P(A, K) V, A~]
                 outputs = P(Q, K) V + P(Q, B) U    readers = Q~ + P(Q, B) W
                 added = K~' V + B~' U              turned = B~' W

A reset is the start of a segment: a step sees the steps of its own segment only, decays count
from the segment's start, the readers of later segments meet the initial memory, and only the last
segment reaches the end.

Source: Yang et al. 2024, arXiv:2312.06635 and arXiv:2406.06484; Dao and Gu 2024,
arXiv:2405.21060; Peng et al. 2025, arXiv:2503.14456.
"""

from typing import NamedTuple

import jax.numpy as jnp

from seqjax.core.matrix_step import Access, MatrixState
from seqjax.core.types import Array
from seqjax.engines.decays import Decays, exact, like
from seqjax.engines.triangular import solve


class Chunk(NamedTuple):
    """What chunks do, whatever the memory they start from; leaves `(..., *shape)`.

    `outputs` `(C, values)`, `readers` `(C, keys)`, `added` `(keys, values)`, `kept` `(keys or 1,
    1)` or None for all of it, `turned` `(keys, keys)` or None.
    """

    outputs: Array
    readers: Array
    added: Array
    kept: Array | None
    turned: Array | None


def summarize(access: Access, decays: Decays, last: Array | None) -> Chunk:
    """What chunks do.

    Args:
      access: leaves `(..., C)` or `(..., C, width)`.
      decays: between the steps.
      last: `(..., C)` bool, the steps of the last segment; None if there is only one.
    """
    query, key, value, _, rate, erase, low_rank, bonus, _ = access
    if rate is not None:
        erase, value = rate[..., None] * key, rate[..., None] * value
    before = bonus is not None
    weights = decays.scores(query, key, before=before)
    if bonus is not None:
        # A sum as a product: XLA on CPUs (jax 0.10.2) may fuse a plain sum and the product of the
        # readers with a memory of zeros into something that reads foreign memory.
        ones = jnp.ones(key.shape[-1:], key.dtype)
        at_once = exact("...k,k->...", query * bonus * key, ones)
        diagonal = like(jnp.eye(decays.size, dtype=weights.dtype), weights.ndim)
        weights = weights + at_once[..., None] * diagonal
    readers = _decayed(query, decays.since_start(before=before))
    until_end = decays.until_end()
    to_end = lambda a: _only(_decayed(a, until_end), last)  # noqa: E731
    total = decays.since_start(before=False)
    kept = None if total is None else jnp.exp(total[..., -1, :])[..., None]
    turned = None
    if erase is not None:
        system = jnp.tril(decays.scores(erase, key, before=False), -1)
        written, seen = solve(system, value, _decayed(erase, total))
        outputs = weights @ written
        readers = readers - weights @ seen
        ends = to_end(key)
        added = _outer(ends, written)
        turned = -_outer(ends, seen)
    else:
        outputs = weights @ value
        added = _outer(to_end(key), value)
    if low_rank is not None:
        a, b = low_rank
        system = -decays.scores(a, b, before=True)
        found = decays.scores(a, key, before=True) @ value
        written, seen = solve(system, found, _decayed(a, decays.since_start(before=True)))
        weights = decays.scores(query, b, before=before)
        outputs = outputs + weights @ written
        readers = readers + weights @ seen
        ends = to_end(b)
        added = added + _outer(ends, written)
        turned = _outer(ends, seen)
    return Chunk(outputs, readers, added, kept, turned)


def follow(state: MatrixState, chunk: Chunk) -> MatrixState:
    """The memory at the end of a chunk."""
    memory = state.memory if chunk.kept is None else chunk.kept * state.memory
    if chunk.turned is not None:
        memory = memory + chunk.turned @ state.memory
    return MatrixState(memory + chunk.added)


def readings(chunk: Chunk, start: MatrixState, initial: MatrixState, first: Array | None) -> Array:
    """`(chunks, ..., C, values)`, given the memories that chunks start from and those after resets.

    Args:
      chunk: from `summarize`.
      start: leaves `(chunks, ...)`.
      initial: leaves `(...)`.
      first: `(chunks, ..., C)` bool, the steps before any reset; None for all.
    """
    read = chunk.readers @ start.memory
    if first is not None:
        anew = chunk.readers @ jnp.broadcast_to(initial.memory, start.memory.shape)
        read = jnp.where(first[..., None], read, anew)
    return chunk.outputs + read


def _decayed(rows: Array, exponent: Array | None) -> Array:
    return rows if exponent is None else rows * jnp.exp(exponent)


def _only(rows: Array, which: Array | None) -> Array:
    return rows if which is None else jnp.where(which[..., None], rows, 0.0)


def _outer(keys: Array, values: Array) -> Array:
    return jnp.einsum("...ck,...cv->...kv", keys, values)
