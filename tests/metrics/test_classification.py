"""Accuracy, confusion and calibration against scikit-learn and by hand."""

from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics as reference

from seqjax.metrics import Mean, accuracy, add, calibration, confusion_matrix

CLASSES = 5


@pytest.fixture
def drawn():
    generator = np.random.default_rng(0)
    # Class 3 is never predicted and class 4 never occurs at all.
    targets = generator.integers(0, 4, (6, 10))
    predictions = np.where(generator.random((6, 10)) < 0.5, targets, 0) % 3
    return predictions, targets, generator.random((6, 10)) < 0.7


class Numbers(NamedTuple):
    counts: Any
    precision: Any
    recall: Any
    f1: Any
    macro_f1: Any
    accuracy: Any
    share: Any


@jax.jit
def numbers_of(predictions, targets, mask):
    matrix = confusion_matrix(predictions, targets, mask, classes=CLASSES)
    share = accuracy(predictions, targets, mask).value
    return Numbers(*(getattr(matrix, name) for name in Numbers._fields[:-1]), share)


def test_numbers_are_those_of_scikit_learn(drawn):
    predictions, targets, mask = drawn
    kept = (targets[mask], predictions[mask])
    matrix = numbers_of(*drawn)
    labels = range(CLASSES)
    np.testing.assert_array_equal(
        matrix.counts, reference.confusion_matrix(*kept, labels=list(labels))
    )
    precision, recall, f1, _ = reference.precision_recall_fscore_support(
        *kept, labels=list(labels), zero_division=0
    )
    np.testing.assert_allclose(matrix.precision, precision, rtol=1e-6)
    np.testing.assert_allclose(matrix.recall, recall, rtol=1e-6)
    np.testing.assert_allclose(matrix.f1, f1, rtol=1e-6)
    np.testing.assert_allclose(
        matrix.macro_f1, reference.f1_score(*kept, average="macro", zero_division=0), rtol=1e-6
    )
    share = reference.accuracy_score(*kept)
    np.testing.assert_allclose(matrix.accuracy, share, rtol=1e-6)
    np.testing.assert_allclose(matrix.share, share, rtol=1e-6)


def test_weights_are_those_of_scikit_learn(drawn):
    predictions, targets, _ = drawn
    weights = np.random.default_rng(1).random(targets.shape).astype(np.float32)
    found = numbers_of(predictions, targets, weights)
    flat = {"sample_weight": weights.ravel()}
    np.testing.assert_allclose(
        found.counts,
        reference.confusion_matrix(
            targets.ravel(), predictions.ravel(), labels=list(range(CLASSES)), **flat
        ),
        rtol=1e-5,
    )
    share = reference.accuracy_score(targets.ravel(), predictions.ravel(), **flat)
    np.testing.assert_allclose(found.share, share, rtol=1e-5)


def test_one_mask_for_each_sequence(drawn):
    predictions, targets, _ = drawn
    rows, compiled = np.array([True, False, True, False, False, True]), jax.jit(accuracy)
    chex.assert_trees_all_equal(
        compiled(predictions, targets, rows), compiled(predictions[rows], targets[rows])
    )


def test_calibration_by_hand():
    probabilities = np.random.default_rng(2).dirichlet(np.ones(3), 50).astype(np.float32)
    targets = np.random.default_rng(3).integers(0, 3, 50)
    mask = np.arange(50) < 40
    poisoned = np.where(mask[:, None], probabilities, np.nan)

    @jax.jit
    def run(*given):
        got = calibration(*given, bins=4)
        return got.count, got.accuracy, got.mean_confidence, got.expected_error

    count, shares, mean_confidence, expected_error = map(np.asarray, run(poisoned, targets, mask))
    confidence, right = probabilities.max(-1)[mask], (probabilities.argmax(-1) == targets)[mask]
    error = 0.0
    for number in range(4):
        inside = (number / 4 < confidence) & (confidence <= (number + 1) / 4)
        assert count[number] == inside.sum()
        if inside.any():
            error += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
            np.testing.assert_allclose(shares[number], right[inside].mean(), rtol=1e-5)
            np.testing.assert_allclose(
                mean_confidence[number], confidence[inside].mean(), rtol=1e-5
            )
        else:
            assert shares[number] == mean_confidence[number] == 0
    np.testing.assert_allclose(expected_error, error, rtol=1e-5)


def test_the_ends_of_the_bins():
    """Full confidence belongs to the last bin, and an edge to the bin below it."""
    sure = jnp.array([[1.0, 0.0], [0.5, 0.5]])
    got = calibration(sure, jnp.array([0, 0]), bins=2)
    np.testing.assert_array_equal(got.count, [1, 1])
    assert got.expected_error == 0.25


def test_batches_and_devices_add_up(drawn):
    arrays = [x[:4] for x in drawn]

    @jax.jit
    def sums(predictions, targets, mask):
        probabilities = jax.nn.one_hot(predictions, CLASSES)
        return (
            accuracy(predictions, targets, mask),
            confusion_matrix(predictions, targets, mask, classes=CLASSES),
            calibration(probabilities, targets, mask),
        )

    whole = sums(*arrays)
    halves = [sums(*(x[part] for x in arrays)) for part in (slice(0, 1), slice(1, 4))]
    chex.assert_trees_all_close(add(*halves), whole)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    split = jax.shard_map(
        lambda *xs: jax.lax.psum(sums(*xs), "data"),
        mesh=mesh, in_specs=jax.P("data"), out_specs=jax.P(),
    )  # fmt: skip
    chex.assert_trees_all_close(jax.jit(split)(*arrays), whole)


def test_nothing_counted():
    nothing = accuracy(jnp.array([1]), jnp.array([1]), jnp.array([False]))
    assert jnp.isnan(nothing.value)
    assert confusion_matrix(jnp.zeros(0, int), jnp.zeros(0, int), classes=2).macro_f1 == 0
    assert float(Mean(np.float64(3), 2).value) == 1.5


def test_shapes_must_be_the_same():
    with pytest.raises(ValueError, match=r"accuracy: .*predictions \(2, 1\), targets \(2,\)"):
        accuracy(jnp.zeros((2, 1), int), jnp.zeros(2, int))
