"""The options of `seqjax train forecast`."""

import dataclasses
from typing import Literal

from seqjax.data.formats import Fields
from seqjax.train.bounds import NonNegativeInt, PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.example_files import FilesConfig


@dataclasses.dataclass(frozen=True)
class ForecasterConfig(CellConfig):
    """The forecaster."""

    features: PositiveInt = 64
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.1
    """Dropout probability of each layer's outputs."""
    strategy: Literal["direct", "recursive"] = "direct"
    """Predict the whole horizon at once, or step by step from the model's own predictions."""
    difference: bool = False
    """Predict the steps from each value to the next: for counts that add up, tracks, and other
    series whose level wanders."""
    outputs: Literal["point", "quantile", "gaussian"] = "quantile"
    """The output for a step: a point forecast, quantiles, or a normal distribution."""
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Levels of the quantiles that are predicted and written."""


@dataclasses.dataclass(frozen=True)
class ForecastFields:
    """The columns of .csv files and keys of .jsonl files, history and horizon."""

    values: tuple[str, ...] = ()
    """Columns to predict; by default all columns of numbers."""
    covariates: tuple[str, ...] = ()
    """Columns of covariates, which are known over the horizon too: numbers, true and false, or
    words."""
    past_covariates: tuple[str, ...] = ()
    """Columns of covariates that are known for the history alone."""
    series: str | None = None
    """Column with the name of the series, or several, joined by plus signs (store+family); by
    default all rows are one series."""
    series_in_rows: bool = False
    """Every row is a series, and its columns are the steps; rows with lists always are."""
    time: str | None = None
    """Column of the time, or several, joined by plus signs (Date+Time, year+month+day+hour); it is
    not an input. Rows are sorted by it, and steps without a row are filled in as missing values."""
    time_zone: str | None = None
    """Time zone of local times, such as Europe/Berlin, where an hour of autumn comes twice."""
    missing: tuple[str, ...] = ()
    """Signs of a missing value, such as -999, besides empty cells, NA, NaN, null, none, ? and -."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """Decimal separator of the numbers in tables; auto finds it in the file, and says where points
    or commas may separate thousands as well."""
    history: PositiveInt | None = None
    """Steps that are read, at least one season; by default that of the source, or four times the
    horizon."""
    horizon: PositiveInt | None = None
    """Steps that are predicted; by default that of the source, or 24."""
    season: NonNegativeInt | None = None
    """Steps of a season, for the seasonal-naive forecast that the model corrects; 0 for none; by
    default that of the source, or 0."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table whose first line does not name them."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(
            series=self.series,
            time=self.time,
            time_zone=self.time_zone,
            missing_names=self.missing,
            decimal=None if self.decimal == "auto" else self.decimal,
            values=(*self.values, *self.covariates, *self.past_covariates) or None,
            columns=self.columns,
            one_series=self.series is None and not self.series_in_rows,
            missing=True,
            require_target=False,
        )


@dataclasses.dataclass(frozen=True)
class ForecastConfig(RunConfig):
    """Trains a forecaster of series of numbers."""

    source: Literal["electricity", "glucose", "temperatures", "sunspots", "sunspots-monthly"] = (
        "temperatures"
    )
    """Series that a package carries; --train names files of your own."""
    files: FilesConfig = FilesConfig(held_out=0.15)
    columns: ForecastFields = ForecastFields()
    model: ForecasterConfig = ForecasterConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    batch: PositiveInt = 64
    """Windows of a batch."""
    steps: PositiveInt = 600
    """Training steps: updates of the parameters."""
    validate_every: PositiveInt = 100
    """Steps between validations and checkpoints."""
