"""The task of predicting how series of numbers go on."""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.data.datasets import SERIES
from seqjax.data.examples import Example
from seqjax.data.padding import Encoded
from seqjax.data.windows import Series, Windows, cut, seasonal_naive
from seqjax.nn.forecaster import DirectForecaster, Forecast, RecursiveForecaster
from seqjax.nn.outputs import Gaussian, Outputs, Quantiles, Regression
from seqjax.train.forecast_config import LOOK, ForecastConfig
from seqjax.train.model import build_cell
from seqjax.train.scaling import Standardizer
from seqjax.train.supervised import Split
from seqjax.train.task import Criterion

VALIDATION_WINDOWS = 500
"""Windows that are scored, at most: they are spread evenly."""


@dataclasses.dataclass(frozen=True)
class Forecasting:
    """A `Problem`: the values of the next steps.

    Args:
      config: the settings.
      names: of the values to predict.
      standard: mean and scale of the covariates.
      history, horizon, season: in steps.
    """

    config: ForecastConfig
    names: tuple[str, ...]
    standard: Standardizer
    history: int
    horizon: int
    season: int

    # All windows are equally long: nothing is padded.
    sequences = ()
    answers = ()
    judged_by = ()
    criterion = Criterion("mean_absolute_scaled_error", lower_is_better=True)

    @classmethod
    def of(
        cls,
        config: ForecastConfig,
        examples: Sequence[Example],
        names: tuple[str, ...] | None = None,
    ) -> "Forecasting":
        """The problem that these series pose; `names` are those of their columns.

        Raises:
          InputError: if they do not fit together, or are too short.
        """
        columns, levels = config.columns, config.model.levels
        if columns.covariates and not columns.values:
            raise InputError("--covariates go with --values: name the columns to predict.")
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
        targets = channels.pop() - len(columns.covariates)
        if names is None:
            names = ("value",) if targets == 1 else tuple(f"value_{i}" for i in range(targets))
        known = [np.asarray(example.inputs)[:, targets:] for example in examples]
        standard = Standardizer.of_values(np.concatenate(known))
        return cls(config, names[:targets], standard, history, horizon, season)

    @property
    def covariates(self) -> int:
        """How many columns are known ahead."""
        return len(self.standard.location)

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        return {
            "names": self.names,
            "standard": dataclasses.asdict(self.standard),
            "history": self.history,
            "horizon": self.horizon,
            "season": self.season,
        }

    @classmethod
    def restore(cls, config: ForecastConfig, settings: dict[str, Any]) -> "Forecasting":
        """What `settings` gave, with its configuration."""
        values: dict[str, Any] = dict(settings)
        # Older runs took covariates as they were.
        count = values.pop("covariates", 0)
        as_they_are = {"location": [0.0] * count, "scale": [1.0] * count}
        standard = Standardizer.restore(values.pop("standard", as_they_are))
        values["names"] = tuple(values["names"])
        return cls(config, standard=standard, **values)

    def series(self, example: Example, learned: int | None = None) -> Series:
        """An example as a series; the first `learned` steps tell the naive error.

        Raises:
          InputError: if it has other columns than the training data.
        """
        values = np.asarray(example.inputs, np.float32)
        wanted = len(self.names) + self.covariates
        if values.shape[-1] != wanted:
            raise InputError(
                f"{example.where}: expected {wanted} columns of numbers as in training, got "
                f"{values.shape[-1]}."
            )
        targets = values[:, : len(self.names)]
        covariates = self.standard.scaled(values[:, len(self.names) :])
        known = jnp.asarray(targets[:learned].T)
        season = max(1, self.season)
        error = metrics.seasonal_naive_scale(jnp.nan_to_num(known), season, ~jnp.isnan(known))
        return Series(example.where, targets, covariates, np.asarray(error))

    def split(
        self,
        examples: Sequence[Example],
        validation: Sequence[Example] | None,
        test: Sequence[Example],
    ) -> Split:
        """Windows of the beginning, the middle and the end of each series.

        The end is to be judged by and the middle to validate on, unless there are series of
        their own for that.

        Raises:
          InputError: if no series is long enough, or there is no naive error to compare with.
        """
        share = self.config.files.held_out
        series, first, second = [], [], []
        for example in examples:
            steps = len(example.inputs)
            held = max(self.horizon, round(share * steps))
            second.append(steps if test else steps - held)
            first.append(second[-1] if validation else second[-1] - held)
            series.append(self.series(example, max(1, first[-1])))
        look = {"history": self.history, "horizon": self.horizon}
        start = [min(self.horizon, self.history)] * len(series)
        train = Windows(series, **look, first=start, last=first)
        if not len(train):
            longest = max(len(example.inputs) for example in examples)
            raise InputError(
                f"The longest series has {longest} steps: too few to learn a horizon of "
                f"{self.horizon} and to hold out {share:g} of it twice. Give longer series, or a "
                "smaller --horizon."
            )
        ends = [len(one.values) for one in series]
        middle = self.judged(validation) if validation else self._spread(series, first, second)
        last = self.judged(test) if test else self._spread(series, second, ends)
        return Split(train, middle, last)

    def judged(self, examples: Sequence[Example]) -> Windows:
        """Windows of series that were not learned from.

        They begin behind as many steps as are read, and behind two seasons: what was before
        tells the naive error.

        Raises:
          InputError: if no series is long enough, or there is no naive error to compare with.
        """
        begin = max(self.history, 2 * self.season)
        series = [self.series(example, begin) for example in examples]
        ends = [len(one.values) for one in series]
        if max(ends) < begin + self.horizon:
            raise InputError(
                f"{examples[0].where}: expected a series of at least {begin} + {self.horizon} "
                f"steps, to read from and to predict; the longest has {max(ends)}."
            )
        return self._spread(series, [begin] * len(series), ends)

    def _spread(self, series, first, last) -> Windows:
        """At most so many windows, spread evenly."""
        if not any((one.naive_error > 0).any() for one in series):
            raise InputError(
                f"{series[0].name}: no value changes within a season ({max(1, self.season)} steps) "
                "of what is learned from, so there is no naive forecast to compare with. Is "
                "--season right?"
            )
        look = {"history": self.history, "horizon": self.horizon, "first": first, "last": last}
        every = Windows(series, **look)
        stride = max(1, len(every) // VALIDATION_WINDOWS)
        return Windows(series, **look, stride=stride)

    def encode(self, example: Example, *, answered: bool = True) -> Encoded:
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
            covariates=self.covariates,
            horizon=self.horizon,
            season=self.season,
            rngs=nnx.Rngs(seed),
        )

    def _covariates(self, batch):
        return batch["covariates"] if self.covariates else None

    def loss(self, model, batch, keys):
        return model.loss(
            batch["history"],
            batch["future"],
            self._covariates(batch),
            key=keys,
            mask=batch["weights"] > 0,
        )

    def outputs(self, model, batch):
        levels = self.config.model.levels
        values = model.quantiles(batch["history"], self._covariates(batch), (0.5, *levels))
        return {"prediction": values[..., 0], "quantiles": values[..., 1:]}

    def scores(self, examples, outputs):
        def stacked(name):
            return np.stack([example[name] for example in examples])

        future = stacked("future")
        observed = ~np.isnan(future)
        naive = seasonal_naive(stacked("history"), self.horizon, self.season)
        # Both forecasts are compared where there are both.
        counts = np.moveaxis(observed & ~np.isnan(naive), -1, -2)
        scale = stacked("naive_error")[:, None, :]
        levels = np.array(self.config.model.levels)
        predicted = np.stack([output["prediction"] for output in outputs])
        quantiles = np.stack([output["quantiles"] for output in outputs])

        def scaled(predictions):
            error = metrics.mean_absolute_scaled_error(
                jnp.asarray(np.moveaxis(predictions, -1, -2)),
                jnp.asarray(np.moveaxis(future, -1, -2)),
                jnp.asarray(scale[:, 0]),
                jnp.asarray(counts),
            )
            return float(error.value)

        found = {
            "mean_absolute_scaled_error": scaled(predicted),
            "seasonal_naive": scaled(naive),
            "pinball": float(
                metrics.pinball_loss(
                    jnp.asarray(quantiles),
                    jnp.asarray(future),
                    jnp.asarray(levels, jnp.float32),
                    jnp.asarray(observed),
                ).value.mean()
            ),
        }
        if len(levels) > 1:
            inside = metrics.interval_coverage(
                jnp.asarray(quantiles[..., 0]),
                jnp.asarray(quantiles[..., -1]),
                jnp.asarray(future),
                jnp.asarray(observed),
            )
            found["coverage"] = float(inside.value)
            found["coverage_wanted"] = float(levels[-1] - levels[0])
        return found

    def answer(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """What is written for a series: a column for each value and each of its quantiles."""
        columns = {}
        for target, name in enumerate(self.names):
            columns[f"{name}_prediction"] = output["prediction"][:, target]
            for place, level in enumerate(self.config.model.levels):
                columns[f"{name}_q{level:g}"] = output["quantiles"][:, target, place]
        return columns
