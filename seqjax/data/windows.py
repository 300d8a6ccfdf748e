"""A long series as many examples: a history and what came after it."""

from collections.abc import Sequence
from typing import NamedTuple, overload

import numpy as np

from seqjax.data.padding import Encoded


class Series(NamedTuple):
    """A series of numbers.

    `values` is `(time, targets)` and `covariates` `(time, covariates)`, both float32; NaN
    where nothing was observed. `naive_error` `(targets,)` is the mean absolute error of the
    seasonal-naive forecast on the part that models learn from.
    """

    name: str
    values: np.ndarray
    covariates: np.ndarray
    naive_error: np.ndarray


class Windows(Sequence[Encoded]):
    """Every window of some series, cut out when it is asked for.

    A window is `history` `(history, targets)`, `future` `(horizon, targets)`, `covariates`
    `(history + horizon, covariates)` and `naive_error`. Before the beginning of a series
    its history is NaN: not observed.

    Args:
      series: the series.
      history: steps that are read.
      horizon: steps that are to be predicted.
      first: for each series the first step that may be predicted.
      last: for each series the step behind the last one that may be predicted.
      stride: steps between windows.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.windows import Series, Windows
      >>> values = np.arange(10, dtype=np.float32)[:, None]
      >>> series = Series("count", values, np.zeros((10, 0), np.float32), np.ones(1))
      >>> windows = Windows([series], history=3, horizon=2, first=[4], last=[10])
      >>> len(windows), windows[0]["history"][:, 0].tolist(), windows[0]["future"][:, 0].tolist()
      (5, [1.0, 2.0, 3.0], [4.0, 5.0])
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
        self.places = [
            (number, step)
            for number in range(len(series))
            for step in range(max(1, first[number]), last[number] - horizon + 1, stride)
        ]

    def __len__(self) -> int:
        return len(self.places)

    @property
    def whole(self) -> list[Encoded]:
        """All that the windows are cut from: the series and the places."""
        series = [one._asdict() for one in self.series]
        named = [{k: v for k, v in one.items() if k != "name"} for one in series]
        return [*named, {"places": np.array(self.places, np.int64).reshape(-1, 2)}]

    @overload
    def __getitem__(self, place: int) -> Encoded: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[Encoded]: ...

    def __getitem__(self, place: int | slice) -> Encoded | Sequence[Encoded]:
        if isinstance(place, slice):
            return [self._window(*found) for found in self.places[place]]
        return self._window(*self.places[place])

    def _window(self, number: int, step: int) -> Encoded:
        return cut(self.series[number], step, self.history, self.horizon)


def cut(series: Series, step: int, history: int, horizon: int) -> Encoded:
    """The window of a series whose future begins at a step; see `Windows`.

    What lies outside of the series is NaN in `history` and `future`, and 0 in `covariates`.
    """
    begin, end = step - history, step + horizon
    inside = slice(max(0, begin), min(end, len(series.values)))
    place = slice(inside.start - begin, inside.stop - begin)

    def window(values: np.ndarray, outside: float) -> np.ndarray:
        found = np.full((history + horizon, values.shape[1]), outside, np.float32)
        found[place] = values[inside]
        return found

    values = window(series.values, np.nan)
    return {
        "history": values[:history],
        "future": values[history:],
        "covariates": window(series.covariates, 0.0),
        "naive_error": series.naive_error.astype(np.float32),
    }


def seasonal_naive(history: np.ndarray, horizon: int, season: int) -> np.ndarray:
    """As it was one season before, `(*batch, horizon, targets)`.

    Args:
      history: `(*batch, time, targets)`.
      horizon: steps to predict; where they are more than a season, it repeats.
      season: steps of a season; 0 or 1 repeats the last value.

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
    places = history.shape[-2] - season + np.arange(horizon) % season
    return history[..., places, :]
