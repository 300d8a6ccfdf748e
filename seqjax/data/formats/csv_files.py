"""CSV tables: a row is a text, a univariate series, or a time step."""

import contextlib
import csv
import itertools
from collections.abc import Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Fields, Format
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import Columns, cell_text, future_rows
from seqjax.data.formats.rows import FIRST_ROWS, Line, listed, to_examples, with_values

WHAT = "a CSV file"
LONGEST_FIELD = 1 << 24
"""Characters in a cell, at most: a quote that is never closed must not fill the memory."""


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The examples of a CSV file whose first line names the columns.

    The delimiter is whichever of `,` `;` tab and `|` the first line has most of. A row is an
    example: its text, its tokens, or its numbers in the order of the columns `(time, 1)`; or it is
    one time step of a series, see `Fields`, and the numbers are the channels `(time, channels)`.

    Args:
      path: of the file.
      fields: the roles of the columns.
      malformed: collects malformed rows.

    Raises:
      InputError: if it is not a CSV file, a column is missing or duplicated, or a row is malformed
        and may not be skipped.
    """
    columns, lines = _table(path, malformed)
    first = list(itertools.islice(lines, FIRST_ROWS))
    _check_columns(path, columns, fields)
    if not first:
        if malformed.count:
            return
        raise InputError(f"{path} has only a header; expected at least one row below it.")
    resolved = with_values(fields, [line.row for line in first], path)
    yield from to_examples(itertools.chain(first, lines), resolved, malformed)


def resolve(path: str | Path, fields: Fields) -> Fields:
    """The fields with `values` filled in from the first well-formed rows."""
    columns, lines = _table(path, Malformed(skip=True))
    _check_columns(path, columns, fields)
    first = [line.row for line in itertools.islice(lines, FIRST_ROWS)]
    return with_values(fields, first, path) if first else fields


def _table(path: str | Path, malformed: Malformed) -> tuple[list[str], Iterator[Line]]:
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    records = _records(path, malformed)
    _, columns = next(records, (0, []))
    if not columns:
        raise InputError(f"{path}, line 1: expected the names of the columns, got nothing.")
    try:
        check_text("".join(columns))
    except FlawError as flaw:
        raise InputError(f"{path}, line 1: {flaw}") from None
    repeated = sorted({name for name in columns if columns.count(name) > 1})
    if repeated:
        raise InputError(
            f"{path}, line 1: expected a name of its own for each column, got {listed(repeated)} "
            "more than once."
        )

    def lines() -> Iterator[Line]:
        for number, cells in records:
            where = f"{path}, line {number}"
            try:
                check_text("".join(cells))
                if len(cells) != len(columns):
                    raise FlawError(f"expected {len(columns)} columns, got {len(cells)}")
            except FlawError as flaw:
                malformed.report(where, str(flaw))
            else:
                yield Line(where, dict(zip(columns, cells, strict=True)), cells)

    return columns, lines()


def _records(path: str | Path, malformed: Malformed) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row with the number of its first line; blank lines are skipped."""
    lines = lines_of(path, WHAT)
    first = next(lines)
    texts = (text for _, text in itertools.chain([first], lines))
    reader = csv.reader(texts, delimiter=delimiter_of(path, first[1]), strict=True)
    header = True
    while True:
        start = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where, reason = f"{path}, line {start}", _explain(str(error))
            if reader.line_num > start:
                reason += f" (everything down to line {reader.line_num:,} belongs to it)"
            if header:
                raise InputError(f"{where}: {reason}") from None
            malformed.report(where, reason)
            continue
        if cells or header:
            header = False
            yield start, [cell.strip() for cell in cells] if start == 1 else cells


def _explain(error: str) -> str:
    if "unexpected end of data" in error or "field limit" in error:
        return "a quote is opened here and never closed"
    if "new-line" in error:
        return "expected lines that end in a line feed, got a carriage return alone"
    return f"the quotes are not as in CSV ({error})"


def delimiter_of(path: str | Path, header: str) -> str:
    """The delimiter: a tab if the suffix says so, or the most frequent one of the header."""
    if Path(str(path).removesuffix(".gz")).suffix == ".tsv":
        return "\t"
    outside = "".join(header.split('"')[::2])
    return max(",;\t|", key=outside.count)


def _check_columns(path: str | Path, columns: list[str], fields: Fields) -> None:
    for name in fields.named:
        if name not in columns:
            raise InputError(
                f"{path}: there is no column {name!r}; the columns are {listed(columns)}."
            )


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["CsvWriter"]:
    """Writes the rows of a CSV file with additional columns for the predictions."""
    _, header = next(lines_of(like, WHAT))
    delimiter = delimiter_of(like, header)
    columns = [name.strip() for name in next(csv.reader([header], delimiter=delimiter))]
    with whole_file(path) as file:
        ending = "\r\n" if header.endswith("\r\n") else "\n"
        writer = CsvWriter(file, delimiter, ending, columns, fields, like)
        yield writer
        writer.close()


class CsvWriter:
    """See `writer`."""

    def __init__(
        self,
        file: TextIOBase,
        delimiter: str,
        ending: str,
        columns: list[str],
        fields: Fields,
        like: str | Path,
    ):
        self._out = csv.writer(file, delimiter=delimiter, lineterminator=ending)
        self._columns, self._fields = columns, fields
        self._added = Columns(columns, like)
        self._header = True

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the row of an example, or the rows of its steps.

        Args:
          example: from `read`.
          prediction: a value for each new column; for a series one for all of its rows,
            or a list with one per row.
        """
        self._begin(prediction)
        rows = example.raw if self._fields.by_step else [example.raw]
        for cells, values in zip(rows, self._added.by_row(prediction, len(rows)), strict=True):
            self._out.writerow([*cells, *values])

    def extend(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the steps after a series, and not the series itself.

        Args:
          example: from `read`, with one time step per row.
          prediction: lists, each with a value per future step.
        """
        self._begin(prediction)
        steps = max(len(values) for values in prediction.values())
        rows = [dict(zip(self._columns, cells, strict=True)) for cells in example.raw[-2:]]
        future = future_rows(rows, steps, self._fields)
        for row, values in zip(future, self._added.by_row(prediction, steps), strict=True):
            self._out.writerow([*(cell_text(row.get(name, "")) for name in self._columns), *values])

    def close(self) -> None:
        """Writes the header if nothing was written."""
        self._begin({})

    def _begin(self, prediction: Mapping[str, Any]) -> None:
        self._added.check(prediction)
        if self._header:
            self._out.writerow([*self._columns, *prediction])
            self._header = False


CSV = Format("CSV", (".csv", ".tsv"), read, writer, resolve)
"""Tables with a header; `.tsv` with tabs."""
