"""How good forecasts are, beside the seasonal-naive forecast."""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np

from seqjax import metrics
from seqjax.data.padding import Encoded
from seqjax.data.windows import seasonal_naive
from seqjax.train.forecast_windows import Look


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
    future = _stacked(windows, "future")
    observed = ~np.isnan(future)
    # Both forecasts are compared where there are both.
    counts = np.moveaxis(observed & ~np.isnan(naive), -1, -2)
    scale = jnp.asarray(_stacked(windows, "naive_error"))
    # Errors are those of the series, not of scaled windows; where the windows lie is no matter.
    unit = _stacked(windows, "scale")[:, None].astype(np.float32)
    quantiles = jnp.asarray(_stacked(outputs, "quantiles") * unit[..., None])
    truth, known = jnp.asarray(future * unit), jnp.asarray(observed)

    def scaled(predictions: np.ndarray) -> float:
        error = metrics.mean_absolute_scaled_error(
            jnp.asarray(np.moveaxis(predictions, -1, -2)),
            jnp.asarray(np.moveaxis(future, -1, -2)),
            scale,
            jnp.asarray(counts),
        )
        return float(error.value)

    pinball = metrics.pinball_loss(quantiles, truth, jnp.asarray(levels, jnp.float32), known)
    found = {
        "mean_absolute_scaled_error": scaled(_stacked(outputs, "prediction")),
        "seasonal_naive": scaled(naive),
        "pinball": float(pinball.value.mean()),
    }
    if len(levels) > 1:
        inside = metrics.interval_coverage(quantiles[..., 0], quantiles[..., -1], truth, known)
        found["coverage"] = float(inside.value)
        found["coverage_wanted"] = float(levels[-1] - levels[0])
    return found


def _stacked(examples: Sequence[Encoded], name: str) -> np.ndarray:
    return np.stack([example[name] for example in examples])
