"""Sliding windows over long series: a history and the future to forecast."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from seqjax.data.on_demand import Lengths, OnDemand
from seqjax.data.padding import Encoded

ROUNDING = 1e-14
"""A standard deviation below this fraction of the mean is rounding error of a constant."""


class Series(NamedTuple):
    """A multivariate series.

    Attributes:
      name: of the series.
      values: `(time, targets)` float64, NaN where missing.
      covariates: `(time, covariates)` float32, NaN where missing.
      naive_error: `(targets,)`, the mean absolute error of the seasonal-naive forecast on the
        training part.
      past: `(time, past)` float32, covariates that are known for the history alone.
    """

    name: str
    values: np.ndarray
    covariates: np.ndarray
    naive_error: np.ndarray
    past: np.ndarray


class Windows(OnDemand):
    """All windows of some series, cut when they are asked for.

    A window is `history` `(history, targets)`, `future` `(horizon, targets)` and `naive_error`
    `(targets,)`, scaled; `covariates` `(history + horizon, covariates)` and `past`
    `(history, past)`; and `location` and `scale` `(targets,)` float64, the mean and standard
    deviation of the history. It is scaled in float64: around ten million, float32 resolves no more
    than one. Before the beginning of a series the history is NaN: missing.

    Args:
      series: the series.
      history: steps to condition on.
      horizon: steps to forecast.
      first: for each series the first step that may be forecast.
      last: for each series the end of the steps that may be forecast, exclusive.
      stride: steps between windows.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.windows import Series, Windows
      >>> values = np.arange(10, dtype=np.float32)[:, None]
      >>> none = np.zeros((10, 0), np.float32)
      >>> series = Series("count", values, none, np.ones(1), none)
      >>> windows = Windows([series], history=3, horizon=2, first=[4], last=[10])
      >>> len(windows), windows[0]["location"].tolist(), windows[0]["scale"].round(3).tolist()
      (5, [2.0], [0.816])
      >>> (windows[0]["future"] * windows[0]["scale"] + windows[0]["location"])[:, 0].round(6)
      array([4., 5.])
    """

    def __init__(
        self,
        series: Sequence[Series],
        *,
        history: int,
        horizon: int,
        first: Sequence[int],
        last: Sequence[int],
        stride: int = 1,
    ):
        self.series, self.history, self.horizon = series, history, horizon
        self.origins = [
            (number, step)
            for number in range(len(series))
            for step in range(max(1, first[number]), last[number] - horizon + 1, stride)
        ]
        # All are equally long, and nothing is padded.
        super().__init__(self._window, Lengths(np.zeros(len(self.origins), int), {}))

    @property
    def whole(self) -> list[Encoded]:
        """All that the windows are cut from: the series and the forecast origins."""
        series = [one._asdict() for one in self.series]
        named = [
            {
                name: value.astype(np.float32)
                for name, value in one.items()
                # Without past covariates, the digest is the one from before there were any.
                if name != "name" and (name != "past" or value.size)
            }
            for one in series
        ]
        return [*named, {"origins": np.array(self.origins, np.int64).reshape(-1, 2)}]

    def _window(self, index: int) -> Encoded:
        number, step = self.origins[index]
        return cut(self.series[number], step, self.history, self.horizon)


def cut(series: Series, step: int, history: int, horizon: int) -> Encoded:
    """The window of a series whose future begins at `step`; see `Windows`.

    Steps outside the series are NaN in `history` and `future`, and 0 in `covariates`.
    """
    begin, end = step - history, step + horizon
    inside = slice(max(0, begin), min(end, len(series.values)))
    own = slice(inside.start - begin, inside.stop - begin)

    def window(values: np.ndarray, outside: float) -> np.ndarray:
        found = np.full((history + horizon, values.shape[1]), outside)
        found[own] = values[inside]
        return found

    values = window(series.values, np.nan)
    location, scale = location_and_scale(values[:history])
    scaled = ((values - location) / scale).astype(np.float32)
    return {
        "history": scaled[:history],
        "future": scaled[history:],
        "covariates": window(series.covariates, 0.0).astype(np.float32),
        "past": window(series.past, 0.0)[:history].astype(np.float32),
        "naive_error": (series.naive_error / scale).astype(np.float32),
        "location": location,
        "scale": scale,
    }


def location_and_scale(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation of each channel of `(time, channels)`, float64, NaN left out.

    What never varies has the deviation 1, and what is never observed the mean 0.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.windows import location_and_scale
      >>> location_and_scale(np.array([[1e9, 5.0], [1e9 + 2, 5.0], [np.nan, 5.0]]))
      (array([1.e+09, 5.e+00]), array([1., 1.]))
    """
    known = ~np.isnan(values)
    count = np.maximum(known.sum(0), 1)
    location = np.where(known, values, 0).sum(0) / count
    scale = np.sqrt(np.where(known, np.square(values - location), 0).sum(0) / count)
    return location, varying(location, scale)


def varying(location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The standard deviations of channels with these means, 1 for what never varies."""
    return np.where(scale > ROUNDING * np.abs(location), scale, 1.0)


def seasonal_naive(history: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """The seasonal-naive forecast: the values one season before, `(*batch, horizon, targets)`.

    Args:
      history: `(*batch, time, targets)`.
      horizon: steps to forecast; beyond a season, the last season repeats.
      season: seasonal period in steps; 0 or 1 repeats the last value.

    Raises:
      ValueError: if the history is shorter than a season.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.windows import seasonal_naive
      >>> seasonal_naive(np.array([[1.0], [2.0], [3.0], [4.0]]), horizon=5, season=3)[:, 0]
      array([2., 3., 4., 2., 3.])
    """
    season = max(1, season)
    if history.shape[-2] < season:
        raise ValueError(
            f"seasonal_naive: the history must hold a season of {season} steps, got "
            f"{history.shape[-2]}."
        )
    return history[..., history.shape[-2] - season + np.arange(horizon) % season, :]
