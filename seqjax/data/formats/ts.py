"""The `.ts` format of the UCR and UEA archives of time series classification."""

import contextlib
import dataclasses
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.description import listed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import cell_text
from seqjax.data.formats.time_grid import grid_of
from seqjax.data.formats.values import LARGEST, number_of, value_of

WHAT = "a .ts file"
MISSING = "?"
STAMPED = re.compile(r"\(([^()]*),([^(),]*)\)")
"""A time and a value."""
FLAGS = ("timestamps", "missing", "univariate", "equallength", "targetlabel")
KNOWN = (*FLAGS, "problemname", "dimensions", "dimension", "serieslength", "classlabel")


@dataclasses.dataclass(frozen=True)
class Header:
    """The header, lines that begin with an `@`."""

    labels: tuple[str, ...] | None = None
    targets: bool = False
    channels: int | None = None
    length: int | None = None
    stamps: bool = False

    @property
    def last(self) -> bool:
        """Whether a line ends with the target."""
        return self.labels is not None or self.targets


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The series of a `.ts` file, `(time, channels)`, with their class or their target number.

    Channels are separated by colons, steps by commas, and the class comes last. `?` is a missing
    value, NaN. With `@timeStamps true` a step is `(time,value)`; steps without a row in between are
    missing values.

    Args:
      path: of the file.
      fields: only `require_target` is used: whether the class may be `?` or missing.
      malformed: collects malformed series.

    Raises:
      InputError: if it is not a `.ts` file, its header is malformed, it has no series, or one is
        malformed and may not be skipped.
    """
    lines = lines_of(path, WHAT)
    header = _header(path, lines)
    found = False
    for number, line in lines:
        content = line.strip()
        if not content or content.startswith("#"):
            continue
        found, where = True, f"{path}, line {number}"
        try:
            check_text(content)
            inputs, target = _series(content, header, fields)
            if header.channels is None:
                header = dataclasses.replace(header, channels=inputs.shape[1])
        except FlawError as flaw:
            malformed.report(where, str(flaw))
        else:
            yield Example(inputs, target, where, content)
    if not found:
        raise InputError(f"{path} has no series below @data; expected {WHAT}.")


def _header(path: str | Path, lines: Iterator[tuple[int, str]]) -> Header:
    found: dict[str, list[str]] = {}
    for number, line in lines:
        content = line.strip()
        where = f"{path}, line {number}"
        try:
            check_text(content)
        except FlawError as flaw:
            raise InputError(f"{where}: {flaw}") from None
        if not content or content.startswith("#"):
            continue
        if not content.startswith("@"):
            raise InputError(f"{where}: expected a line with @ before @data, got {content[:60]!r}.")
        name, *words = content[1:].split()
        name = name.lower()
        if name == "data":
            return _described(found, where)
        if name not in KNOWN:
            raise InputError(f"{where}: there is no @{name} in {WHAT}.")
        if name in found:
            raise InputError(f"{where}: @{name} stands there twice.")
        if name in FLAGS and (not words or words[0].lower() not in ("true", "false")):
            raise InputError(f"{where}: expected true or false after @{name}, got {words}.")
        if name in ("dimensions", "dimension", "serieslength") and not (
            words and words[0].isdigit() and int(words[0]) > 0
        ):
            raise InputError(f"{where}: expected a number above 0 after @{name}, got {words}.")
        found[name] = words
    raise InputError(f"{path} has no line @data; expected {WHAT}.")


def _described(found: dict[str, list[str]], where: str) -> Header:
    def flag(name: str) -> bool:
        return found.get(name, ["false"])[0].lower() == "true"

    labels = found.get("classlabel", ["false"])
    if not labels or labels[0].lower() not in ("true", "false"):
        raise InputError(f"{where}: expected true or false after @classLabel, got {labels}.")
    classes = tuple(labels[1:]) if labels[0].lower() == "true" else None
    if classes == ():
        raise InputError(f"{where}: expected the classes after @classLabel true, got none.")
    channels = found.get("dimensions", found.get("dimension", [None]))[0]
    length = found.get("serieslength", [None])[0]
    return Header(
        classes,
        flag("targetlabel"),
        1 if flag("univariate") else None if channels is None else int(channels),
        int(length) if length is not None and flag("equallength") else None,
        flag("timestamps"),
    )


def _series(content: str, header: Header, fields: Fields) -> tuple[np.ndarray, Any]:
    # Times of day have colons too, in parentheses.
    parts = re.split(r":(?![^(]*\))", content) if header.stamps else content.split(":")
    last = parts.pop().strip() if header.last else None
    if not parts:
        raise FlawError("expected a series and a class with a colon between them, got no colon")
    if header.channels is not None and len(parts) != header.channels:
        raise FlawError(f"expected {header.channels} channels, got {len(parts)}")
    if header.stamps:
        channels = _stamped(parts, fields)
    else:
        channels = [_channel(part, i, fields) for i, part in enumerate(parts, 1)]
    lengths = [len(channel) for channel in channels]
    if len(set(lengths)) > 1:
        raise FlawError(f"expected channels that are equally long, got the lengths {lengths}")
    if header.length is not None and lengths[0] != header.length:
        raise FlawError(f"expected {header.length} steps, got {lengths[0]}")
    return np.stack(channels, axis=1), _target(last, header, fields.require_target)


def _stamped(parts: list[str], fields: Fields) -> list[np.ndarray]:
    """Channels of `(time, value)` on a grid of times; NaN where a time has no value."""
    pairs = [STAMPED.findall(part) for part in parts]
    for number, (part, found) in enumerate(zip(parts, pairs, strict=True), 1):
        if not found or STAMPED.sub("", part).strip(", "):
            raise FlawError(
                f"channel {number}: expected (time,value),(time,value),..., got "
                f"{part.strip()[:40]!r}"
            )
    times = list(dict.fromkeys(time.strip() for found in pairs for time, _ in found))
    places = np.arange(len(times))
    grid = grid_of(times, "time stamps") if len(times) > 1 else None
    if grid is not None:
        _, order, in_order = grid
        places[order] = in_order
    by_time = dict(zip(times, places.tolist(), strict=True))
    channels = [np.full(int(places.max()) + 1, np.nan) for _ in pairs]
    for number, (channel, found) in enumerate(zip(channels, pairs, strict=True), 1):
        for time, cell in found:
            missing = cell.strip() == MISSING
            channel[by_time[time.strip()]] = (
                np.nan if missing else value_of(cell, f"channel {number}", fields)
            )
    return channels


def _channel(part: str, number: int, fields: Fields) -> np.ndarray:
    if not part.strip():
        raise FlawError(f"expected at least one step, got none in channel {number}")
    if "(" in part:
        raise FlawError(
            "expected values alone without @timeStamps true, got time stamps in parentheses"
        )
    try:
        values = np.array(part.split(","), np.float64)
        if (np.abs(values) <= LARGEST).all() and "_" not in part:
            return values
    except ValueError:
        pass
    return np.array(
        [
            np.nan if cell.strip() == MISSING else value_of(cell, f"channel {number}", fields)
            for cell in part.split(",")
        ]
    )


def _target(last: str | None, header: Header, require_target: bool) -> Any:
    if last is None or last in ("", MISSING):
        if require_target:
            raise FlawError(
                "expected a class at the end, got none"
                if header.last
                else "expected classes, but the header has neither @classLabel true nor "
                "@targetLabel true"
            )
        return None
    if header.labels is None:
        return number_of(last, "the target")
    if last not in header.labels:
        raise FlawError(f"expected one of the classes {listed(header.labels)}, got {last!r}")
    return last


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["TsWriter"]:
    """Writes the series with the predicted class instead of theirs."""
    head = []
    for _, line in lines_of(like, WHAT):
        if line.strip().lower() == "@data":
            break
        head.append(line.rstrip("\r\n"))
    header = _header(like, lines_of(like, WHAT))
    # The header lists the classes, and the predicted ones are known at the end only.
    with tempfile.TemporaryFile("w+", encoding="utf-8") as body, whole_file(path) as file:
        writer = TsWriter(body, header.last)
        yield writer
        for line in head:
            word = line.strip().split()[0].lower() if line.strip() else ""
            if word not in ("@classlabel", "@targetlabel"):
                file.write(line + "\n")
        if header.targets:
            file.write("@targetLabel true\n")
        else:
            labels = dict.fromkeys([*(header.labels or ()), *sorted(writer.labels)])
            file.write("@classLabel true " + " ".join(labels) + "\n")
        file.write("@data\n")
        body.seek(0)
        shutil.copyfileobj(body, file)


class TsWriter:
    """See `writer`."""

    def __init__(self, body: TextIOBase, last: bool):
        self._body, self._last = body, last
        self.labels: set[str] = set()

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes a series.

        Args:
          example: from `read`.
          prediction: `prediction` becomes its class, the rest a comment before it.
        """
        label = "_".join(cell_text(prediction["prediction"]).split())
        others = " ".join(
            f"{name}={cell_text(value)}"
            for name, value in prediction.items()
            if name != "prediction"
        )
        series = example.raw.rpartition(":")[0] if self._last else example.raw
        self.labels.add(label)
        self._body.write((f"# {others}\n" if others else "") + f"{series}:{label}\n")


TS = Format(".ts", (".ts",), read, writer)
"""The text format of sktime and the UCR and UEA archives."""
