"""Examples from the rows of a table, CSV or JSON."""

import itertools
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.examples import Example, Malformed, MalformedError, Stored
from seqjax.data.formats.audio import audio_of, sound_at
from seqjax.data.formats.base import stored
from seqjax.data.formats.column_choice import first_rows, take_turns
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text
from seqjax.data.formats.images import image_at, image_of
from seqjax.data.formats.values import (
    Row,
    channels_of,
    label_of,
    matrix_of,
    tag_of,
    target_of,
    words_of,
)

REMEMBERED = 100_000
"""Number of series names that are kept, to detect a series whose rows are not contiguous."""


class Line(NamedTuple):
    """A row: file and line, its values by column, and whatever its writer needs."""

    where: str
    row: Row
    raw: Any


def to_examples(lines: Iterable[Line], fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """Examples from rows: one per row, or one per series.

    Args:
      lines: the rows.
      fields: the roles of the columns, with `values` filled in.
      malformed: collects malformed rows.
    """
    if fields.by_step:
        yield from _from_steps(lines, fields, malformed)
        return
    channels = None
    for where, row, raw in lines:
        try:
            inputs = inputs_of(row, fields, where)
            if fields.tag is not None and isinstance(inputs, Stored):
                # The tags of a clip are one a frame.
                inputs = inputs.read()
            stepwise = fields.tokens is not None or fields.image is not None
            tokens = len(inputs) if stepwise and not isinstance(inputs, Stored) else None
            target = target_of(row, fields, tokens)
            if isinstance(inputs, np.ndarray) and fields.image is None and fields.audio is None:
                channels = channels or inputs.shape[1]
                if inputs.shape[1] != channels:
                    raise FlawError(
                        f"expected {channels} channels, as in the first row, got {inputs.shape[1]}"
                    )
        except (FlawError, MalformedError) as flaw:
            malformed.report(where, str(flaw))
        else:
            yield Example(inputs, target, where, raw)


def inputs_of(row: Row, fields: Fields, where: str) -> Any:
    """The text, the tokens, the image, the sound or the numbers of a row."""
    folder = Path(where.rpartition(", line ")[0]).parent
    if fields.image is not None:
        value, name = row[fields.image], fields.image
        read = partial(image_of, value, name, folder, fields.image_size)
        if not isinstance(value, str):
            return read()
        return stored(where, image_at(value, name, folder), read)
    if fields.audio is not None:
        value = row[fields.audio.column]
        read = partial(audio_of, value, fields.audio, folder)
        return stored(where, sound_at(value, fields.audio, folder), read)
    if fields.tokens is not None:
        tokens = words_of(row[fields.tokens], fields.tokens)
        for token in tokens:
            check_text(token)
        return tokens
    if fields.text is not None:
        text = row[fields.text]
        if not isinstance(text, str):
            raise FlawError(f"{fields.text!r}: expected a text, got {text!r}"[:200])
        check_text(text)
        if not text.strip():
            raise FlawError(f"{fields.text!r}: expected a text, got an empty one")
        return text
    return matrix_of(row, fields.values or (), fields)


class _Series:
    """Accumulates the steps of a series."""

    def __init__(self, key: Any, where: str):
        self.key, self.where = key, where
        self.steps: list[Any] = []
        self.tags: list[str] = []
        self.raw: list[Any] = []
        self.target: Any = None
        self.times: list[Any] = []

    def add(self, line: Line, fields: Fields) -> None:
        row, raw = line.row, line.raw
        step = _step(row, fields)
        target = target_of(row, fields, None)
        if self.raw and target != self.target:
            name = fields.label or fields.number
            raise FlawError(
                f"{name!r}: expected {self.target!r} throughout the series, as in its first row, "
                f"got {target!r}"
            )
        if fields.tag is not None:
            tag = label_of(row.get(fields.tag), fields.tag, None)
            if tag is None and fields.require_target:
                raise FlawError(f"{fields.tag!r}: expected a tag, got nothing")
            self.tags += [] if tag is None else [tag_of(tag, fields.tag, fields.tag_names)]
        self.steps.append(step)
        self.raw.append(raw)
        self.target = target
        if fields.time is not None:
            self.times.append(row[fields.time])

    def forget(self) -> None:
        """Drops the steps, of which an example was made."""
        self.steps, self.tags, self.raw, self.times = [], [], [], []

    def example(self, fields: Fields) -> Example:
        target = self.target
        if fields.tag is not None:
            target = tuple(self.tags) if len(self.tags) == len(self.steps) else None
        inputs = tuple(self.steps) if fields.tokens is not None else np.array(self.steps)
        return Example(inputs, target, self.where, tuple(self.raw), tuple(self.times))


def _step(row: Row, fields: Fields) -> Any:
    """The word of a row, or its numbers."""
    if fields.tokens is not None:
        word = label_of(row[fields.tokens], fields.tokens, None)
        if word is None:
            raise FlawError(f"{fields.tokens!r}: expected a word, got nothing")
        check_text(word)
        return word
    return channels_of(row, fields)


def _from_steps(lines: Iterable[Line], fields: Fields, malformed: Malformed) -> Iterator[Example]:
    lines = iter(lines)
    first = first_rows(lines, lambda line: line.row)
    turns = take_turns([line.row for line in first], fields)
    series: _Series | None = None
    every: dict[Any, _Series] = {}
    for line in itertools.chain(first, lines):
        try:
            key = _key_of(line.row, fields, series)
            if series is None or key != series.key:
                if key in every and not turns:
                    raise FlawError(
                        f"{fields.series!r}: expected the rows of a series together, got one more "
                        f"of {key!r} after those of {series and series.key!r} (sort the file by "
                        "series)"
                    )
                if series is not None and series.raw and not turns:
                    yield series.example(fields)
                    series.forget()
                series = every.get(key) or _Series(key, line.where)
                if turns or len(every) < REMEMBERED:
                    every[key] = series
            series.add(line, fields)
        except FlawError as flaw:
            malformed.report(line.where, str(flaw))
    if turns:
        yield from (one.example(fields) for one in every.values() if one.raw)
    elif series is not None and series.raw:
        yield series.example(fields)


def _key_of(row: Row, fields: Fields, series: _Series | None) -> str | None:
    """The name of the series of a row; that of a sentence may stand in its first row alone."""
    if fields.series is None:
        return None
    if fields.tokens is not None and series is not None and row[fields.series] in ("", None):
        return series.key
    return _key(row[fields.series], fields.series)


def _key(value: Any, name: str) -> str:
    key = label_of(value, name, None)
    if not isinstance(key, str):
        raise FlawError(f"{name!r}: expected the name of a series, got nothing")
    return key
