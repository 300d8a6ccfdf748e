"""Padding never counts, and the numbers are the ones known in closed form."""

import bz2
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy import stats

from seqjax import losses
from seqjax.losses import cross_entropy
from seqjax.metrics import bits_per_character, compressed_bits_per_character


def test_a_uniform_model_costs_the_logarithm():
    nats = cross_entropy(jnp.zeros((2, 5, 8)), jnp.zeros((2, 5), int))
    assert bits_per_character(float(nats), 10) == pytest.approx(3.0)


def test_padding_does_not_count_even_if_it_is_nan():
    logits = np.random.default_rng(0).normal(size=(1, 4, 5)).astype(np.float32)
    targets = jnp.array([[1, 2, 3, 99]])
    mask = jnp.array([[True, True, True, False]])
    wanted = jax.jit(cross_entropy)(logits[:, :3], targets[:, :3])
    logits[:, 3] = np.nan
    value, gradient = jax.jit(jax.value_and_grad(cross_entropy))(logits, targets, mask)
    np.testing.assert_allclose(value, wanted, rtol=1e-6)
    assert np.isfinite(gradient).all() and not gradient[:, 3].any()


def test_low_precision_logits_are_summed_in_float32():
    logits = jax.ShapeDtypeStruct((3, 4), jnp.bfloat16)
    targets = jax.ShapeDtypeStruct((3,), jnp.int32)
    assert jax.eval_shape(cross_entropy, logits, targets).dtype == jnp.float32


def test_yardsticks():
    text = "to be or not to be " * 50
    bits = compressed_bits_per_character(text)
    assert bits["bz2"] == 8 * len(bz2.compress(text.encode(), 9)) / len(text)
    assert set(bits) == {"bz2", "xz"}


def test_no_characters():
    with pytest.raises(ValueError, match="no characters"):
        bits_per_character(1.0, 0)


SHAPE = (2, 4, 3)
MASKS = {
    "none": None,
    "steps": np.array([[1, 1, 0, 1], [0, 0, 1, 0]], bool),
    "rows": np.array([True, False]),
    "each": np.random.default_rng(0).random(SHAPE) < 0.5,
}
LOCATION, TARGETS = 2 * np.random.default_rng(1).normal(size=(2, *SHAPE))
SCALE = np.exp(np.random.default_rng(2).normal(size=SHAPE))
DEGREES = 1 + np.exp(np.random.default_rng(3).normal(size=SHAPE))
YES = np.random.default_rng(4).random(SHAPE) < 0.5
ERROR = LOCATION - TARGETS
CASES = {
    "binary_cross_entropy": (
        losses.binary_cross_entropy,
        (LOCATION, YES),
        np.log1p(np.exp(np.where(YES, -LOCATION, LOCATION))),
    ),
    "squared_error": (losses.squared_error, (LOCATION, TARGETS), ERROR**2),
    "huber": (
        partial(losses.huber, delta=1.5),
        (LOCATION, TARGETS),
        np.where(np.abs(ERROR) <= 1.5, ERROR**2 / 2, 1.5 * (np.abs(ERROR) - 0.75)),
    ),
    "gaussian_nll": (
        losses.gaussian_nll,
        (LOCATION, SCALE, TARGETS),
        -stats.norm.logpdf(TARGETS, LOCATION, SCALE),
    ),
    "student_t_nll": (
        losses.student_t_nll,
        (LOCATION, SCALE, DEGREES, TARGETS),
        -stats.t.logpdf(TARGETS, DEGREES, LOCATION, SCALE),
    ),
}


@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("name", CASES)
@pytest.mark.usefixtures("x64")
def test_masked_sums(name, mask):
    """The textbook's terms where the mask is True; elsewhere nothing, NaN included."""
    loss, arrays, terms = CASES[name]
    flags = MASKS[mask]
    counts = np.ones(SHAPE, bool)
    if flags is not None:
        counts = np.broadcast_to(flags.reshape(flags.shape + (1,) * (3 - flags.ndim)), SHAPE)
    given = [jnp.asarray(x if x.dtype == bool else np.where(counts, x, np.nan)) for x in arrays]
    flags = None if flags is None else jnp.asarray(flags)
    floats = tuple(i for i, x in enumerate(arrays) if x.dtype != bool)
    value, gradients = jax.jit(jax.value_and_grad(loss, argnums=floats))(*given, flags)
    np.testing.assert_allclose(value, terms[counts].sum(), rtol=1e-12)
    for gradient in map(np.asarray, gradients):
        assert np.isfinite(gradient).all() and not gradient[~counts].any()
        assert gradient[counts].all()


@pytest.mark.parametrize("name", ["gaussian_nll", "student_t_nll", "huber"])
@pytest.mark.usefixtures("x64")
def test_gradients_are_finite_differences(name):
    loss, arrays, _ = CASES[name]
    check_grads(jax.jit(loss), tuple(map(jnp.asarray, arrays)), 1, modes=["rev"], rtol=1e-5)


@pytest.mark.parametrize("mask", ["none", "steps", "rows"])
def test_pinball(mask):
    levels = np.array([0.1, 0.5, 0.95])
    quantiles = np.random.default_rng(5).normal(size=(*SHAPE[:2], 3))
    targets = TARGETS[..., 0]
    flags = MASKS[mask]
    counts = np.ones(SHAPE[:2], bool)
    if flags is not None:
        counts = np.broadcast_to(flags.reshape(flags.shape + (1,) * (2 - flags.ndim)), SHAPE[:2])
    value, gradient = jax.jit(jax.value_and_grad(losses.pinball))(
        jnp.asarray(np.where(counts[..., None], quantiles, np.nan)),
        jnp.asarray(np.where(counts, targets, np.nan)),
        jnp.asarray(levels),
        None if flags is None else jnp.asarray(flags),
    )
    below = quantiles < targets[..., None]
    terms = np.where(below, levels, 1 - levels) * np.abs(targets[..., None] - quantiles)
    np.testing.assert_allclose(value, terms[counts].sum(), rtol=1e-5)
    wanted = np.where(below, -levels, 1 - levels) * counts[..., None]
    np.testing.assert_allclose(gradient, wanted, rtol=1e-5)


def test_the_minimum_of_pinball_is_the_quantile():
    sample = jnp.asarray(np.random.default_rng(6).normal(size=999).astype(np.float32))
    levels = jnp.array([0.1, 0.9])
    quantiles = np.quantile(sample, levels).astype(np.float32)

    @jax.jit
    def loss(constant):
        return losses.pinball(jnp.broadcast_to(constant, (999, 2)), sample, levels)

    for shift in (-0.1, 0.1):
        assert loss(quantiles + shift) > loss(quantiles)


@pytest.mark.parametrize("name", CASES)
def test_shapes_must_be_the_same(name):
    loss, arrays, _ = CASES[name]
    given = [jnp.asarray(x) for x in (*arrays[:-1], arrays[-1][..., 0])]
    with pytest.raises(ValueError, match=rf"{name}: the shapes .*\(2, 4, 3\).*\(2, 4\)"):
        loss(*given)


def test_pinball_needs_an_axis_for_the_levels():
    with pytest.raises(ValueError, match=r"\(3, 2\); got \(3,\)"):
        losses.pinball(jnp.zeros(3), jnp.zeros(3), jnp.array([0.1, 0.9]))


@pytest.mark.parametrize("name", CASES)
def test_all_are_summed_in_float32(name):
    loss, arrays, _ = CASES[name]
    low = [jax.ShapeDtypeStruct(x.shape, jnp.bfloat16) for x in arrays]
    assert jax.eval_shape(loss, *low).dtype == jnp.float32
