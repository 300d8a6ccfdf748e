"""Probabilistic forecasting of series."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell, positive_int
from seqjax.core.keys import batchable
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.nn.outputs import NumberOutputs
from seqjax.nn.rnn import RNN

ROUNDING = 1e-5
"""A standard deviation below this fraction of the mean is rounding error of a constant."""


class Forecast(nnx.Module):
    """The base of forecasters: scaling, input features, seasonal differencing.

        location, scale = mean and standard deviation of the observed values of the history
        z[t]            = (history[t] - location) / scale,  mean-imputed where missing
        x[t]            = [z[t], observed[t], z[t + 1 - season], covariates[t + 1]]

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
        horizon: int,
        season: int = 0,
        rngs: nnx.Rngs,
    ):
        if not cell.causal:
            raise ValueError(
                f"Forecaster: {cell} sees the future, so it cannot predict it; use a forward cell."
            )
        self.targets = positive_int("Forecaster", "targets", targets)
        self.horizon = positive_int("Forecaster", "horizon", horizon)
        if covariates < 0 or season < 0:
            raise ValueError(
                "Forecaster: `covariates` and `season` must be 0 or more, got "
                f"{covariates} and {season}."
            )
        self.covariates, self.season, self.outputs = covariates, season, outputs
        lagged = targets if season else 0
        self.rnn = RNN(cell, 2 * targets + lagged + covariates, rngs=rngs)

    def scaled(self, history: Array) -> tuple[Array, Array, Array, Array]:
        """`(z, observed, location, scale)` of `history` `(*batch, time, targets)`.

        Location and scale are `(*batch, 1, targets)`; a constant or empty history has scale 1. A
        history is constant if it varies by less than float32 resolves.
        """
        observed = ~jnp.isnan(history)
        values = jnp.where(observed, history, 0)
        count = jnp.maximum(observed.sum(-2, keepdims=True), 1)
        location = values.sum(-2, keepdims=True) / count
        away = jnp.where(observed, values - location, 0)
        variance = jnp.square(away).sum(-2, keepdims=True) / count
        varies = variance > jnp.square(ROUNDING * location)
        scale = jnp.where(varies, jnp.sqrt(jnp.where(varies, variance, 1)), 1)
        return away / scale, observed, location, scale

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

    def inputs(self, z: Array, observed: Array, covariates: Array | None) -> Array:
        """The inputs of the cell; see the equations of `Forecast`.

        Args:
          z, observed: `(*batch, time, targets)`.
          covariates: `(*batch, at least time + 1, covariates)`.
        """
        parts = [z, observed.astype(z.dtype)]
        if self.season:
            parts.append(self.lagged(z))
        if covariates is not None:
            parts.append(covariates[..., 1 : z.shape[-2] + 1, :])
        return jnp.concatenate(parts, -1)

    def check(self, history: Array, covariates: Array | None) -> None:
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

    def quantiles(
        self, history: Array, covariates: Array | None, levels: tuple[float, ...]
    ) -> Array:
        """Quantiles of the forecast, in units of the series.

        Args:
          history: `(*batch, time, targets)`, NaN where missing.
          covariates: `(*batch, time + horizon, covariates)`, None if there are none.
          levels: in (0, 1).

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

    on scaled values; see `Forecast`.

    Args:
      cell: any causal cell.
      outputs: the kind of prediction per step: `Regression` for points, `Quantiles`, or `Gaussian`
        for a distribution; each of `targets` numbers.
      targets: channels of the series.
      covariates: channels that are known in advance (the hour, a price list).
      horizon: number of steps to forecast.
      season: seasonal period in steps, 0 for none.
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
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
    ) -> tuple[Array, Array, Array]:
        """`(raw, location, scale)`: raw outputs `(*batch, horizon, size)` on scaled values.

        Args:
          history: `(*batch, time, targets)`, NaN where missing.
          covariates: `(*batch, time + horizon, covariates)`, None if there are none.
          key: switches dropout and zoneout on.
        """
        self.check(history, covariates)
        z, observed, location, scale = self.scaled(history)
        _, ys = self.rnn(self.inputs(z, observed, covariates), key=key)
        base = self.season_before(z, self.horizon)
        known = base
        if covariates is not None:
            known = jnp.concatenate([base, covariates[..., z.shape[-2] :, :]], -1)
        steps = self.steps.get_value()
        steps = steps.reshape((1,) * (z.ndim - 2) + steps.shape)
        hidden = jax.nn.gelu(self.state(ys[..., -1:, :]) + self.known(known) + steps)
        return self.outputs.shifted(self.head(hidden), base), location, scale

    def loss(
        self,
        history: Array,
        future: Array,
        covariates: Array | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Array]:
        """`(total, count)` of the loss over the observed steps of the horizon.

        Args:
          history, covariates, key: as for the call.
          future: `(*batch, horizon, targets)`; a step with a missing value, NaN, does not count.
          mask: `(*batch,)` bool, the series that count; all if None.
        """
        raw, location, scale = self(history, covariates, key=key)
        return _loss(self.outputs, raw, (future - location) / scale, mask)

    def quantiles(
        self, history: Array, covariates: Array | None, levels: tuple[float, ...]
    ) -> Array:
        raw, location, scale = self(history, covariates)
        values = self.outputs.quantiles(raw, levels)
        return values * scale[..., None] + location[..., None]


class RecursiveForecaster(Forecast):
    """Forecasts one step at a time and feeds its samples back (autoregressive forecasting).

        h, y     = cell.step(h, x[t])
        raw      = y W + b, shifted by the value one season before
        z[t + 1] = a sample from raw

    on scaled values; see `Forecast`. It is trained by teacher forcing. Forecast quantiles are those
    of many sample paths.

    Args:
      cell, outputs, targets, covariates, horizon, season, rngs: as for `DirectForecaster`; the
        attribute `horizon` may be changed after training.
      paths: number of sample paths.

    Source: Salinas et al. 2017 (DeepAR), arXiv:1704.04110.
    """

    def __init__(
        self,
        cell: Cell,
        outputs: NumberOutputs,
        *,
        paths: int = 100,
        rngs: nnx.Rngs,
        **options: Any,
    ):
        super().__init__(cell, outputs, rngs=rngs, **options)
        self.paths = positive_int("RecursiveForecaster", "paths", paths)
        self.head = nnx.Linear(
            cell.features, outputs.size, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

    def loss(
        self,
        history: Array,
        future: Array,
        covariates: Array | None = None,
        *,
        key: PRNGKeyArray | BatchKeys | None = None,
        mask: Array | None = None,
    ) -> tuple[Array, Array]:
        """`(total, count)` of the one-step-ahead loss over the history and the horizon.

        Arguments as for `DirectForecaster.loss`.
        """
        self.check(history, covariates)
        _, _, location, scale = self.scaled(history)
        whole = jnp.concatenate([history, future], -2)
        observed = ~jnp.isnan(whole)
        z = jnp.where(observed, (jnp.where(observed, whole, 0) - location) / scale, 0)
        # Each step but the last predicts the one after it.
        before = z[..., :-1, :]
        _, ys = self.rnn(self.inputs(before, observed[..., :-1, :], covariates), key=key)
        raw = self.outputs.shifted(self.head(ys), self.lagged(before))
        targets = jnp.where(observed, z, jnp.nan)[..., 1:, :]
        return _loss(self.outputs, raw, targets, mask)

    def sample(
        self, history: Array, covariates: Array | None = None, *, key: PRNGKeyArray
    ) -> Array:
        """Sample paths `(paths, *batch, horizon, targets)`, in units of the series."""
        self.check(history, covariates)
        z, observed, location, scale = self.scaled(history)
        time = z.shape[-2]
        carry, ys = self.rnn(self.inputs(z, observed, covariates))
        later = None if covariates is None else covariates[..., time + 1 :, :]
        # The lagged values that later steps read: from the history, then from the path itself.
        window = z[..., -self.season :, :] if self.season else None

        def path(key):
            def step(state, at):
                carry, y, window = state
                step_key, known = at
                base = jnp.zeros_like(z[..., 0, :]) if window is None else window[..., 0, :]
                raw = self.outputs.shifted(self.head(y), base)
                drawn = self.outputs.sample(step_key, raw)
                parts = [drawn, jnp.ones_like(drawn)]
                if window is not None:
                    window = jnp.concatenate([window[..., 1:, :], drawn[..., None, :]], -2)
                    parts.append(window[..., 0, :])
                if known is not None:
                    parts.append(known)
                carry, y = self.rnn.step(carry, jnp.concatenate(parts, -1))
                return (carry, y, window), drawn

            keys = jax.random.split(key, self.horizon)
            known = None
            if later is not None and covariates is not None:
                # The step after the last one is never read.
                padded = jnp.concatenate([later, covariates[..., -1:, :]], -2)
                known = jnp.moveaxis(padded, -2, 0)
            _, drawn = jax.lax.scan(step, (carry, ys[..., -1, :], window), (keys, known))
            return jnp.moveaxis(drawn, 0, -2)

        paths = jax.vmap(path)(jax.random.split(batchable(key), self.paths))
        return paths * scale[None] + location[None]

    def quantiles(
        self, history: Array, covariates: Array | None, levels: tuple[float, ...]
    ) -> Array:
        # A fixed key: forecasts are deterministic.
        paths = self.sample(history, covariates, key=jax.random.key(0))
        return jnp.moveaxis(jnp.quantile(paths, jnp.asarray(levels), axis=0), 0, -1)


def _loss(
    outputs: NumberOutputs, raw: Array, targets: Array, mask: Array | None
) -> tuple[Array, Array]:
    counts = ~jnp.isnan(targets).any(-1)
    if mask is not None:
        counts &= mask[..., None]
    targets = jnp.where(counts[..., None], targets, 0)
    return outputs.loss(raw, targets, counts), counts.sum().astype(jnp.float32)
