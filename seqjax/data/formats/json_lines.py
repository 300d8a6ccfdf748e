"""JSON Lines: one object per line."""

import contextlib
import dataclasses
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.column_choice import describe_columns, first_rows
from seqjax.data.formats.description import Description, listed
from seqjax.data.formats.fields import FIND, Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import future_rows, is_list_of, last_row, plain
from seqjax.data.formats.table_rows import Line, to_examples
from seqjax.data.formats.tag_columns import found_columns, tag_choices

WHAT = "a file with a JSON object in every line"


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The examples of a JSON Lines file.

    An object is an example: its text, its list of tokens, or its numbers: a list with a number or
    a list of channels per step, one list per channel, or single numbers. Or it is one time step of
    a series, see `Fields`.

    Args:
      path: of the file.
      fields: the roles of the keys.
      malformed: collects malformed lines.

    Raises:
      InputError: if it is not a JSON Lines file, a required key is missing, or a line is malformed
        and may not be skipped.
    """
    fields = _found(path, fields)
    lines = _objects(path, fields, malformed)
    first = first_rows(lines, lambda line: line.row)
    if first:
        resolved = describe_columns(path, fields, [line.row for line in first]).fields
        lines = _with_keys(itertools.chain(first, lines), resolved, malformed)
        yield from to_examples(lines, resolved, malformed)
    elif not malformed.count:
        raise InputError(f"{path} has only blank lines; expected {WHAT}.")


def describe(path: str | Path, fields: Fields) -> Description:
    """How a JSON Lines file is read, from its first well-formed objects."""
    asked, fields = fields, _found(path, fields)
    lines = _objects(path, fields, Malformed(skip=True))
    rows = [line.row for line in first_rows(lines, lambda line: line.row)]
    found = describe_columns(path, fields, rows) if rows else Description(path, fields)
    choices = (*tag_choices(asked, fields), *found.choices)
    return dataclasses.replace(found, choices=choices)


def _found(path: str | Path, fields: Fields) -> Fields:
    """The fields with keys that are to be found in the first object."""
    if FIND not in (fields.tokens, fields.tag):
        return fields
    every = _objects(path, Fields(), Malformed(skip=True))
    return found_columns(path, fields, next((line.row for line in every), {}))


def _objects(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Line]:
    for number, text in lines_of(path, WHAT):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            check_text(text)
            row = _parse(text, fields.missing)
            _check_keys(row, fields)
        except FlawError as flaw:
            malformed.report(where, str(flaw))
        else:
            yield Line(where, row, row)


def _with_keys(lines: Iterable[Line], fields: Fields, malformed: Malformed) -> Iterator[Line]:
    """The lines that also have the keys of `values`, which the first ones determined."""
    for line in lines:
        try:
            _check_keys(line.row, fields)
        except FlawError as flaw:
            malformed.report(line.where, str(flaw))
        else:
            yield line


def _check_keys(row: Mapping[str, Any], fields: Fields) -> None:
    for name in fields.named:
        if name not in row:
            raise FlawError(f"expected the key {name!r}, got {listed(row) or 'no key at all'}")


def _parse(text: str, missing: bool) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise FlawError(f"expected each key once, got {twice!r} more than once")
        return found

    def constant(name: str) -> Any:
        if missing and name == "NaN":
            return None
        raise FlawError(f"expected a finite number, got {name}")

    try:
        found = json.loads(text.rstrip(), object_pairs_hook=once, parse_constant=constant)
    except json.JSONDecodeError as error:
        raise FlawError(f"expected JSON, but at character {error.pos + 1}: {error.msg}") from None
    except (RecursionError, ValueError) as error:
        raise FlawError(f"expected JSON, but {error}") from None
    if not isinstance(found, dict):
        raise FlawError(f"expected an object in braces, got {text.strip()[:60]}")
    return found


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["JsonWriter"]:
    """Writes the objects of a JSON Lines file with additional keys for the predictions."""
    with whole_file(path) as file:
        yield JsonWriter(file, fields, like)


class JsonWriter:
    """See `writer`."""

    def __init__(self, file: TextIOBase, fields: Fields, like: str | Path):
        self._file, self._fields, self._like = file, fields, like

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the object of an example, or the objects of its steps.

        Args:
          example: from `read`.
          prediction: a value for each new key; for a series one for all of its objects, or a list
            with one per object.
        """
        if not self._fields.by_step:
            self._put(example.raw, prediction)
            return
        for i, row in enumerate(example.raw):
            if row is not None:
                steps = len(example.raw)
                self._put(row, {name: _at(v, i, steps) for name, v in prediction.items()})

    def extend(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the steps after a series, and not the series itself.

        Args:
          example: from `read`, with one time step per line.
          prediction: lists, each with a value per future step.
        """
        steps = max(len(values) for values in prediction.values())
        for i, row in enumerate(
            future_rows(last_row(example.raw), example.times, steps, self._fields)
        ):
            self._put(row, {name: _at(v, i, steps) for name, v in prediction.items()})

    def _put(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> None:
        taken = sorted(row.keys() & prediction.keys())
        if taken:
            raise InputError(
                f"{self._like} has {taken[0]!r} already, the name of a key to be added. Rename or "
                "remove it."
            )
        added = {name: plain(value) for name, value in prediction.items()}
        self._file.write(json.dumps({**row, **added}, ensure_ascii=False) + "\n")


def _at(value: Any, step: int, steps: int) -> Any:
    return value[step] if is_list_of(value, steps) else value


JSON_LINES = Format("JSON Lines", (".jsonl", ".ndjson", ".jsonlines"), read, writer, describe)
"""One JSON object per line."""
