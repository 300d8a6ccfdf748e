"""What the columns of a table hold, and which of them are the values that nobody named."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.formats.description import Choice, Column, Description, Kind
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.time_formats import NUMBER, find_time_format
from seqjax.data.formats.values import Row, flag_of, is_missing, is_number

FIRST_ROWS = 500
"""Number of rows at most that tell what the columns of a table hold."""

FIRST_CELLS = 200_000
"""Number of cells at most in these rows."""

INDEX_NAMES = re.compile(r"|#|index|idx|id|row|row_?(id|nr|number)|unnamed:? ?\d+", re.IGNORECASE)
"""Names of columns that number rows; pandas leaves the first or the last of them in files."""


def first_rows(rows: Iterable[Any], of: Any = lambda row: row) -> list[Any]:
    """The first rows, at most `FIRST_ROWS` and about `FIRST_CELLS`; `of(row)` is a mapping."""
    found, cells = [], 0
    for row in rows:
        found.append(row)
        cells += sum(len(cell) if isinstance(cell, list) else 1 for cell in of(row).values())
        if len(found) >= FIRST_ROWS or cells >= FIRST_CELLS:
            break
    return found


def describe_columns(path: str | Path, fields: Fields, rows: Sequence[Row]) -> Description:
    """How a table is read, from its first rows, whose numbers are in Python's notation.

    Raises:
      InputError: if values are needed, and no column has numbers.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    cells, signs = {name: [row.get(name) for row in rows] for name in names}, fields.missing_names
    kinds: dict[str, Kind] = {name: _kind(cells[name], signs) for name in names}
    fields = _rows_of_lists(fields, kinds)
    chosen = Description(path, fields, len(rows))
    notes: dict[str, str] = {}
    if fields.values is None and not any((fields.text, fields.tokens, fields.image, fields.audio)):
        others = [name for name in names if name and name not in fields.meant]
        values, notes = _values(path, fields, cells, kinds, others)
        why = "the columns of numbers" if len(values) > 1 else "the column of numbers"
        if any(kinds[name] == "lists" for name in values):
            why = why.replace("numbers", "lists")
        left_out = "; ".join(f"not {name!r}, {note}" for name, note in notes.items())
        choice = Choice("values", values, why + (f" ({left_out})" if left_out else ""))
        fields = dataclasses.replace(fields, values=values)
        chosen = Description(path, fields, len(rows), choices=(choice,))
    columns = tuple(
        Column(
            name,
            kinds[name],
            sum(is_missing(cell, signs) for cell in cells[name])
            if kinds[name] != "words" or name in (fields.values or ())
            # `NA`, `null` and `.` are words, too.
            else sum(cell in ("", None) for cell in cells[name]),
            _sample(cells[name], signs),
            notes.get(name, ""),
        )
        for name in names
    )
    turns = ("series whose rows come in turns, grouped",) if take_turns(rows, fields) else ()
    advice = _times(fields, columns) or _wide(fields, names)
    return dataclasses.replace(chosen, columns=columns, notation=turns, advice=advice)


def _times(fields: Fields, columns: Sequence[Column]) -> tuple[str, ...]:
    """A word on a column of times that is not named."""
    if not fields.by_step or fields.time is not None or fields.tokens is not None:
        return ()
    words = [column for column in columns if column.kind == "words" and column.sample]
    for column in words:
        found = find_time_format([column.sample])
        if found is not None and found.pattern != NUMBER:
            return (f"rows are taken as evenly spaced; --time {column.name!r} reads their times",)
    return ()


def _rows_of_lists(fields: Fields, kinds: dict[str, Kind]) -> Fields:
    """The fields of a table in which a row is a series, and not a step, as it holds lists."""
    values = fields.values or [name for name in kinds if name not in fields.meant]
    lists = any(kinds.get(name) == "lists" for name in values)
    return dataclasses.replace(fields, one_series=fields.one_series and not lists)


def _wide(fields: Fields, names: Sequence[str]) -> tuple[str, ...]:
    """A word on columns whose names are times."""
    if fields.by_step and len(steps_of(names)) > 2:
        return ("names of columns are times; --series-in-rows reads a series from every row",)
    return ()


def steps_of(names: Sequence[str]) -> list[str]:
    """The columns whose names are times, of a table with a series in every row."""
    last = find_time_format(names[-1:]) if names else None
    if last is None or last.pattern == NUMBER:
        return []
    found = [find_time_format([name]) for name in names]
    return [n for n, kind in zip(names, found, strict=True) if kind and kind.pattern != NUMBER]


def _sample(cells: Sequence[Any], signs: Sequence[str]) -> str:
    """The first cell with a value, shortened."""
    return str(next((cell for cell in cells if not is_missing(cell, signs)), ""))[:40]


def _kind(cells: Sequence[Any], signs: Sequence[str]) -> Kind:
    """What a column holds: its first cell with a value says so, if half agree, or nine of ten."""
    held = [cell for cell in cells if not is_missing(cell, signs)]
    if not held:
        return "nothing"
    if isinstance(held[0], list):
        return "lists"
    if all(flag_of(cell) is not None for cell in held):
        return "true or false"
    # A second line of names may come before the numbers.
    if sum(map(is_number, held)) >= (0.5 if is_number(held[0]) else 0.9) * len(held):
        return "numbers"
    return "words"


def _values(
    path: str | Path,
    fields: Fields,
    cells: dict[str, list[Any]],
    kinds: dict[str, Kind],
    others: Sequence[str],
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The columns of values, and why others with numbers are none."""
    lists = [name for name in others if kinds[name] == "lists"]
    if lists:
        return tuple(lists), {}
    numbers = [name for name in others if kinds[name] == "numbers"]
    # A step with a word in it is none to be left out.
    steps = [] if fields.by_step else steps_of(others)
    if len(steps) > 2 and set(steps) & set(numbers):
        why = "whose name is no time, as those of the others"
        return tuple(steps), {name: why for name in numbers if name not in steps}
    if not numbers:
        seen = ", ".join(
            f"{name!r} ({_sample(column, fields.missing_names)!r})"
            for name, column in list(cells.items())[:12]
        )
        raise InputError(
            f"{path}: no column holds numbers, besides those that mean something else; the "
            f"columns begin with {seen}. Name the one that holds the text or the numbers."
        )
    series = None if fields.series is None else cells.get(fields.series)
    notes = {}
    for name in numbers:
        if fields.by_step or name == numbers[0] or INDEX_NAMES.fullmatch(name.strip()):
            note = _note(name, cells[name], series, fields.by_step)
            if note:
                notes[name] = note
    if fields.missing and not fields.by_step:
        # Steps that no series of the first rows is long enough to have.
        after = others[others.index(numbers[0]) :]
        empty = [n for n in after if kinds[n] == "nothing" and not INDEX_NAMES.fullmatch(n.strip())]
        numbers = [name for name in after if name in numbers or name in empty]
    kept = tuple(name for name in numbers if name not in notes)
    # A table of nothing but a count or a constant holds what is meant.
    return (kept, notes) if kept else (tuple(numbers), {})


def _note(name: str, cells: list[Any], series: list[Any] | None, by_step: bool) -> str:
    """Why a column of numbers is probably none of the values; empty if it is one."""
    if INDEX_NAMES.fullmatch(name.strip()):
        return "an index by its name"
    numbers = [float(cell) if is_number(cell) else None for cell in cells]
    pairs = [(a, b) for a, b in pairwise(numbers)]
    steps = [b - a for a, b in pairs if a is not None and b is not None]
    if series is not None and set(steps) != {1.0}:
        within = [a == b for a, b in pairwise(series)]
        steps = [
            b - a
            for (a, b), one in zip(pairs, within, strict=True)
            if one and a is not None and b is not None
        ]
    first = next(number for number in numbers if number is not None)
    if len(steps) > 1 and set(steps) == {1.0} and first.is_integer():
        return "which counts rows"
    if by_step and len(steps) > 1 and set(steps) == {0.0}:
        return "which never varies"
    return ""


def take_turns(rows: Sequence[Row], fields: Fields) -> bool:
    """Whether the rows of several series come in turns, as in files sorted by time."""
    if fields.series is None or fields.tokens is not None:
        return False
    names = [row.get(fields.series) for row in rows]
    runs = [name for name, _ in groupby(names)]
    # One row of each series may also be the first of many turns.
    return len(set(runs)) < len(runs) or len(runs) == len(names) > 2
