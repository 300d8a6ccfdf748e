"""Errors of forecasts against NumPy on what counts."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.metrics import mean_pinball_loss

from seqjax.metrics import (
    add,
    interval_coverage,
    mean_absolute_error,
    mean_absolute_scaled_error,
    pinball_loss,
    root_mean_squared_error,
    seasonal_naive_scale,
)

LEVELS = np.array([0.1, 0.5, 0.9], np.float32)


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    predictions, targets = generator.normal(size=(2, 4, 6)).astype(np.float32)
    return predictions, targets, generator.random((4, 6)) < 0.6


def poisoned(x, mask):
    return jnp.where(mask, x, jnp.nan)


def test_masked_errors(drawn):
    predictions, targets, mask = drawn
    given = (poisoned(predictions, mask), poisoned(targets, mask), jnp.asarray(mask))
    errors = (predictions - targets)[mask]
    np.testing.assert_allclose(mean_absolute_error(*given).value, np.abs(errors).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        root_mean_squared_error(*given).value, np.sqrt((errors**2).mean()), rtol=1e-5
    )


def test_weighted_errors(drawn):
    predictions, targets, _ = drawn
    weights = np.random.default_rng(1).random(targets.shape).astype(np.float32)
    weights[0, 0] = 0
    predictions[0, 0] = np.nan
    given = [jnp.asarray(x) for x in (predictions, targets, weights)]
    errors = np.nan_to_num(predictions - targets)
    np.testing.assert_allclose(
        mean_absolute_error(*given).value, np.average(np.abs(errors), weights=weights), rtol=1e-5
    )
    np.testing.assert_allclose(
        root_mean_squared_error(*given).value,
        np.sqrt(np.average(errors**2, weights=weights)), rtol=1e-5,
    )  # fmt: skip
    quantiles = jnp.stack([given[0]] * 3, -1)
    np.testing.assert_allclose(
        pinball_loss(quantiles, given[1], jnp.asarray(LEVELS), given[2]).value[1],
        np.average(np.abs(errors), weights=weights) / 2, rtol=1e-5,
    )  # fmt: skip


def test_pinball_of_each_level(drawn):
    _, targets, mask = drawn
    quantiles = np.random.default_rng(2).normal(size=(*targets.shape, 3)).astype(np.float32)
    got = pinball_loss(
        jnp.where(mask[..., None], quantiles, jnp.nan),
        poisoned(targets, mask), jnp.asarray(LEVELS), jnp.asarray(mask),
    )  # fmt: skip
    wanted = [
        mean_pinball_loss(targets[mask], quantiles[mask][:, i], alpha=level)
        for i, level in enumerate(LEVELS)
    ]
    np.testing.assert_allclose(got.value, wanted, rtol=1e-5)


def test_coverage(drawn):
    predictions, targets, mask = drawn
    lower, upper = predictions - 0.5, predictions + 0.5
    got = interval_coverage(
        *(poisoned(x, mask) for x in (lower, upper, targets)), jnp.asarray(mask)
    )
    inside = (lower <= targets) & (targets <= upper)
    np.testing.assert_allclose(got.value, inside[mask].mean(), rtol=1e-6)


@pytest.mark.parametrize("season", [1, 3])
def test_scale_of_each_series(season):
    history = np.random.default_rng(3).normal(size=(3, 9)).astype(np.float32)
    change = np.abs(history[:, season:] - history[:, :-season])
    np.testing.assert_allclose(
        seasonal_naive_scale(jnp.asarray(history), season), change.mean(1), rtol=1e-5
    )
    mask = np.ones(history.shape, bool)
    mask[0, 4] = mask[1, 5:] = mask[2] = False
    pairs = mask[:, season:] & mask[:, :-season]
    got = seasonal_naive_scale(poisoned(history, mask), season, jnp.asarray(mask))
    for row in (0, 1):
        np.testing.assert_allclose(got[row], change[row][pairs[row]].mean(), rtol=1e-5)
    assert jnp.isnan(got[2])


def test_a_season_longer_than_the_history_has_no_scale():
    assert jnp.isnan(seasonal_naive_scale(jnp.ones(3), season=7))
    with pytest.raises(ValueError, match="at least 1 step, got 0"):
        seasonal_naive_scale(jnp.ones(3), season=0)


def test_scaled_errors(drawn):
    predictions, targets, mask = drawn
    scale = np.array([0.5, 0.0, np.nan, 2.0], np.float32)
    predictions[1] = np.nan
    got = mean_absolute_scaled_error(
        poisoned(predictions, mask), poisoned(targets, mask), jnp.asarray(scale), jnp.asarray(mask)
    )
    scaled = np.abs(predictions - targets)[[0, 3]] / scale[[0, 3], None]
    np.testing.assert_allclose(got.value, scaled[mask[[0, 3]]].mean(), rtol=1e-5)
    assert got.left_out == mask[[1, 2]].sum() and got.count == mask[[0, 3]].sum()


def test_the_naive_forecast_of_the_history_itself_has_scaled_error_one():
    history = jnp.asarray(np.random.default_rng(4).normal(size=(2, 12)).astype(np.float32))
    scale = seasonal_naive_scale(history, 4)
    got = mean_absolute_scaled_error(history[:, :-4], history[:, 4:], scale)
    np.testing.assert_allclose(got.value, 1.0, rtol=1e-5)


def test_batches_add_up(drawn):
    arrays = [jnp.asarray(x) for x in drawn]
    scale = jnp.array([1.0, 2.0, 0.0, 3.0])

    @jax.jit
    def sums(predictions, targets, mask, scale):
        quantiles = jnp.stack([predictions] * 3, -1)
        return (
            mean_absolute_error(predictions, targets, mask),
            root_mean_squared_error(predictions, targets, mask),
            mean_absolute_scaled_error(predictions, targets, scale, mask),
            pinball_loss(quantiles, targets, jnp.asarray(LEVELS), mask),
            interval_coverage(predictions - 1, predictions + 1, targets, mask),
        )

    whole = sums(*arrays, scale)
    parts = [sums(*(x[rows] for x in (*arrays, scale))) for rows in (slice(0, 3), slice(3, 4))]
    chex.assert_trees_all_close(add(*parts), whole, rtol=1e-5)


@pytest.mark.parametrize(
    "metric", [mean_absolute_error, root_mean_squared_error, mean_absolute_scaled_error]
)
def test_shapes_must_be_the_same(metric):
    more = (jnp.ones(2),) if metric is mean_absolute_scaled_error else ()
    with pytest.raises(ValueError, match="shapes must be the same"):
        metric(jnp.zeros((2, 1)), jnp.zeros(2), *more)
