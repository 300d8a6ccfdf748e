"""Pooling of the outputs over time."""

from typing import Literal, get_args

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.masks import expand
from seqjax.core.types import Array

PoolingName = Literal["last", "mean", "max", "attention"]
POOLINGS: tuple[str, ...] = get_args(PoolingName)


def last(ys: Array, mask: Array) -> Array:
    """The output of the last valid step, zeros where there is none.

    Args:
      ys: `(*batch, time, features)`.
      mask: `(*batch, time)` bool, the valid steps.

    Returns:
      `(*batch, features)`.
    """
    time = mask.shape[-1]
    steps = jnp.arange(1, time + 1).reshape((1,) * (mask.ndim - 1) + (time,))
    index = jnp.where(mask, steps, 0).max(-1, initial=0)
    chosen = jnp.take_along_axis(ys, jnp.maximum(index - 1, 0)[..., None, None], axis=-2)
    return jnp.where(index[..., None] > 0, chosen[..., 0, :], 0)


def first(ys: Array, mask: Array) -> Array:
    """The output of the first valid step, zeros where there is none; shapes as for `last`."""
    return last(jnp.flip(ys, -2), jnp.flip(mask, -1))


def mean(ys: Array, mask: Array) -> Array:
    """The mean over valid steps, zeros where there are none; shapes as for `last`."""
    valid = expand(mask, ys.ndim)
    count = jnp.maximum(mask.sum(-1), 1).astype(ys.dtype)
    return jnp.where(valid, ys, 0).sum(-2) / count[..., None]


def maximum(ys: Array, mask: Array) -> Array:
    """The largest value over valid steps, zeros where there are none; shapes as for `last`."""
    highest = jnp.where(expand(mask, ys.ndim), ys, -jnp.inf).max(-2, initial=-jnp.inf)
    return jnp.where(mask.any(-1)[..., None], highest, 0)


class AttentionPooling(nnx.Module):
    """Attention pooling: a weighted mean over valid steps with learned weights.

        score[t]  = v . tanh(W y[t] + b)
        weight[t] = softmax over valid t of score[t]
        pooled    = sum over t of weight[t] * y[t]

    Args:
      features: width of the outputs.
      hidden: width of the scoring layer, by default `features`.
      rngs: the source of the parameters' keys.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> pool = sj.nn.AttentionPooling(4, rngs=nnx.Rngs(0))
      >>> mask = jnp.array([[True, True, False]])
      >>> pooled, weights = pool(jnp.ones((1, 3, 4)), mask)
      >>> weights
      Array([[0.5, 0.5, 0. ]], dtype=float32)

    Source: Yang et al. 2016, "Hierarchical attention networks" (NAACL).
    """

    def __init__(self, features: int, hidden: int | None = None, *, rngs: nnx.Rngs):
        self.hidden = nnx.Linear(features, hidden or features, rngs=rngs)
        self.score = nnx.Linear(hidden or features, 1, use_bias=False, rngs=rngs)

    def __call__(self, ys: Array, mask: Array) -> tuple[Array, Array]:
        """`(pooled, weights)`: `(*batch, features)` and `(*batch, time)`.

        Where no step is valid, all weights and the pooled vector are zeros.
        """
        ys = jnp.where(expand(mask, ys.ndim), ys, 0)
        scores = self.score(jnp.tanh(self.hidden(ys)))[..., 0].astype(jnp.float32)
        weights = jax.nn.softmax(scores, axis=-1, where=mask)
        weights = jnp.where(mask, weights, 0)
        pooled = (weights[..., None].astype(ys.dtype) * ys).sum(-2)
        return pooled, weights
