"""Padding never counts, and the numbers are the ones known in closed form."""

import bz2

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.losses import cross_entropy
from seqjax.metrics import bits_per_character, compressed_bits_per_character


def test_a_uniform_model_costs_the_logarithm():
    nats = cross_entropy(jnp.zeros((2, 5, 8)), jnp.zeros((2, 5), int))
    assert bits_per_character(float(nats), 10) == pytest.approx(3.0)


def test_padding_does_not_count_even_if_it_is_nan():
    logits = jax.random.normal(jax.random.key(0), (1, 4, 5))
    targets = jnp.array([[1, 2, 3, 99]])
    mask = jnp.array([[True, True, True, False]])
    poisoned = logits.at[:, 3].set(jnp.nan)
    wanted = cross_entropy(logits[:, :3], targets[:, :3])
    value, gradient = jax.value_and_grad(lambda x: cross_entropy(x, targets, mask))(poisoned)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert jnp.isfinite(gradient).all() and not gradient[:, 3].any()


def test_low_precision_logits_are_summed_in_float32():
    assert cross_entropy(jnp.zeros((3, 4), jnp.bfloat16), jnp.zeros(3, int)).dtype == jnp.float32


def test_yardsticks():
    text = "to be or not to be " * 50
    bits = compressed_bits_per_character(text)
    assert bits["bz2"] == 8 * len(bz2.compress(text.encode(), 9)) / len(text)
    assert set(bits) == {"bz2", "xz"}


def test_no_characters():
    with pytest.raises(ValueError, match="no characters"):
        bits_per_character(1.0, 0)
