"""The settings of `seqjax train forecast`."""

import dataclasses
from typing import Literal

from seqjax.data.datasets import SERIES, load_series
from seqjax.data.formats import Fields
from seqjax.train.bounds import NonNegativeInt, PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig


@dataclasses.dataclass(frozen=True)
class ForecasterConfig(CellConfig):
    """The forecaster."""

    features: PositiveInt = 64
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.1
    """Probability that an output of a layer is dropped."""
    strategy: Literal["direct", "recursive"] = "direct"
    """Predict the whole horizon at once, or step by step from what was predicted."""
    outputs: Literal["point", "quantile", "gaussian"] = "quantile"
    """What is predicted for a step: a number, quantiles, or a normal distribution."""
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    """The quantiles that are predicted and written."""


@dataclasses.dataclass(frozen=True)
class ForecastFields:
    """What columns of .csv files and keys of .jsonl files mean, and how far to look."""

    values: tuple[str, ...] = ()
    """The columns to predict; by default all that hold numbers."""
    covariates: tuple[str, ...] = ()
    """Columns that are known ahead, for the horizon too."""
    series: str | None = None
    """The column that says to which series a row belongs; without it all rows are one."""
    time: str | None = None
    """The column of the time; it is not an input, and must not go back."""
    history: PositiveInt | None = None
    """Steps that are read, at least a season; by default what suits the source, or four times the
    horizon."""
    horizon: PositiveInt | None = None
    """Steps that are predicted; by default what suits the source, or 24."""
    season: NonNegativeInt | None = None
    """Steps after which the series about repeats, 0 for none; by default the source's, or 0."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        return Fields(
            series=self.series,
            time=self.time,
            values=(*self.values, *self.covariates) or None,
            one_series=self.series is None,
            missing=True,
            require_target=False,
        )


@dataclasses.dataclass(frozen=True)
class ForecastConfig(RunConfig):
    """Trains a forecaster of series of numbers."""

    source: Literal["electricity", "glucose", "temperatures", "sunspots", "sunspots-monthly"] = (
        "temperatures"
    )
    """Series that a package carries; see --train for your own."""
    files: FilesConfig = FilesConfig(held_out=0.15)
    columns: ForecastFields = ForecastFields()
    model: ForecasterConfig = ForecasterConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    batch: PositiveInt = 64
    """Windows of a batch."""
    steps: PositiveInt = 600
    """Updates of the parameters."""
    validate_every: PositiveInt = 100
    """Steps between validations and checkpoints."""


LOOK = {
    "electricity": (672, 48),
    "glucose": (288, 12),
    "temperatures": (168, 24),
    "sunspots": (66, 11),
    "sunspots-monthly": (264, 24),
}
"""Steps that are read and predicted of each source: two weeks for a day, a day for an hour,
a week for a day, six cycles of the sun for one, two for two years."""


def from_source(name: str) -> Data:
    """Series that a package carries."""
    return Data(SERIES[name].name, load_series(name), None, [])
