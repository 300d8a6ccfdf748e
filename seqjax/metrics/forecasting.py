"""Metrics of point and interval forecasts.

`mask` has leading dimensions of the targets; it is bool, or weights. Entries of weight 0 never
count, NaN included.
"""

from typing import Any, NamedTuple

import jax.numpy as jnp

from seqjax.core.masks import expand
from seqjax.core.types import Array
from seqjax.losses import check_shapes, pinball_errors
from seqjax.metrics.sums import Mean, clean, mean_of, weights_like


class RootMean(NamedTuple):
    """The accumulator of a root mean square: the sum of squares and their count."""

    total: Any
    count: Any

    @property
    def value(self) -> Array:
        """`sqrt(total / count)`, NaN if nothing counted."""
        return jnp.sqrt(jnp.asarray(self.total) / self.count)


class ScaledMean(NamedTuple):
    """The accumulator of a mean of scaled errors.

    Fields:
      total: the sum of the scaled errors.
      count: their number.
      left_out: number of targets of series without a scale, which do not count.
    """

    total: Any
    count: Any
    left_out: Any

    @property
    def value(self) -> Array:
        """`total / count`, NaN if nothing counted."""
        return jnp.asarray(self.total) / self.count


def mean_absolute_error(predictions: Array, targets: Array, mask: Array | None = None) -> Mean:
    """The mean of `|prediction - target|`.

    Args:
      predictions: `(*shape)`.
      targets: `(*shape)`.
      mask: what counts; everything if None.

    Returns:
      A `Mean`; its `.value` is in the targets' unit.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import mean_absolute_error
      >>> float(mean_absolute_error(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])).value)
      1.0
    """
    check_shapes("mean_absolute_error", predictions=predictions, targets=targets)
    return mean_of(jnp.abs(clean(predictions, mask) - clean(targets, mask)), mask)


def root_mean_squared_error(
    predictions: Array, targets: Array, mask: Array | None = None
) -> RootMean:
    """The root of the mean of `(prediction - target) ** 2`.

    Args:
      predictions: `(*shape)`.
      targets: `(*shape)`.
      mask: what counts; everything if None.

    Returns:
      A `RootMean`; its `.value` is in the targets' unit.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import root_mean_squared_error
      >>> float(root_mean_squared_error(jnp.array([1.0, 5.0]), jnp.array([8.0, 4.0])).value)
      5.0
    """
    check_shapes("root_mean_squared_error", predictions=predictions, targets=targets)
    return RootMean(*mean_of((clean(predictions, mask) - clean(targets, mask)) ** 2, mask))


def seasonal_naive_scale(history: Array, season: int, mask: Array | None = None) -> Array:
    """The in-sample mean absolute error of the seasonal-naive forecast.

        scale = mean over t of |history[t] - history[t - season]|

    Args:
      history: `(*batch, time)`, up to the forecast origin.
      season: seasonal period in steps, at least 1; 1 is the naive forecast of the last value.
      mask: `(*batch, time)` bool, the observed steps; a difference counts if both of its steps do.

    Returns:
      `(*batch,)`, in the unit of the series; NaN for a series without such a pair of steps.

    Raises:
      ValueError: if the season is shorter than 1.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import seasonal_naive_scale
      >>> float(seasonal_naive_scale(jnp.array([1.0, 5.0, 2.0, 8.0]), season=2))
      2.0
    """
    if season < 1:
        raise ValueError(f"A season is at least 1 step, got {season}.")
    values = clean(history, mask)
    observed = jnp.ones(history.shape, bool) if mask is None else mask != 0
    pairs = observed[..., season:] & observed[..., :-season]
    change = jnp.where(pairs, jnp.abs(values[..., season:] - values[..., :-season]), 0.0)
    return change.sum(axis=-1) / pairs.sum(axis=-1)


def mean_absolute_scaled_error(
    predictions: Array, targets: Array, scale: Array, mask: Array | None = None
) -> ScaledMean:
    """The mean of `|prediction - target| / scale` (MASE).

    Below 1 is better than the in-sample, one-step-ahead naive forecast. A series whose scale is 0
    (constant) or NaN (too short) has no scaled error: its targets do not count, and `left_out` is
    their number.

    Args:
      predictions: `(*batch, horizon)`.
      targets: `(*batch, horizon)`.
      scale: `(*batch,)`, from `seasonal_naive_scale`.
      mask: what counts; everything if None.

    Returns:
      A `ScaledMean`; its `.value` has no unit.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import mean_absolute_scaled_error
      >>> off = mean_absolute_scaled_error(jnp.array([[5.0]]), jnp.array([[8.0]]), jnp.array([2.0]))
      >>> float(off.value)
      1.5

    Source: Hyndman and Koehler 2006 (International Journal of Forecasting).
    """
    check_shapes("mean_absolute_scaled_error", predictions=predictions, targets=targets)
    errors = jnp.abs(clean(predictions, mask) - clean(targets, mask))
    weights = weights_like(errors, mask)
    known = jnp.isfinite(scale) & (scale > 0)
    scaled = errors / expand(jnp.where(known, scale, 1.0), errors.ndim)
    counts = jnp.where(expand(known, errors.ndim), weights, 0.0)
    # A NaN prediction for a series that is left out must not return as 0 * NaN.
    total = jnp.where(counts != 0, scaled * counts, 0.0).sum()
    return ScaledMean(total, counts.sum(), weights.sum() - counts.sum())


def pinball_loss(
    predictions: Array, targets: Array, levels: Array, mask: Array | None = None
) -> Mean:
    """The mean pinball loss of each quantile.

        e = target - prediction
        loss = max(level * e, (level - 1) * e)

    Args:
      predictions: `(*shape, quantiles)`.
      targets: `(*shape)`.
      levels: `(quantiles,)` in (0, 1).
      mask: what counts; everything if None.

    Returns:
      A `Mean`; its `.value` is `(quantiles,)`, in the targets' unit. At level 0.5 it is half
      the mean absolute error.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import pinball_loss
      >>> pinball_loss(jnp.array([[1.0, 4.0]]), jnp.array([3.0]), jnp.array([0.5, 0.75])).value
      Array([1.  , 0.25], dtype=float32)

    Source: Koenker and Bassett 1978 (Econometrica).
    """
    errors = pinball_errors(predictions, targets, levels, None if mask is None else mask != 0)
    weights = weights_like(targets, mask)
    total = (errors * weights[..., None]).reshape(-1, errors.shape[-1]).sum(axis=0)
    return Mean(total, weights.sum())


def interval_coverage(
    lower: Array, upper: Array, targets: Array, mask: Array | None = None
) -> Mean:
    """The share of targets inside a closed prediction interval.

    Args:
      lower: `(*shape)`.
      upper: `(*shape)`.
      targets: `(*shape)`.
      mask: what counts; everything if None.

    Returns:
      A `Mean`; the `.value` of an interval between the quantiles 0.1 and 0.9 should be 0.8.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import interval_coverage
      >>> two = jnp.array([1.0, 1.0])
      >>> float(interval_coverage(0 * two, 2 * two, jnp.array([2.0, 3.0])).value)
      0.5
    """
    check_shapes("interval_coverage", lower=lower, upper=upper, targets=targets)
    return mean_of((lower <= targets) & (targets <= upper), mask)
