"""CSV tables: a row is a text, a univariate series, or a time step."""

import contextlib
import csv
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.column_choice import describe_columns, first_rows
from seqjax.data.formats.csv_writer import CsvWriter
from seqjax.data.formats.description import Description, listed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import (
    FlawError,
    check_text,
    encoding_of,
    lines_of,
    whole_file,
)
from seqjax.data.formats.headers import column_names, unnamed_roles
from seqjax.data.formats.joined_columns import joined_columns, with_joined
from seqjax.data.formats.notation import (
    SEPARATOR_LINE,
    Notation,
    are_quotes,
    find_delimiter,
    split,
)
from seqjax.data.formats.numerals import LIKE_A_NUMBER, POINT, Numerals, find_numerals
from seqjax.data.formats.preamble import more_names, preamble_of
from seqjax.data.formats.table_rows import Line, to_examples
from seqjax.data.formats.tag_columns import found_columns, tag_choices, with_sentences
from seqjax.data.formats.values import Row

FIRST_LINES = 50
"""Number of lines that tell the delimiter."""

WHAT = "a CSV file"
LONGEST_FIELD = 1 << 24
"""Characters in a cell, at most: a quote that is never closed must not fill the memory."""


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The examples of a CSV file whose first line names the columns.

    The delimiter is whichever of `,` `;` tab and `|` fits the first lines, or the one that a line
    `sep=;` before the names says; decimals and thousands are separated as the first rows show. A
    title above the names is left out. A row is an example: its text, its tokens, or its numbers in
    the order of the columns `(time, 1)`; or it is one time step of a series, see `Fields`, and the
    numbers are the channels `(time, channels)`.

    Args:
      path: of the file.
      fields: the roles of the columns.
      malformed: collects malformed rows.

    Raises:
      InputError: if it is not a CSV file, a column is missing or duplicated, or a row is malformed
        and may not be skipped.
    """
    table = Table(path, fields, malformed)
    if not table.first:
        if malformed.count:
            return
        raise InputError(f"{path} has only a header; expected at least one row below it.")
    resolved = table.describe().fields
    yield from to_examples(table.numbered(resolved), resolved, malformed)


def describe(path: str | Path, fields: Fields) -> Description:
    """How a CSV file is read, from its first well-formed rows."""
    return Table(path, fields, Malformed(skip=True)).describe()


class Table:
    """The rows of a table, and what its first ones say of it.

    Args:
      path: of the file.
      fields: the roles of the columns.
      malformed: collects malformed rows.
    """

    def __init__(self, path: str | Path, fields: Fields, malformed: Malformed):
        csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
        self.path, self.malformed = path, malformed
        self.notation = notation_of(path, fields.columns)
        records = _records(path, malformed, self.notation)
        start, cells = next(records, (0, []))
        columns, header = column_names(path, cells, fields, self.notation.rows)
        _check_header(path, columns)
        if not header:
            records = itertools.chain([(start, cells)], records)
        self.asked, self.columns, self.choices = fields, columns, ()
        fields = found_columns(path, fields, columns)
        self.joined = joined_columns(fields, columns)
        if header:
            _check_columns(path, [*columns, *self.joined], fields)
        self.rest = self._lines(columns, records)
        self.first = first_rows(self.rest, lambda line: line.row)
        below = more_names([line.row for line in self.first]) if header else 0
        self.first = self.first[below:]
        rows = [line.row for line in self.first]
        if not header:
            fields, self.choices = unnamed_roles(path, fields, [*columns, *self.joined], rows)
            _check_columns(path, [*columns, *self.joined], fields)
        self.fields = with_sentences(fields, rows)
        numerals, doubt = self._numerals()
        self.notation = dataclasses.replace(
            self.notation, numerals=numerals, doubt=doubt, header=header, below=below
        )

    def _numerals(self) -> tuple[Numerals, str]:
        """How numbers are written, and what is in doubt."""
        fields = self.fields
        # A set of labels, `2,14`, is no number.
        words = (fields.text, fields.tokens, fields.label, fields.tag, fields.series)
        others = [place for place, name in enumerate(self.columns) if name not in words]
        cells = ([line.row[self.columns[place]] for line in self.first] for place in others)

        def later(chosen: Sequence[int]) -> Iterator[tuple[int, str]]:
            # Between commas, points separate decimals.
            if self.notation.delimiter == ",":
                return
            for _, row in _records(self.path, Malformed(skip=True), self.notation):
                if len(row) == len(self.columns):
                    found = ((place, row[others[place]].strip()) for place in chosen)
                    yield from (
                        (place, cell)
                        for place, cell in found
                        if "." in cell and LIKE_A_NUMBER.fullmatch(cell)
                    )

        return find_numerals(self.path, self.notation.delimiter, cells, fields.decimal, later)

    def describe(self) -> Description:
        """How the table is read."""
        fields = self.fields
        rows = [self._plain(line.row, line.row, strict=False) for line in self.first]
        found = (
            describe_columns(self.path, fields, rows) if rows else Description(self.path, fields)
        )
        notation = (*self.notation.remarks(self.path), *found.notation)
        choices = (*tag_choices(self.asked, fields), *self.choices, *found.choices)
        return dataclasses.replace(found, notation=notation, choices=choices)

    def numbered(self, fields: Fields) -> Iterator[Line]:
        """The rows, with the numbers of these columns in Python's notation."""
        # The first rows are not held while the others go by.
        lines, self.first = itertools.chain(self.first, self.rest), []
        if self.notation.numerals == POINT:
            return lines
        names = [name for name in (*(fields.values or ()), fields.number) if name is not None]
        return self._numbered(lines, names)

    def _numbered(self, lines: Iterable[Line], names: Sequence[str]) -> Iterator[Line]:
        for line in lines:
            try:
                row = self._plain(line.row, names)
            except FlawError as flaw:
                self.malformed.report(line.where, str(flaw))
            else:
                yield line._replace(row=row)

    def _plain(self, row: Row, names: Iterable[str], *, strict: bool = True) -> Row:
        found = dict(row)
        for name in names:
            if name in row:
                try:
                    found[name] = self.notation.numerals.plain(row[name], name)
                except FlawError:
                    if strict:
                        raise
        return found

    def _lines(self, columns: list[str], records: Iterable[tuple[int, list[str]]]):
        for number, cells in records:
            where = f"{self.path}, line {number}"
            try:
                check_text("".join(cells))
                if len(cells) != len(columns):
                    raise FlawError(f"expected {len(columns)} columns, got {len(cells)}")
            except FlawError as flaw:
                self.malformed.report(where, str(flaw))
            else:
                row = with_joined(dict(zip(columns, cells, strict=True)), self.joined)
                yield Line(where, row, cells)


def notation_of(path: str | Path, columns: Sequence[str] = ()) -> Notation:
    """The delimiter and the encoding of a table, from its first lines.

    Args:
      path: of the file.
      columns: the names of its columns, if the user gave them.
    """
    lines = [line for _, line in itertools.islice(lines_of(path, WHAT), FIRST_LINES)]
    separator = SEPARATOR_LINE.match(lines[0])
    before = 1 if separator else preamble_of(lines)
    delimiter = separator[1] if separator else find_delimiter(path, lines[before:])
    quotes = are_quotes(delimiter, lines[before:])
    rows = (
        split(lines[before:], delimiter)
        if quotes
        else [line.strip("\r\n").split(delimiter) for line in lines[before:]]
    )
    return Notation(
        delimiter,
        before=before,
        preamble=separator is None,
        encoding=encoding_of(path, WHAT),
        quotes=quotes,
        named=bool(columns),
        rows=rows,
    )


def _check_header(path: str | Path, columns: list[str]) -> None:
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


def _records(
    path: str | Path, malformed: Malformed, notation: Notation
) -> Iterator[tuple[int, list[str]]]:
    """The cells of each row with the number of its first line; blank lines are skipped."""
    texts = (text for _, text in lines_of(path, WHAT))
    before = notation.before
    for _ in range(before):
        next(texts)
    if notation.delimiter == " ":
        texts = (" ".join(text.split()) for text in texts)
    reader = csv.reader(texts, strict=True, **notation.dialect)
    header, blank = True, []
    while True:
        start = before + reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            where, reason = f"{path}, line {start}", _explain(str(error))
            until = before + reader.line_num
            if until > start:
                reason += f" (everything down to line {until:,} belongs to it)"
            if header:
                raise InputError(f"{where}: {reason}") from None
            malformed.report(where, reason)
            continue
        if len(cells) > 1 and not any(cells) and not header:
            # Spreadsheets leave rows of separators alone at the end.
            blank.append((start, cells))
        elif cells or header:
            yield from blank
            yield start, cells
            header, blank = False, []


def _explain(error: str) -> str:
    if "unexpected end of data" in error or "field limit" in error:
        return "a quote is opened here and never closed"
    if "new-line" in error:
        return "expected lines that end in a line feed, got a carriage return alone"
    return f"the quotes are not as in CSV ({error})"


def _check_columns(path: str | Path, columns: list[str], fields: Fields) -> None:
    for name in fields.named:
        if name not in columns:
            raise InputError(
                f"{path}: there is no column {name!r}; the columns are {listed(columns)}. If the "
                "first line does not name them, --columns does."
            )


@contextlib.contextmanager
def write_csv(path: str | Path, like: str | Path, fields: Fields) -> Iterator[CsvWriter]:
    """Writes the rows of a CSV file with additional columns for the predictions."""
    table = Table(like, fields, Malformed(skip=True))
    first = [line for _, line in itertools.islice(lines_of(like, WHAT), table.notation.before + 1)]
    with whole_file(path) as file:
        ending = "\r\n" if first[-1].endswith("\r\n") else "\n"
        file.writelines(first[:-1])
        writer = CsvWriter(file, table.notation, ending, table.columns, fields, like)
        yield writer
        writer.close()


CSV = Format("CSV", (".csv", ".tsv"), read, write_csv, describe)
"""Tables with a header; `.tsv` with tabs."""
