"""Masked, weighted sums, the accumulators of metrics."""

import operator
from functools import reduce
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from seqjax.core.masks import expand
from seqjax.core.types import Array

Sums = TypeVar("Sums")


class Mean(NamedTuple):
    """The accumulator of a mean.

    Fields:
      total: the weighted sum; a scalar or one number per quantile.
      count: the sum of the weights, or the number of terms.
    """

    total: Any
    count: Any

    @property
    def value(self) -> Array:
        """`total / count`, NaN if nothing counted."""
        return jnp.asarray(self.total) / self.count


def add(first: Sums, *others: Sums) -> Sums:
    """Adds the sums of several batches field by field.

    (`+` would concatenate two NamedTuples.) Sums are in float32, in which counts are exact up to
    16 million.

    Example:
      >>> from seqjax.metrics import Mean, add
      >>> float(add(Mean(1.0, 2), Mean(5.0, 1)).value)
      2.0
    """
    return reduce(lambda one, other: jax.tree.map(operator.add, one, other), others, first)


def weights_like(values: Array, mask: Array | None) -> Array:
    """The mask, bool or weights, as float32 broadcast to the shape of the values."""
    if mask is None:
        return jnp.ones_like(values, jnp.float32)
    weights = expand(mask.astype(jnp.float32), values.ndim)
    return jnp.broadcast_to(weights, values.shape)


def clean(x: Array, mask: Array | None) -> Array:
    """In float32 at least, with masked entries, NaN included, replaced by 0."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x if mask is None else jnp.where(expand(mask, x.ndim) != 0, x, 0.0)


def mean_of(values: Array, mask: Array | None) -> Mean:
    """The `Mean` of values over all axes."""
    weights = weights_like(values, mask)
    return Mean((clean(values, mask) * weights).sum(), weights.sum())


def ratio(numerator: Any, denominator: Any) -> Array:
    """`numerator / denominator`, and 0 where that would be 0 / 0."""
    numerator, denominator = jnp.asarray(numerator), jnp.asarray(denominator)
    return jnp.where(denominator == 0, 0.0, numerator / jnp.where(denominator == 0, 1, denominator))
