"""Examples in pieces: inputs in the lines of some files, their targets in those of others."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of
from seqjax.data.formats.npy import load_array
from seqjax.data.formats.values import numbers_in, value_of
from seqjax.train.commands import Log
from seqjax.train.example_files import Data

Pair = Callable[[Sequence[Any], str], tuple[Any, Any]]
"""Input and target from the lines of the input, one for each channel, and that of the target."""


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Parallel text files: the targets of text files in --train, line by line."""

    train_targets: tuple[Path, ...] = ()
    """The targets (translations, labels, tags) of the lines in --train, as many files; or one file
    for all, which are the channels of the same series then."""
    validation_targets: tuple[Path, ...] = ()
    """The targets of the lines in --validation."""
    test_targets: tuple[Path, ...] = ()
    """The targets of the lines in --test."""


def parallel(config: Any, pair: Pair, log: Log) -> Data | None:
    """The user's text files with their targets beside them; None if there are none.

    Args:
      config: the options, with `files` and `parallel`.
      pair: makes an example of lines.
      log: where lines for the user go.

    Raises:
      InputError: if files or their lines do not go in pairs.
    """
    targets, files = config.parallel, config.files
    if not (targets.train_targets or targets.validation_targets or targets.test_targets):
        return None
    if not files.train:
        raise InputError("--train-targets goes with --train: name the files of the inputs.")
    parts = [
        pairs(name, inputs, found, pair, log)
        for name, inputs, found in (
            ("train", files.train, targets.train_targets),
            ("validation", files.validation, targets.validation_targets),
            ("test", files.test, targets.test_targets),
        )
    ]
    name = ", ".join(map(str, files.train))
    return Data(name, parts[0], parts[1] or None, parts[2])


def pairs(
    name: str, inputs: Sequence[Path], targets: Sequence[Path], pair: Pair, log: Log
) -> list[Example]:
    """The lines of text files with those of others as their targets.

    Where a line is blank on either side, the pair is left out and counted.

    Args:
      name: of the option that names the inputs.
      inputs: text files, whatever they are called.
      targets: as many; or one, for several files of channels.
      pair: makes an example of lines.
      log: where lines for the user go.

    Raises:
      InputError: if the files or their lines do not go in pairs, or none is left.
    """
    if len(targets) == 1:
        together = [tuple(inputs)]
    elif len(inputs) == len(targets):
        together = [(path,) for path in inputs]
    else:
        raise InputError(
            f"--{name} names {len(inputs)} files and there are {len(targets)} of targets: give one "
            "for each, or one for all if they are the channels of the same series."
        )
    found, blank = [], 0
    for paths, target in zip(together, targets, strict=True):
        columns, written = [list(_lines(path)) for path in paths], list(_lines(target))
        for path, column in zip(paths, columns, strict=True):
            if len(column) != len(written):
                raise InputError(
                    f"{path} has {len(column):,} lines and {target} {len(written):,}: line by "
                    "line, one must be the target of the other."
                )
        for number, (*lines, other) in enumerate(zip(*columns, written, strict=True), 1):
            if any(isinstance(one, str) and not one for one in (*lines, other)):
                blank += 1
                continue
            where = f"{paths[0]}, line {number}"
            try:
                found.append(Example(*pair(lines, other), where))
            except FlawError as flaw:
                raise InputError(f"{where}: {flaw}") from None
    if inputs and not found:
        raise InputError(f"--{name}: no pair of lines has a text on both sides.")
    if blank:
        log(f"{name}: {blank:,} pairs with a blank line were left out.")
    return found


def one_text(lines: Sequence[Any]) -> str:
    """The text of a line.

    Raises:
      FlawError: if there are several, as of channels.
    """
    if len(lines) > 1:
        raise FlawError(f"expected one file of texts for one of targets, got {len(lines)}")
    if not isinstance(lines[0], str):
        raise FlawError("expected a text, got a row of numbers (--text is for texts)")
    return lines[0]


def series_of(lines: Sequence[Any], fields: Fields) -> np.ndarray:
    """A series `(time, channels)` of lines of numbers, with spaces or commas between them, or of
    the row of an array; NaN where a value is missing.

    Args:
      lines: one for each channel, or a row with all.
      fields: `missing` and `missing_names` are used.

    Raises:
      FlawError: if a line holds something else, or the channels differ in length.

    Example:
      >>> from seqjax.data.formats import Fields
      >>> from seqjax.train.paired_files import series_of
      >>> series_of(["1 2.5", "3, NA"], Fields(missing=True)).tolist()
      [[1.0, 3.0], [2.5, nan]]
    """
    if not isinstance(lines[0], str):
        if len(lines) > 1:
            raise FlawError("expected one array of series for one of targets, (n, time, channels)")
        series = np.array(lines[0], np.float64)
        series[np.isin(series, list(numbers_in(fields.missing_names)))] = np.nan
        return series if series.ndim == 2 else series[:, None]
    for line in lines:
        parts = line.split()
        if len(parts) > 1 and any("," in part.rstrip(",") for part in parts):
            raise FlawError(
                f"expected commas or spaces between numbers, got both in {line.strip()[:40]!r}; "
                "write decimals with a point"
            )
    channels = [line.replace(",", " ").split() for line in lines]
    lengths = [len(channel) for channel in channels]
    if len(set(lengths)) > 1:
        raise FlawError(f"expected channels that are equally long, got the lengths {lengths}")
    return np.array(
        [
            [value_of(value, f"channel {number}", fields) for value in channel]
            for number, channel in enumerate(channels, 1)
        ]
    ).T


def _lines(path: Path) -> Iterator[Any]:
    """The lines of a text file; the rows of an array, single values as texts."""
    if path.suffix == ".npy":
        array = load_array(path)
        yield from (map(str, array.ravel().tolist()) if array.size == len(array) else array)
        return
    for number, line in lines_of(path, "a text file"):
        try:
            check_text(line)
        except FlawError as flaw:
            raise InputError(f"{path}, line {number}: {flaw}") from None
        yield line.strip()
