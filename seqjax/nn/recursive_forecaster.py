"""Autoregressive forecasting of series by sampling."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.core.cell import Cell, positive_int
from seqjax.core.keys import batchable
from seqjax.core.types import Array, BatchKeys, PRNGKeyArray
from seqjax.nn.forecaster import Forecast, differences, forecast_loss
from seqjax.nn.outputs import NumberOutputs


class RecursiveForecaster(Forecast):
    """Forecasts one step at a time and feeds its samples back (autoregressive forecasting).

        h, y     = cell.step(h, x[t])
        raw      = y W + b, shifted by the value one season before
        z[t + 1] = a sample from raw

    on scaled values; see `Forecast`. It is trained by teacher forcing. Forecast quantiles are those
    of many sample paths.

    Args:
      cell, outputs, targets, covariates, horizon, season, difference, rngs: as for
        `DirectForecaster`; the attribute `horizon` may be changed after training.
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
        if self.past:
            raise ValueError(
                "RecursiveForecaster: `past` must be 0: what is known for the history alone cannot "
                "be fed back. Predict it as a target, or use DirectForecaster."
            )
        self.paths = positive_int("RecursiveForecaster", "paths", paths)
        self.head = nnx.Linear(
            cell.features, outputs.size, kernel_init=nnx.initializers.zeros_init(), rngs=rngs
        )

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
        """`(total, count)` of the one-step-ahead loss over the history and the horizon.

        Arguments as for `DirectForecaster.loss`; `past` is None.
        """
        self.check(history, covariates, past)
        _, _, location, scale = self.scaled(history)
        whole = jnp.concatenate([history, future], -2)
        if self.difference:
            whole = differences(whole)
        observed = ~jnp.isnan(whole)
        z = jnp.where(observed, (jnp.where(observed, whole, 0) - location) / scale, 0)
        # Each step but the last predicts the one after it.
        before = z[..., :-1, :]
        _, ys = self.rnn(self.inputs(before, observed[..., :-1, :], covariates), key=key)
        raw = self.outputs.shifted(self.head(ys), self.lagged(before))
        targets = jnp.where(observed, z, jnp.nan)[..., 1:, :]
        return forecast_loss(self.outputs, raw, targets, mask)

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
        paths = paths * scale[None] + location[None]
        if self.difference:
            last, ago = self.last(history)
            paths = (last + ago * location)[None] + jnp.cumsum(paths, -2)
        return paths

    def quantiles(
        self,
        history: Array,
        covariates: Array | None,
        levels: tuple[float, ...],
        past: Array | None = None,
    ) -> Array:
        # A fixed key: forecasts are deterministic.
        paths = self.sample(history, covariates, key=jax.random.key(0))
        return jnp.moveaxis(jnp.quantile(paths, jnp.asarray(levels), axis=0), 0, -1)
