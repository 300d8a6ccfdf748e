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
from seqjax.data.formats.joined_columns import joined_columns, with_joined
from seqjax.data.formats.predictions import future_rows, is_list_of, last_row, plain
from seqjax.data.formats.table_rows import Line, to_examples
from seqjax.data.formats.tag_columns import found_columns, tag_choices, with_sentences
from seqjax.data.formats.text_spans import (
    find_text_spans,
    spans_of,
    spans_of_tags,
    tags_of_spans,
    tokens_of,
    value_at,
)

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
    fields = with_sentences(fields, [line.row for line in first])
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
    fields = with_sentences(fields, rows)
    found = describe_columns(path, fields, rows) if rows else Description(path, fields)
    choices = (*tag_choices(asked, fields), *found.choices)
    return dataclasses.replace(found, choices=choices)


def is_json(path: str | Path) -> bool:
    """Whether the first line of a text file is a JSON object."""
    _, first = next(lines_of(path, "a text or a table"))
    if not first.lstrip().startswith('{"'):
        return False
    try:
        return isinstance(json.loads(first), dict)
    except ValueError:
        return False


def _found(path: str | Path, fields: Fields) -> Fields:
    """The fields with keys that are to be found in the first object."""
    if FIND not in (fields.tokens, fields.tag):
        return fields
    every = _objects(path, Fields(), Malformed(skip=True))
    row = next((line.row for line in every), {})
    found = find_text_spans(row, fields.tag or None) if fields.tokens == FIND else None
    if found is not None:
        return dataclasses.replace(fields, tokens=found[0], tag=found[1], spans=True)
    return found_columns(path, fields, row)


def _objects(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Line]:
    for where, text in _texts(path):
        try:
            check_text(text)
            raw = _parse(text, fields.missing)
            row = with_inner(raw, fields)
            row = with_joined(row, joined_columns(fields, row))
            _check_keys(row, fields)
            if fields.spans:
                row = with_tags(row, fields)
        except FlawError as flaw:
            malformed.report(where, str(flaw))
        else:
            yield Line(where, row, raw)


def _with_keys(lines: Iterable[Line], fields: Fields, malformed: Malformed) -> Iterator[Line]:
    """The lines that also have the keys of `values`, which the first ones determined."""
    for line in lines:
        try:
            _check_keys(line.row, fields)
        except FlawError as flaw:
            malformed.report(line.where, str(flaw))
        else:
            yield line


def _texts(path: str | Path) -> Iterator[tuple[str, str]]:
    """Where each object of a file stands, and its text; a file may also be one list of objects."""
    begun = False
    for number, text in lines_of(path, WHAT):
        if not begun and text.lstrip().startswith("["):
            yield from _items(path)
            return
        if text.strip():
            begun = True
            yield f"{path}, line {number}", text


def _items(path: str | Path) -> Iterator[tuple[str, str]]:
    """The items of a file that is one list; it is held as a whole."""
    try:
        items = json.loads("".join(text for _, text in lines_of(path, WHAT)))
    except (RecursionError, ValueError) as error:
        raise InputError(f"{path}: expected a list of objects in JSON, but {error}.") from None
    for number, item in enumerate(items, 1):
        if isinstance(item, list) and len(item) == 2 and isinstance(item[1], dict):
            # As spaCy has its training data.
            item = {"text": item[0], **item[1]}
        yield f"{path}, item {number}", json.dumps(item, ensure_ascii=False)


def with_tags(row: Mapping[str, Any], fields: Fields) -> Mapping[str, Any]:
    """An object with the tokens of its text, and tags for its spans of characters."""
    text, tag = row[fields.tokens or ""], fields.tag or ""
    if not isinstance(text, str):
        raise FlawError(f"{fields.tokens!r}: expected a text, got {text!r}"[:200])
    found: dict[str, Any] = {fields.tokens or "": [token.text for token in tokens_of(text)]}
    if row.get(tag) is not None:
        found[tag] = tags_of_spans(text, spans_of(row[tag], tag))
    return {**row, **found}


def with_inner(row: Mapping[str, Any], fields: Fields) -> Mapping[str, Any]:
    """An object with the keys of objects inside it that are asked for (`translation.en`)."""
    inner = [n for n in (*fields.meant, *(fields.values or ())) if n not in row and "." in n]
    found = {name: value for name in inner if (value := value_at(row, name)) is not None}
    return {**row, **found} if found else row


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
            self._put(example.raw, self._with_spans(example.raw, prediction))
            return
        for i, row in enumerate(example.raw):
            if row is not None:
                steps = len(example.raw)
                self._put(row, {name: _at(v, i, steps) for name, v in prediction.items()})

    def _with_spans(self, row: Mapping[str, Any], prediction: Mapping[str, Any]) -> dict[str, Any]:
        """Tags as spans of characters, each as probable as its least probable token."""
        if not self._fields.spans:
            return dict(prediction)
        text = value_at(row, self._fields.tokens or "")
        spans = spans_of_tags(text, prediction["prediction"])
        found = {"prediction": spans}
        if "probability" in prediction:
            tokens = list(zip(tokens_of(text), prediction["probability"], strict=True))
            found["probability"] = [
                min(p for token, p in tokens if start <= token.start < stop)
                for start, stop, _ in spans
            ]
        return found

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


JSON_LINES = Format(
    "JSON Lines", (".jsonl", ".ndjson", ".jsonlines", ".json"), read, writer, describe
)
"""One JSON object per line; or, to read, a list of objects."""
