"""One chunk of a memory with a scale of its own: exponential input gates.

The memory meant is `exp(m) S`. With F the sum of log-decays from the start of the chunk, D_ij that
between two steps plus the log-input of j, and m that of the start,

    m_i = max(F_i + m, max_j D_ij)
    o_i = sum_j exp(D_ij - m_i) (q_i . k_j) v_j + exp(F_i + m - m_i) S' q_i

which is what single steps arrive at, since the maximum of maxima is the maximum of all. No exponent
is above 0.

Source: Beck et al. 2024, arXiv:2405.04517 (the parallel form); 2503.14376 (chunks).
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.matrix_step import Access, MatrixState, Scaled
from seqjax.core.types import Array
from seqjax.engines.decays import Decays, like


class StabilizedChunk(NamedTuple):
    """What chunks do, whatever the state they start from.

    `products` `(..., C, C)` are `q_i . k_j`, `exponents` D, `since` F `(..., C)` or None, `query`
    and `value` those of the steps; `added` `(..., keys, values)` is meant times `exp(scale)`,
    `scale` `(...)`; `total` `(...)` is F at the end of the last segment.
    """

    products: Array
    exponents: Array
    since: Array
    query: Array
    value: Array
    added: Array
    scale: Array
    total: Array


def summarize(access: Access, decays: Decays, last: Array | None) -> StabilizedChunk:
    """As for other chunks, see `seqjax.engines.chunks`."""
    log_input = access.log_input
    assert log_input is not None
    exponents = decays.between(before=False)
    exponents = like(exponents, log_input.ndim + 1) + log_input[..., None, :]
    since, until_end = decays.since_start(before=False), decays.until_end()
    nothing = jnp.zeros((*log_input.shape, 1), log_input.dtype)
    since = (nothing if since is None else since)[..., 0]
    ends = (nothing if until_end is None else until_end)[..., 0] + log_input
    if last is not None:
        ends = jnp.where(last, ends, -jnp.inf)
    scale = jax.lax.stop_gradient(ends.max(-1))
    # Without a step that counts, the scale is -inf, and nothing is added.
    finite = jnp.where(scale == -jnp.inf, 0.0, scale)
    keys = jnp.exp(ends - finite[..., None])[..., None] * access.key
    return StabilizedChunk(
        products=jnp.einsum("...ik,...jk->...ij", access.query, access.key),
        exponents=exponents,
        since=since,
        query=access.query,
        value=access.value,
        added=jnp.einsum("...ck,...cv->...kv", keys, access.value),
        scale=scale,
        total=since[..., -1],
    )


def follow(state: MatrixState, chunk: StabilizedChunk) -> MatrixState:
    """The state at the end of a chunk."""
    assert state.log_scale is not None
    kept = state.log_scale + chunk.total
    scale = jax.lax.stop_gradient(jnp.maximum(kept, chunk.scale))
    expand = lambda a: jnp.exp(a)[..., None, None]  # noqa: E731
    memory = expand(kept - scale) * state.memory + expand(chunk.scale - scale) * chunk.added
    return MatrixState(memory, scale)


def readings(
    chunk: StabilizedChunk, start: MatrixState, initial: MatrixState, first: Array | None
) -> Scaled:
    """The readings of all steps, see `seqjax.engines.chunks`."""
    assert start.log_scale is not None and initial.log_scale is not None
    at_start = start.log_scale[..., None]
    read = chunk.query @ start.memory
    if first is not None:
        at_start = jnp.where(first, at_start, initial.log_scale[None, ..., None])
        anew = chunk.query @ jnp.broadcast_to(initial.memory, start.memory.shape)
        read = jnp.where(first[..., None], read, anew)
    kept = chunk.since + at_start
    scale = jax.lax.stop_gradient(jnp.maximum(kept, chunk.exponents.max(-1)))
    weights = chunk.products * jnp.exp(chunk.exponents - scale[..., None])
    values = weights @ chunk.value + jnp.exp(kept - scale)[..., None] * read
    return Scaled(values, scale)
