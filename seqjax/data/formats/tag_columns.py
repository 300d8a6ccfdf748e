"""The columns of words, tags and sentences that nobody named."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from seqjax.core.errors import InputError
from seqjax.data.formats.description import Choice, listed
from seqjax.data.formats.fields import FIND, Fields
from seqjax.data.formats.values import Row

NAMES = {
    "tokens": ("tokens", "token", "words", "word", "form"),
    "tag": ("tags", "tag", "ner_tags", "ner", "labels", "label", "upos", "pos_tags", "pos"),
    "series": ("sentence #", "sentence_id", "sentence id", "sent_id", "sentence"),
}
"""Names by which a column is found, the likeliest first."""


def find_column(names: Iterable[str], role: Literal["tokens", "tag", "series"]) -> str | None:
    """The column of a role by its name; None if there is none."""
    by_name = {name.strip().lower(): name for name in names}
    return next((by_name[name] for name in NAMES[role] if name in by_name), None)


def found_columns(path: object, fields: Fields, names: Iterable[str]) -> Fields:
    """The fields with tokens and tags that are to be found.

    Numbers are tagged step by step where there is no column of words, or where values are named.

    Raises:
      InputError: if there is no such column.
    """
    names = list(names)
    found = {}
    if fields.tokens == FIND:
        tokens = None if fields.values else find_column(names, "tokens")
        if tokens is None and not fields.by_step and not fields.values:
            raise _missing(path, "--tokens", "tokens", names)
        found["tokens"] = tokens
    if fields.tag == FIND:
        found["tag"] = find_column(names, "tag")
        if found["tag"] is None:
            raise _missing(path, "--tag", "tag", names)
    return fields.with_roles(**found)


def with_sentences(fields: Fields, rows: Sequence[Row]) -> Fields:
    """The fields of a table with one word per row and a column that numbers sentences.

    That column is empty, or the same, in the rows of a sentence after its first.
    """
    if fields.tokens is None or fields.tag is None or fields.by_step or len(rows) < 2:
        return fields
    series = find_column(rows[0], "series")
    if series is None or series in fields.meant:
        return fields
    if any(isinstance(row.get(fields.tokens), list) for row in rows):
        return fields
    names = [row.get(series) for row in rows]
    continued = any(after in ("", None, before) for before, after in pairwise(names))
    return fields.with_roles(series=series) if continued else fields


def tag_choices(asked: Fields, found: Fields) -> tuple[Choice, ...]:
    """The column of tags and that of sentences, where they were to be found."""
    choices = []
    if asked.tag == FIND and found.tag is not None:
        why = "spans of characters, as tags of words" if found.spans else "by its name"
        choices.append(Choice("tags", (found.tag,), why))
    if asked.series is None and found.series is not None:
        choices.append(Choice("sentences", (found.series,), "which has a row for each word"))
    return tuple(choices)


def _missing(path: object, option: str, role: str, names: list[str]) -> InputError:
    return InputError(
        f"{path}: {option} must name a column; none is called {' or '.join(NAMES[role][:2])}; "
        f"the columns are {listed(names)}."
    )
