"""Windows of series on any level, and what is missing in them."""

import numpy as np
import pytest

from seqjax.data.examples import Example
from seqjax.data.windows import Series, Windows, cut
from seqjax.train.scaling import Standardizer


def series(values):
    values = np.asarray(values, np.float64)[:, None]
    none = np.zeros((len(values), 0))
    return Series("a", values, none, np.ones(1), none)


@pytest.mark.parametrize(("level", "size"), [(1e7, 100.0), (1e6, 10.0), (1e11, 1e-2), (0, 1e-30)])
def test_windows_are_those_of_the_same_series_around_zero(level, size):
    shape = np.sin(np.arange(60) / 3)
    window = cut(series(level + size * shape), 50, 40, 8)
    wanted = cut(series(shape), 50, 40, 8)
    # What float64 resolves of the level.
    error = max(1e-6, 1e-15 * level / size)
    for part in ("history", "future"):
        assert window[part].dtype == np.float32
        np.testing.assert_allclose(window[part], wanted[part], atol=error)
    restored = window["future"] * window["scale"] + window["location"]
    np.testing.assert_allclose(restored[:, 0], level + size * shape[50:58], rtol=1e-6)


def test_missing_and_constant_histories():
    values = np.full(20, 3.7)
    values[2] = np.nan
    window = cut(series(values), 10, 10, 4)
    np.testing.assert_allclose(window["history"][3:], 0, atol=1e-6)
    assert np.isnan(window["history"][2]).all() and window["scale"] == 1
    empty = cut(series(np.full(20, np.nan)), 10, 10, 4)
    assert empty["location"] == 0 and np.isnan(empty["history"]).all()


def test_the_digest_of_a_series_is_in_float32():
    (whole, _) = Windows([series(range(20))], history=4, horizon=2, first=[4], last=[20]).whole
    assert {value.dtype for value in whole.values()} == {np.dtype(np.float32)}


def test_times_as_a_channel_keep_their_differences():
    """Seconds since 1970, a minute apart: float32 has one number for two of them."""
    times = 1.6e9 + 60 * np.arange(100.0)
    example = Example(np.stack([times, np.full(100, 1e8 / 3)], axis=1), None)
    encoded = Standardizer.of([example]).encode(example)
    steps = np.diff(encoded[:, 0])
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-4)
    np.testing.assert_allclose(encoded[:, 1], 0, atol=1e-6)


def test_what_is_missing_is_shown():
    values = np.array([[1.0, 5.0], [np.nan, 6.0], [3.0, 7.0]])
    standardizer = Standardizer.of([Example(values, None)])
    encoded = standardizer.encode(Example(values, None))
    assert standardizer.features == encoded.shape[1] == 3
    np.testing.assert_array_equal(encoded[:, 2], [0, 1, 0])
    np.testing.assert_allclose(encoded[:, 0], [-1, 0, 1])
    assert Standardizer.restore(standardizer.saved()) == standardizer
    # As saved before there were masks.
    whole = Standardizer.of([Example(values[:, 1:], None)])
    assert set(whole.saved()) == {"location", "scale"} and whole.features == 1
