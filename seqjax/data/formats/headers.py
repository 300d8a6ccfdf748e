"""Whether the first line of a table names its columns, and what unnamed columns hold."""

import dataclasses
import re
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.formats.description import Choice, listed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.joined_columns import joined_columns
from seqjax.data.formats.time_formats import is_time
from seqjax.data.formats.values import Row, is_missing, is_number

WITH_HEADER = (".csv", ".tsv", ".tab")
"""Suffixes of tables whose first line names the columns, unless it shows that it does not."""


def column_names(
    path: str | Path,
    cells: Sequence[str],
    fields: Fields,
    rows: Sequence[Sequence[str]] = (),
) -> tuple[list[str], bool]:
    """The names of the columns, and whether the first line of the table has them.

    It has none if `fields.columns` are other names, if it holds nothing but numbers and dates that
    do not count columns or nothing at all, if a word of it comes again in its column (`ham`) or a
    date stands above dates, or, in files whose suffix does not promise a header, if it lacks a
    column that is asked for. Columns are `column_1`, `column_2`, ... then, and so is one of several
    without a name.

    Args:
      path: of the table.
      cells: of its first line.
      fields: the roles of the columns.
      rows: the cells of the first lines.

    Raises:
      InputError: if `fields.columns` are more or fewer than there are.

    Example:
      >>> from seqjax.data.formats import Fields
      >>> from seqjax.data.formats.headers import column_names
      >>> column_names("a.tsv", ["1", "-0.5", "2.25"], Fields())
      (['column_1', 'column_2', 'column_3'], False)
    """
    names = [cell.strip() for cell in cells]
    if fields.columns:
        if len(fields.columns) != len(names):
            raise InputError(
                f"{path}: --columns names {len(fields.columns)} columns, {listed(fields.columns)}; "
                f"the first line has {len(names)}: {listed(names)}."
            )
        return list(fields.columns), list(fields.columns) == names
    joined = joined_columns(fields, names)
    named = [part for name in fields.named for part in joined.get(name, (name,))]
    suffix = Path(str(path).removesuffix(".gz")).suffix.lower()
    promised = suffix in WITH_HEADER or all(name in names for name in named)
    known = any(name in names for name in named)
    numbered = [f"column_{number}" for number in range(1, len(names) + 1)]
    bare = (
        is_data(names)
        or _comes_again(names, rows)
        or _is_above_times(names, rows)
        or (len(names) > 1 and not any(names))
    )
    if promised and (known or not bare):
        several = names.count("") > 1
        return [
            n or other if several else n for n, other in zip(names, numbered, strict=True)
        ], True
    return numbered, False


def _comes_again(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a word of the first line comes again in its column, in a line that is another."""
    others = [[cell.strip() for cell in row] for row in rows]
    others = [row for row in others if len(row) == len(cells) and row != list(cells)]
    # pandas names columns 0 and 1, but not beside whole sentences.
    numbers = () if any(len(cell) > LONGEST_NAME for cell in cells) else ("0", "1")
    return any(
        cell and cell not in numbers and any(row[place] == cell for row in others)
        for place, cell in enumerate(cells)
    )


def _is_above_times(cells: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    """Whether a date in the first line stands above dates, which no name does."""
    places = [place for place, cell in enumerate(cells) if is_time(cell)]
    others = [row for row in rows[1:] if len(row) == len(cells)]
    return bool(others) and any(all(is_time(row[place]) for row in others) for place in places)


DECIMAL_COMMA = re.compile(r"[+-]?[\d.]*\d,\d+")

LONGEST_NAME = 60
"""Characters in the name of a column, at most, as far as its first line says."""


def is_data(cells: Sequence[str]) -> bool:
    """Whether cells are numbers and dates, and not numbers of columns, years, or dates alone."""
    commas = map(DECIMAL_COMMA.fullmatch, cells)
    cells = ["0.5" if comma else cell for cell, comma in zip(cells, commas, strict=True)]
    others = [cell for cell in cells if cell and not is_number(cell) and not is_missing(cell)]
    numbers = [float(cell) for cell in cells if is_number(cell)]
    if not numbers or not all(map(is_time, others)):
        return False
    counts = all(b - a == 1 for a, b in pairwise(numbers)) and numbers[0].is_integer()
    return not counts or bool(others) or len(cells) == 1


def unnamed_roles(
    path: str | Path, fields: Fields, names: Sequence[str], rows: Sequence[Row]
) -> tuple[Fields, tuple[Choice, ...]]:
    """The fields of a table without a header, with columns for the text and the target.

    A translation is the column after its text. A class is the column whose cells repeat most, the
    first or the last one beside numbers; the text is the longest of the others.

    Args:
      path: of the table.
      fields: the roles that are asked for.
      names: of its columns.
      rows: the first ones.

    Returns:
      The fields, and what was chosen and why.

    Raises:
      InputError: if a column is asked for that cannot be told by what it holds.
    """
    wanted = [name for name in fields.named if name not in names]
    absent = {name for name in (fields.text, fields.label) if name in wanted}
    others = [name for name in wanted if name not in absent]
    if others or fields.columns or not rows:
        if wanted and len(names) == 1:
            raise InputError(
                f"{path}: there is no column {wanted[0]!r}, and nothing separates columns: "
                "expected commas, semicolons, tabs or vertical bars in every line, got "
                f"{str(rows[0][names[0]])[:60] if rows else ''!r}."
            )
        if wanted and fields.columns:
            raise InputError(
                f"{path}: there is no column {wanted[0]!r} among those that --columns names: "
                f"{listed(names)}."
            )
        if wanted:
            raise InputError(
                f"{path}: there is no column {wanted[0]!r}; the first line has no names. Name all "
                f"{len(names)} columns with --columns; they begin with "
                f"{listed(str(rows[0][name])[:40] for name in names) if rows else 'nothing'}."
            )
        return fields, ()
    distinct = {name: len({row[name] for row in rows}) for name in names}
    found: dict[str, str] = {}
    if fields.text in absent and fields.label_is_text:
        found = dict(zip(("text", "label"), names, strict=False))
        why = "by their order"
    else:
        why = "by what they hold"
        if fields.label in absent and (len(names) > 1 or fields.require_target):
            ends = names if fields.text in absent else (names[0], names[-1])
            # Classes differ, and are words or whole numbers.
            ends = [name for name in ends if distinct[name] > 1] or ends
            found["label"] = min(ends, key=lambda name: (_fractions(name, rows), distinct[name]))
        if fields.text in absent:
            free = [name for name in names if name != found.get("label", fields.label)]
            found["text"] = max(free, key=lambda name: sum(len(row[name]) for row in rows))
    choices = tuple(Choice(role, (name,), why) for role, name in found.items())
    return dataclasses.replace(fields, **found), choices


def _fractions(name: str, rows: Sequence[Row]) -> bool:
    """Whether a column holds numbers that are not whole."""
    return any(is_number(row[name]) and not float(row[name]).is_integer() for row in rows)


def tells_columns(lines: Iterable[str]) -> str | None:
    """What separates the columns of a table in a file of any suffix; None if it is no table.

    Tabs do if every line has as many; semicolons and vertical bars too, if a column holds numbers
    below the first line; spaces if every line has as many numbers and nothing else.
    """
    filled = [line.strip("\r\n") for line in lines if line.strip()]
    tabs = {line.count("\t") for line in filled}
    if len(tabs) == 1 and tabs != {0}:
        return "\t"
    for sign in ";|":
        rows = [line.split(sign) for line in filled]
        even = len({len(row) for row in rows}) == 1 and len(rows[0]) > 1 and len(rows) > 2
        below = zip(*rows[1:], strict=True) if even else ()
        if any(all(is_missing(c) or is_number(c.replace(",", ".")) for c in cs) for cs in below):
            return sign
    cells = [line.split() for line in filled]
    widths = {len(row) for row in cells}
    if len(widths) == 1 and widths != {1}:
        numbers = all(_is_spaced(cell) or is_missing(cell) for row in cells for cell in row)
        if numbers and any(_is_spaced(cell) for cell in cells[0]):
            return " "
    return None


def _is_spaced(cell: str) -> bool:
    """Whether a cell between spaces is a number, with a decimal comma or without."""
    return is_number(cell) or DECIMAL_COMMA.fullmatch(cell) is not None
