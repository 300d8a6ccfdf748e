"""Softmax attention of some queries over some keys, with heads in groups."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.types import Array


class Sight(NamedTuple):
    """Which keys queries see, `(*batch, queries, keys)` bool.

    `visible`: the query reads the key and its value; `cut`: no gradient goes back from the query to
    them. `cut` is None where no gradient is cut.
    """

    visible: Array
    cut: Array | None = None


def attend_in_groups(
    query: Array,
    key: Array,
    value: Array,
    sight: Sight,
    *,
    scale: float,
    soft_cap: float | None = None,
) -> Array:
    """What queries read.

        score[i, s]  = scale query[i] . key[s]
        score[i, s]  = cap tanh(score[i, s] / cap)              with a soft cap
        reading[i]   = sum over visible s of softmax(score[i])[s] value[s]

    Scores and their softmax are in float32 at least.

    Args:
      query: `(*batch, queries, key_heads, group, D)`, every query with a visible key.
      key, value: `(*batch, keys, key_heads, D)` and `(*batch, keys, key_heads, V)`, finite.
      sight: what each query sees.
      scale: of the scores, such as `1 / sqrt(D)`.
      soft_cap: the cap, or None.

    Returns:
      `(*batch, queries, key_heads, group, V)`.
    """
    wide = jnp.promote_types(query.dtype, jnp.float32)
    stop = jax.lax.stop_gradient

    def compare(key):
        return jnp.einsum("...tkgd,...skd->...kgts", query, key, preferred_element_type=wide)

    def read(weights, value):
        reading = jnp.einsum(
            "...kgts,...skd->...tkgd",
            weights.astype(value.dtype),
            value,
            preferred_element_type=wide,
        )
        return reading.astype(query.dtype)

    for_heads = lambda flags: flags[..., None, None, :, :]  # noqa: E731
    score = compare(key)
    if sight.cut is not None:
        score = jnp.where(for_heads(sight.cut), compare(stop(key)), score)
    score = score * scale
    if soft_cap is not None:
        score = soft_cap * jnp.tanh(score / soft_cap)
    score = jnp.where(for_heads(sight.visible), score, jnp.finfo(wide).min)
    weights = jax.nn.softmax(score, axis=-1)
    if sight.cut is None:
        return read(weights, value)
    cut = for_heads(sight.cut)
    whole, part = jnp.where(cut, 0.0, weights), jnp.where(cut, weights, 0.0)
    return read(whole, value) + read(part, stop(value))
