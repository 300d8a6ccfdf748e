"""How good forecasts are, beside the seasonal-naive forecast."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import metrics
from seqjax.core.types import Array
from seqjax.data.padding import Encoded
from seqjax.data.windows import seasonal_naive
from seqjax.train.forecast_windows import Look

NAMES = ("mean_absolute_scaled_error", "seasonal_naive", "pinball", "coverage")


def seasonal_naive_of(windows: Sequence[Encoded], look: Look) -> np.ndarray:
    """The seasonal-naive forecasts of windows, `(windows, horizon, targets)`."""
    return seasonal_naive(_stacked(windows, "history"), look.horizon, look.season)


def forecast_scores(
    windows: Sequence[Encoded],
    outputs: Sequence[Encoded],
    naive: np.ndarray,
    levels: Sequence[float],
) -> dict[str, float]:
    """Scaled and pinball errors, and the coverage of the outer quantiles.

    Args:
      windows: with `future` `(horizon, targets)`, `naive_error` and `scale` `(targets,)`.
      outputs: `prediction` `(horizon, targets)` and `quantiles` `(horizon, targets, levels)`.
      naive: the seasonal-naive forecasts, `(windows, horizon, targets)`.
      levels: of the quantiles, rising.
    """
    found = _scores(
        _stacked(outputs, "prediction"),
        naive,
        _stacked(outputs, "quantiles"),
        _stacked(windows, "future"),
        _stacked(windows, "naive_error"),
        _stacked(windows, "scale"),
        np.asarray(levels, np.float32),
    )
    scores: dict[str, float] = dict(zip(NAMES, map(float, found), strict=False))
    if len(levels) > 1:
        scores["coverage_wanted"] = float(levels[-1] - levels[0])
    return scores


@jax.jit
def _scores(
    prediction: Array,
    naive: Array,
    quantiles: Array,
    future: Array,
    naive_error: Array,
    scale: Array,
    levels: Array,
) -> tuple[Array, ...]:
    """What `NAMES` says, the last only if there are several levels.

    In one program: its parts, compiled on their own, would take most of a short validation.
    """
    observed = ~jnp.isnan(future)
    targets_first = lambda array: jnp.moveaxis(array, -1, -2)  # noqa: E731
    # Both forecasts are compared where there are both.
    counts = targets_first(observed & ~jnp.isnan(naive))

    def scaled(forecast: Array) -> Array:
        return metrics.mean_absolute_scaled_error(
            targets_first(forecast), targets_first(future), naive_error, counts
        ).value

    # Errors are those of the series, not of scaled windows; where the windows lie is no matter.
    unit = scale[:, None].astype(jnp.float32)
    quantiles, truth = quantiles * unit[..., None], future * unit
    pinball = metrics.pinball_loss(quantiles, truth, levels, observed).value.mean()
    found = scaled(prediction), scaled(naive), pinball
    if len(levels) == 1:
        return found
    inside = metrics.interval_coverage(quantiles[..., 0], quantiles[..., -1], truth, observed)
    return *found, inside.value


def _stacked(examples: Sequence[Encoded], name: str) -> np.ndarray:
    return np.stack([example[name] for example in examples])
