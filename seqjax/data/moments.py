"""Mean and standard deviation of values that are seen in parts."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Moments:
    """What the mean and the standard deviation of each channel follow from; those of parts add up.

    Args:
      count: `(channels,)`, known values.
      mean: `(channels,)` float64, of them; 0 without any.
      squares: `(channels,)` float64, the sum of their squared distances from the mean.
      missing: `(channels,)`, missing values.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.moments import Moments
      >>> whole = np.array([[1.0], [2.0], [np.nan], [6.0]])
      >>> (Moments.of(whole[:2]) + Moments.of(whole[2:])).mean
      array([3.])

    Source: Chan, Golub and LeVeque 1979, "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances".
    """

    count: np.ndarray
    mean: np.ndarray
    squares: np.ndarray
    missing: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray) -> "Moments":
        """Those of `(time, channels)`; NaN is missing."""
        values = values.astype(np.float64)
        known = ~np.isnan(values)
        count = known.sum(0)
        mean = np.where(known, values, 0).sum(0) / np.maximum(count, 1)
        squares = np.where(known, np.square(values - mean), 0).sum(0)
        return cls(count, mean, squares, len(values) - count)

    def __add__(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        share, apart = other.count / np.maximum(count, 1), other.mean - self.mean
        return Moments(
            count,
            self.mean + share * apart,
            self.squares + other.squares + share * self.count * np.square(apart),
            self.missing + other.missing,
        )
