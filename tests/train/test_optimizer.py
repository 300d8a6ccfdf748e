"""The update rule: clipping, the schedule of the learning rate, weight decay."""

import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.train.config import OptimizerConfig
from seqjax.train.model import build_optimizer

STEPS, WARMUP, PEAK = 20, 4, 0.5


def changes(gradient, parameters=0.0, **options):
    """What each of `STEPS` equal gradients changes."""
    config = OptimizerConfig(**({"learning_rate": PEAK, "weight_decay": 0.0} | options))
    optimizer = build_optimizer(config, STEPS)
    parameters = jnp.full(np.shape(gradient), parameters)
    state, made = optimizer.init(parameters), []
    for _ in range(STEPS):
        change, state = optimizer.update(jnp.asarray(gradient), state, parameters)
        made.append(np.asarray(change))
    return np.stack(made)


@pytest.mark.parametrize("size, kept", [(10.0, 1.0), (0.5, 0.5)])
def test_only_large_gradients_are_clipped(size, kept):
    made = changes(
        [0.6 * size, 0.8 * size], optimizer="sgd", schedule="constant", warmup=0, clip=1.0
    )
    np.testing.assert_allclose(made[0], [-0.6 * PEAK * kept, -0.8 * PEAK * kept], rtol=1e-5)


@pytest.mark.parametrize("schedule, end", [("constant", 1.0), ("linear", 0.02), ("cosine", 0.02)])
def test_the_learning_rate_rises_and_falls(schedule, end):
    """Adam takes steps of the size of the learning rate as long as gradients stay the same."""
    rates = -changes([1.0, 1.0], schedule=schedule, warmup=WARMUP)[:, 0]
    np.testing.assert_allclose(rates[0], PEAK / (WARMUP + 1), rtol=1e-4)
    assert (np.diff(rates[: WARMUP + 1]) > 0).all()
    np.testing.assert_allclose(rates[WARMUP], PEAK, rtol=1e-4)
    assert rates[-1] < PEAK / 8 if end < 1 else np.isclose(rates[-1], PEAK, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_weights_decay_by_a_share_of_the_learning_rate(optimizer):
    options = {"optimizer": optimizer, "schedule": "constant", "warmup": 0, "weight_decay": 0.1}
    made = changes([[0.0, 0.0]], parameters=2.0, **options)
    np.testing.assert_allclose(made[0], -0.1 * PEAK * 2.0, rtol=1e-5)
    assert not changes([0.0, 0.0], parameters=2.0, **options).any(), "a bias decays"
    made = changes([0.0, 0.0], parameters=2.0, decay_biases=True, **options)
    np.testing.assert_allclose(made[0], -0.1 * PEAK * 2.0, rtol=1e-5)
