"""`seqjax train forecast`: the next steps of series of numbers."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.data.datasets import SERIES, load_series
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Fields, SeriesWriter, Writer
from seqjax.data.formats.predictions import in_columns
from seqjax.data.padding import Encoded
from seqjax.data.windows import Series, Windows, cut, location_and_scale
from seqjax.nn.forecaster import DirectForecaster, Forecast
from seqjax.nn.outputs import Gaussian, Outputs, Quantiles, Regression
from seqjax.nn.recursive_forecaster import RecursiveForecaster
from seqjax.train.commands import Log
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.forecast_options import ForecastConfig
from seqjax.train.forecast_scores import forecast_scores, seasonal_naive_of
from seqjax.train.forecast_windows import Look, split_windows, unseen_windows
from seqjax.train.model import build_cell
from seqjax.train.scaling import Standardizer
from seqjax.train.task import Criterion

LOOK = {
    "electricity": (672, 48),
    "glucose": (288, 12),
    "temperatures": (168, 24),
    "sunspots": (66, 11),
    "sunspots-monthly": (264, 24),
}
"""History and horizon of each source, in steps: two weeks for a day, a day for an hour, a week
for a day, six solar cycles for one, two solar cycles for two years."""


@dataclasses.dataclass(frozen=True)
class Forecasting(ExampleTask):
    """The values of the next steps.

    Args:
      config: the options.
      names: of the values to predict.
      standardizer: mean and scale of the covariates.
      history, horizon, season: in steps.
      past: mean and scale of the covariates that are known for the history alone.
    """

    config: ForecastConfig
    names: tuple[str, ...]
    standardizer: Standardizer
    history: int
    horizon: int
    season: int
    past: Standardizer = Standardizer((), ())

    name = "forecast"
    config_type = ForecastConfig
    evaluation_only = ("location", "scale")
    predict_options = ExampleTask.predict_options - {"probability"}

    @property
    def sequences(self) -> tuple[str, ...]:
        """None: all windows are equally long, nothing is padded."""
        return ()

    @property
    def buckets(self) -> int:
        return 1

    @property
    def criterion(self) -> Criterion:
        return Criterion("mean_absolute_scaled_error", lower_is_better=True)

    @classmethod
    def source(cls, name: str) -> Data:
        return Data(SERIES[name].name, load_series(name), None, [])

    @classmethod
    def has_test_data(cls, config: ForecastConfig) -> bool:
        """The end of each series is held out for the test."""
        return True

    @classmethod
    def fit(
        cls,
        config: ForecastConfig,
        examples: Sequence[Example],
        held: Sequence[Example] = (),
        data: Data | None = None,
    ) -> "Forecasting":
        """The task with its preprocessing; `data` tells the columns of the series.

        Raises:
          InputError: if they do not fit together, or are too short.
        """
        columns, levels = config.columns, config.model.levels
        if (columns.covariates or columns.past_covariates) and not columns.values:
            raise InputError("--covariates go with --values: name the columns to predict.")
        if columns.past_covariates and config.model.strategy == "recursive":
            raise InputError(
                "--past-covariates go with --strategy direct: what is known for the history alone "
                "cannot be fed back. Or predict them, among --values."
            )
        rising = all(a < b for a, b in itertools.pairwise((0.0, *levels, 1.0)))
        if not levels or not rising:
            raise InputError(
                "--levels must be rising numbers between 0 and 1, such as 0.1 0.5 0.9; got "
                f"{' '.join(map(str, levels)) or 'none'}."
            )
        history, horizon, season = 0, 24, 0
        if not config.files.train:
            history, horizon = LOOK[config.source]
            season = SERIES[config.source].season or 0
        horizon = columns.horizon or horizon
        season = season if columns.season is None else columns.season
        history = columns.history or max(history or 4 * horizon, season)
        if history < season:
            raise InputError(
                f"--history {history} is shorter than a season of {season} steps, which is what a "
                "forecast starts from: read more, or say --season 0."
            )
        channels = {example.inputs.shape[-1] for example in examples}
        if len(channels) > 1:
            raise InputError(f"The series must have the same columns, got {sorted(channels)}.")
        roles = {} if data is None else data.roles
        fields = Fields(categories=roles.get("categories", ()))
        if fields.width(columns.values) > len(columns.values):
            words = next(n for n, held in fields.categories if held and n in columns.values)
            raise InputError(f"--values: the column {words!r} holds words, which are no numbers.")
        known, past = fields.width(columns.covariates), fields.width(columns.past_covariates)
        targets = channels.pop() - known - past
        names = None if data is None else data.values
        if names is None or (columns.series_in_rows and len(names) > targets):
            names = ("value",) if targets == 1 else tuple(f"value_{i}" for i in range(targets))
        others = np.concatenate([np.asarray(example.inputs)[:, targets:] for example in examples])
        return cls(
            config,
            names[:targets],
            Standardizer.of_values(others[:, :known]),
            history,
            horizon,
            season,
            Standardizer.of_values(others[:, known:]),
        )

    @property
    def covariates(self) -> int:
        """Number of covariates."""
        return len(self.standardizer.location)

    @property
    def look(self) -> Look:
        """How far windows look back and ahead."""
        return Look(self.history, self.horizon, self.season)

    def preprocessing(self) -> dict[str, Any]:
        return {
            "names": self.names,
            "standard": self.standardizer.saved(),
            "history": self.history,
            "horizon": self.horizon,
            "season": self.season,
            **({"past": self.past.saved()} if self.past.location else {}),
        }

    @classmethod
    def restore(cls, config: ForecastConfig, preprocessing: dict[str, Any]) -> "Forecasting":
        values: dict[str, Any] = dict(preprocessing)
        # Older runs took covariates as they were.
        count = values.pop("covariates", 0)
        as_they_are = {"location": [0.0] * count, "scale": [1.0] * count}
        standardizer = Standardizer.restore(values.pop("standard", as_they_are))
        values["names"] = tuple(values["names"])
        values["past"] = Standardizer.restore(values.get("past", {"location": (), "scale": ()}))
        return cls(config, standardizer=standardizer, **values)

    def series(self, example: Example, learned: int | None = None) -> Series:
        """An example as a series; the first `learned` steps tell the naive error.

        Raises:
          InputError: if it has other columns than the training data.
        """
        values = np.asarray(example.inputs, np.float64)
        wanted = len(self.names) + self.covariates + len(self.past.location)
        if values.shape[-1] != wanted:
            raise InputError(
                f"{example.where}: expected {wanted} columns of numbers as in training, got "
                f"{values.shape[-1]}."
            )
        targets = values[:, : len(self.names)]
        first, second = len(self.names), len(self.names) + self.covariates
        covariates = self.standardizer.scaled(values[:, first:second])
        past = self.past.scaled(values[:, second:])
        location, scale = location_and_scale(targets[:learned])
        known = jnp.asarray(((targets[:learned] - location) / scale).astype(np.float32).T)
        season = max(1, self.season)
        error = metrics.seasonal_naive_scale(jnp.nan_to_num(known), season, ~jnp.isnan(known))
        return Series(example.where, targets, covariates, np.asarray(error) * scale, past)

    @classmethod
    def prepare(cls, data: Data, config: ForecastConfig, log: Log) -> "tuple[Forecasting, Split]":
        """Windows of the beginning, the middle and the end of each series, which all processes
        hold whole."""
        data = data.loaded()
        task = cls.fit(config, data.train, data=data)
        share = config.files.held_out
        return task, split_windows(
            task.look, task.series, share, data.train, data.validation, data.test
        )

    def evaluation_examples(
        self, examples: Sequence[Example], malformed: Malformed, log: Log
    ) -> Windows:
        return unseen_windows(self.look, self.series, examples)

    def digested(self, examples: Windows) -> Sequence[Encoded]:
        """The series, and not the windows that share their steps."""
        return examples.whole

    def summary(self) -> list[tuple[str, str]]:
        season = f", season {self.season}" if self.season else ""
        return [("windows", f"{self.history} steps read, {self.horizon} predicted{season}")]

    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        """The end of a series, with nothing known of what follows.

        Raises:
          InputError: if it has other columns, or no covariates for the horizon.
        """
        known = self.known(example)
        window = cut(self.series(example), known, self.history, self.horizon)
        if np.isnan(window["history"]).all():
            raise InputError(
                f"{example.where}: no value is known in the {self.history} steps to read."
            )
        return window

    def known(self, example: Example) -> int:
        """The number of steps after which the forecast begins.

        With covariates, a series ends with rows that have these and no values.

        Raises:
          InputError: if these are fewer than the horizon.
        """
        steps = len(example.inputs)
        if not self.covariates:
            return steps
        observed = np.flatnonzero(~np.isnan(example.inputs[:, : len(self.names)]).all(-1))
        known = int(observed[-1]) + 1 if observed.size else 0
        if steps - known < self.horizon:
            raise InputError(
                f"{example.where}: the covariates must be known {self.horizon} steps ahead: end "
                f"the series with {self.horizon} rows that have covariates and no values; it ends "
                f"with {steps - known}."
            )
        return known

    def encode_input(self, example: Example) -> Encoded:
        return self.encode(example, with_target=False)

    def write(self, writer: Writer, example: Example, prediction: Mapping[str, Any]) -> None:
        """The series up to where the forecast begins, and the forecast as further rows; or, if a
        series stands in a row, in further columns."""
        if not isinstance(writer, SeriesWriter):
            raise InputError(
                f"{example.where}: forecasts are written for .csv, .tsv and .jsonl files."
            )
        known = self.known(example)
        if not isinstance(example.raw, tuple):
            writer.write(
                example, in_columns(prediction) if type(example.raw) is list else prediction
            )
            return
        observed = example._replace(raw=example.raw[:known], times=example.times[:known])
        writer.extend(observed, prediction)

    @property
    def meaning(self) -> Outputs:
        """What the model's last layer means."""
        targets = len(self.names)
        config = self.config.model
        return {
            "point": lambda: Regression(targets),
            "quantile": lambda: Quantiles(config.levels, targets),
            "gaussian": lambda: Gaussian(targets),
        }[config.outputs]()

    def model(self, seed: int) -> Forecast:
        config = self.config.model
        kind = {"direct": DirectForecaster, "recursive": RecursiveForecaster}
        cell = build_cell(config)
        if not cell.causal:
            raise InputError(f"--cell {config.cell}: {cell} sees the future: it cannot predict it.")
        return kind[config.strategy](
            cell,
            self.meaning,
            targets=len(self.names),
            covariates=self.standardizer.features,
            past=self.past.features,
            horizon=self.horizon,
            season=self.season,
            difference=config.difference,
            rngs=nnx.Rngs(seed),
        )

    def _covariates(self, batch):
        return batch["covariates"] if self.covariates else None

    def _past(self, batch):
        return batch["past"] if self.past.features else None

    def loss(self, model, batch, keys):
        return model.loss(
            batch["history"],
            batch["future"],
            self._covariates(batch),
            self._past(batch),
            key=keys,
            mask=batch["weights"] > 0,
        )

    def outputs(self, model, batch):
        levels = self.config.model.levels
        covariates, past = self._covariates(batch), self._past(batch)
        values = model.quantiles(batch["history"], covariates, (0.5, *levels), past)
        return {"prediction": values[..., 0], "quantiles": values[..., 1:]}

    def scores(self, examples, outputs):
        levels = self.config.model.levels
        naive = seasonal_naive_of(examples, self.look)
        return forecast_scores(examples, outputs, naive, levels)

    def verdict(self, scores: dict[str, float]) -> list[str]:
        """A line if the seasonal-naive forecast is better than the model."""
        error, naive = scores["mean_absolute_scaled_error"], scores["seasonal_naive"]
        shown, other = f"{error:.3g}", f"{naive:.3g}"
        if not error > naive or shown == other:
            return []
        rule = f"the value {self.season} steps ago" if self.season > 1 else "the last value"
        advice = [
            *(["--difference"] if not self.config.model.difference else []),
            *(["--season, the period of the series"] if not self.season else []),
            "more --steps",
            "a longer --history",
        ]
        return [
            f"The naive forecast, {rule}, is better: {other} against {shown}. Try "
            f"{', '.join(advice[:-1])} or {advice[-1]}."
        ]

    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """A column for each value and each of its quantiles."""
        columns = {}
        location, scale = example["location"], example["scale"]
        # Six digits of the scale, however many the level has.
        places = (5 - np.floor(np.log10(scale))).astype(int).tolist()
        prediction = output["prediction"] * scale + location
        quantiles = output["quantiles"] * scale[:, None] + location[:, None]
        for target, name in enumerate(self.names):
            columns[f"{name}_prediction"] = np.round(prediction[:, target], places[target])
            for place, level in enumerate(self.config.model.levels):
                values = np.round(quantiles[:, target, place], places[target])
                columns[f"{name}_q{level:g}"] = values
        return columns

    def pictures(
        self, model: Forecast, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """The window in the middle, with the quantiles of each value."""
        from seqjax import plots

        example, output = examples[len(examples) // 2], outputs[len(examples) // 2]
        shown = min(self.history, 8 * self.horizon)

        def values(scaled: np.ndarray, target: int) -> np.ndarray:
            return scaled[:, target] * example["scale"][target] + example["location"][target]

        return {
            f"forecast_{name}": plots.forecast(
                values(example["history"], target)[-shown:],
                values(output["quantiles"], target),
                self.config.model.levels,
                truth=values(example["future"], target),
                value_label=name,
            )
            for target, name in enumerate(self.names)
        }


FORECAST = example_commands(Forecasting)
