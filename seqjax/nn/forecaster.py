"""Probabilistic forecasting of series."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell, positive_int
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.nn.outputs import NumberOutputs
from seqjax.nn.rnn import RNN

ROUNDING = 1e-5
"""A standard deviation below this fraction of the mean is rounding error of a constant."""


class Forecast(nnx.Module):
    """The base of forecasters: scaling, input features, seasonal differencing.

        location, scale = mean and standard deviation of the observed values of the history
        z[t]            = (history[t] - location) / scale,  mean-imputed where missing
        x[t]            = [z[t], observed[t], z[t + 1 - season], covariates[t + 1], past[t]]

    Predictions are on the scale of each series, so that one model serves series of any magnitude.
    With a `season`, the model predicts the difference to the value one season before, and training
    starts from the seasonal-naive forecast.

    Missing values are NaN in the history.
    """

    def __init__(
        self,
        cell: Cell,
        outputs: NumberOutputs,
        *,
        targets: int = 1,
        covariates: int = 0,
        past: int = 0,
        horizon: int,
        season: int = 0,
        difference: bool = False,
        rngs: nnx.Rngs,
    ):
        if not cell.causal:
            raise ValueError(
                f"Forecaster: {cell} sees the future, so it cannot predict it; use a forward cell."
            )
        self.targets = positive_int("Forecaster", "targets", targets)
        self.horizon = positive_int("Forecaster", "horizon", horizon)
        if min(covariates, past, season) < 0:
            raise ValueError(
                "Forecaster: `covariates`, `past` and `season` must be 0 or more, got "
                f"{covariates}, {past} and {season}."
            )
        self.covariates, self.season, self.outputs = covariates, season, outputs
        self.past, self.difference = past, difference
        lagged = targets if season else 0
        self.rnn = RNN(cell, 2 * targets + lagged + covariates + past, rngs=rngs)

    def scaled(self, history: Array) -> tuple[Array, Array, Array, Array]:
        """`(z, observed, location, scale)` of `history` `(*batch, time, targets)`, or its steps.

        Location and scale are `(*batch, 1, targets)`; a constant or empty history has scale 1. A
        history is constant if it varies by less than float32 resolves.
        """
        if self.difference:
            history = differences(history)
        observed = ~jnp.isnan(history)
        values = jnp.where(observed, history, 0)
        count = jnp.maximum(observed.sum(-2, keepdims=True), 1)
        location = values.sum(-2, keepdims=True) / count
        away = jnp.where(observed, values - location, 0)
        variance = jnp.square(away).sum(-2, keepdims=True) / count
        varies = variance > jnp.square(ROUNDING * location)
        scale = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 1)
        return away / scale, observed, location, scale

    def last(self, history: Array) -> tuple[Array, Array]:
        """The last observed value `(*batch, 1, targets)`, and how many steps ago that was.

        Zeros where nothing is observed.
        """
        observed = ~jnp.isnan(history)
        ago = jnp.argmax(jnp.flip(observed, -2), -2, keepdims=True)
        values = jnp.where(observed, history, 0)
        last = jnp.take_along_axis(values, history.shape[-2] - 1 - ago, axis=-2)
        return last, ago.astype(history.dtype)

    def season_before(self, z: Array, steps: int) -> Array:
        """The values one season before the `steps` that follow `z`, zeros without a season.

        Beyond a season the last one repeats.
        """
        if not self.season:
            return jnp.zeros((*z.shape[:-2], steps, self.targets), z.dtype)
        return z[..., z.shape[-2] - self.season + jnp.arange(steps) % self.season, :]

    def lagged(self, z: Array) -> Array:
        """The value one season before the step after each of `z`, zeros before the first season."""
        if not self.season:
            return jnp.zeros_like(z)
        known = jnp.arange(z.shape[-2])[:, None] >= self.season - 1
        known = known.reshape((1,) * (z.ndim - 2) + known.shape)
        return jnp.where(known, jnp.roll(z, self.season - 1, axis=-2), 0)

    def inputs(
        self, z: Array, observed: Array, covariates: Array | None, past: Array | None = None
    ) -> Array:
        """The inputs of the cell; see the equations of `Forecast`.

        Args:
          z, observed: `(*batch, time, targets)`.
          covariates: `(*batch, at least time + 1, covariates)`.
          past: `(*batch, time, past)`.
        """
        parts = [z, observed.astype(z.dtype)]
        if self.season:
            parts.append(self.lagged(z))
        if covariates is not None:
            parts.append(covariates[..., 1 : z.shape[-2] + 1, :])
        if past is not None:
            parts.append(past)
        return jnp.concatenate(parts, -1)

    def check(self, history: Array, covariates: Array | None, past: Array | None = None) -> None:
        """Raises `ValueError` unless the shapes fit."""
        wanted = (history.shape[-2] + self.horizon, self.covariates)
        got = None if covariates is None else covariates.shape
        least = max(1, self.season)
        if history.shape[-1] != self.targets or history.shape[-2] < least:
            raise ValueError(
                f"Forecaster: the history must be (*batch, time, {self.targets}) with at least "
                f"{least} steps (a season), got {history.shape}."
            )
        if (got is not None and got[-2:] != wanted) or (got is None and self.covariates):
            raise ValueError(
                f"Forecaster: `covariates` must be (*batch, {wanted[0]}, {wanted[1]}), known for "
                f"the history and the horizon; got {got}."
            )
        known = None if past is None else past.shape[-2:]
        if known != ((history.shape[-2], self.past) if self.past else None):
            raise ValueError(
                f"Forecaster: `past` must be (*batch, {history.shape[-2]}, {self.past}), known for "
                f"the history alone, or None if there are no such channels; got {known}."
            )

    def quantiles(
        self,
        history: Array,
        covariates: Array | None,
        levels: tuple[float, ...],
        past: Array | None = None,
    ) -> Array:
        """Quantiles of the forecast, in units of the series.

        Args:
          history: `(*batch, time, targets)`, NaN where missing.
          covariates: `(*batch, time + horizon, covariates)`, None if there are none.
          levels: in (0, 1).
          past: `(*batch, time, past)`, None if there are none.

        Returns:
          `(*batch, horizon, targets, levels)`.
        """
        raise NotImplementedError


class DirectForecaster(Forecast):
    """Forecasts the whole horizon at once from the final state (direct multi-horizon forecasting).

        h       = last output of scan(cell, x)
        hidden  = gelu(h U + [base[k], covariates[k]] V + step[k])          k = 1 ... horizon
        raw[k]  = hidden W + b,  shifted by base[k]
        base[k] = the value one season before step k, 0 without a season

    on scaled values; see `Forecast`. With `difference`, raw[k] and base[k] are the sums of the
    scaled steps 1 to k, divided by sqrt(k).

    Args:
      cell: any causal cell.
      outputs: the kind of prediction per step: `Regression` for points, `Quantiles`, or `Gaussian`
        for a distribution; each of `targets` numbers.
      targets: channels of the series.
      covariates: channels that are known in advance (the hour, a price list).
      past: channels that are known for the history alone (the weather so far).
      horizon: number of steps to forecast.
      season: seasonal period in steps, 0 for none.
      difference: whether steps are predicted instead of values.
      rngs: the source of the parameters' keys.

    Raises:
      ValueError: if the cell sees the future, or a number is out of range.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> outputs = sj.nn.Quantiles((0.1, 0.5, 0.9))
      >>> model = sj.nn.DirectForecaster(
      ...     sj.gru(8), outputs, horizon=6, season=4, rngs=nnx.Rngs(0))
      >>> history = jnp.arange(20.0)[None, :, None]
      >>> model.quantiles(history, None, (0.1, 0.5, 0.9)).shape
      (1, 6, 1, 3)
    """

    def __init__(self, cell: Cell, outputs: NumberOutputs, *, rngs: nnx.Rngs, **options: Any):
        super().__init__(cell, outputs, rngs=rngs, **options)
        width = cell.features
        known = self.targets + self.covariates
        self.state = nnx.Linear(width, width, rngs=rngs)
        self.known = nnx.Linear(known, width, use_bias=False, rngs=rngs)
        self.steps = nnx.Param(0.1 * rngs.params.normal((self.horizon, width)))
        self.head = nnx.Linear(
            width, outputs.size, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def __call__(
        self,
        history: Array,
        covariates: Array | None = None,
        past: Array | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
    ) -> tuple[Array, Array, Array]:
        """`(raw, location, scale)`: raw outputs `(*batch, horizon, size)` on scaled values.

        Args:
          history: `(*batch, time, targets)`, NaN where missing.
          covariates: `(*batch, time + horizon, covariates)`, None if there are none.
          past: `(*batch, time, past)`, None if there are none.
          key: switches dropout and zoneout on.
        """
        self.check(history, covariates, past)
        z, observed, location, scale = self.scaled(history)
        _, ys = self.rnn(self.inputs(z, observed, covariates, past), key=key)
        base = known = self.season_before(z, self.horizon)
        if self.difference:
            last, ago = self.last(history)
            ahead = jnp.arange(1, self.horizon + 1, dtype=z.dtype)
            ahead = ahead.reshape((1,) * (z.ndim - 2) + (-1, 1))
            location = last + (ago + ahead) * location
            # A sum of k steps that do not know of each other varies by sqrt(k).
            base, scale = jnp.cumsum(base, -2) / jnp.sqrt(ahead), scale * jnp.sqrt(ahead)
        if covariates is not None:
            known = jnp.concatenate([known, covariates[..., z.shape[-2] :, :]], -1)
        steps = self.steps.get_value()
        steps = steps.reshape((1,) * (z.ndim - 2) + steps.shape)
        hidden = jax.nn.gelu(self.state(ys[..., -1:, :]) + self.known(known) + steps)
        return self.outputs.shifted(self.head(hidden), base), location, scale

    def loss(
        self,
        history: Array,
        future: Array,
        covariates: Array | None = None,
        past: Array | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Array]:
        """`(total, count)` of the loss over the observed steps of the horizon.

        Args:
          history, covariates, past, key: as for the call.
          future: `(*batch, horizon, targets)`; a step with a missing value, NaN, does not count.
          mask: `(*batch,)` bool, the series that count; all if None.
        """
        raw, location, scale = self(history, covariates, past, key=key)
        return forecast_loss(self.outputs, raw, (future - location) / scale, mask)

    def quantiles(
        self,
        history: Array,
        covariates: Array | None,
        levels: tuple[float, ...],
        past: Array | None = None,
    ) -> Array:
        raw, location, scale = self(history, covariates, past)
        values = self.outputs.quantiles(raw, levels)
        return values * scale[..., None] + location[..., None]


def differences(values: Array) -> Array:
    """The step to each of `(*batch, time, targets)` from the one before; NaN for the first.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.nn.forecaster import differences
      >>> differences(jnp.array([[5.0], [7.0], [6.0]]))[:, 0]
      Array([nan,  2., -1.], dtype=float32)
    """
    unknown = jnp.full_like(values[..., :1, :], jnp.nan)
    return jnp.concatenate([unknown, values[..., 1:, :] - values[..., :-1, :]], -2)


def forecast_loss(
    outputs: NumberOutputs, raw: Array, targets: Array, mask: Array | None
) -> tuple[Array, Array]:
    """`(total, count)` of the loss of targets that are known: not NaN, in sequences of `mask`."""
    counts = ~jnp.isnan(targets).any(-1)
    if mask is not None:
        counts &= mask[..., None]
    targets = jnp.where(counts[..., None], targets, 0)
    return outputs.loss(raw, targets, counts), counts.sum().astype(jnp.float32)
