"""Tables that libraries read: Parquet, spreadsheets, ARFF."""

import dataclasses
import datetime
import decimal
import itertools
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.column_choice import describe_columns, first_rows
from seqjax.data.formats.description import Description, listed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.headers import column_names
from seqjax.data.formats.joined_columns import joined_columns, with_joined
from seqjax.data.formats.json_lines import writer
from seqjax.data.formats.table_rows import Line, to_examples
from seqjax.data.formats.tag_columns import found_columns, tag_choices, with_sentences
from seqjax.data.formats.values import Row

FIRST_LINES = 50
"""Number of rows of a spreadsheet that tell whether the first one names the columns."""

Rows = Callable[[Path, Fields], Iterable[Row]]
"""The rows of a file, as JSON values by column."""


def parquet_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """The rows of a Parquet file, read in blocks."""
    parquet = extra_module("pyarrow.parquet", "tables")
    with parquet.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=1024):
            for row in batch.to_pylist():
                yield {name: _plain(value) for name, value in row.items()}


def excel_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """The rows of the first sheet of a spreadsheet."""
    calamine = extra_module("python_calamine", "tables")
    rows = calamine.CalamineWorkbook.from_path(path).get_sheet_by_index(0).to_python()
    if not rows:
        return
    texts = [list(map(_text, row)) for row in rows[:FIRST_LINES]]
    names, header = column_names(f"{path}.csv", texts[0], fields, texts)
    for row in rows[1:] if header else rows:
        yield {name: _plain(value) for name, value in zip(names, row, strict=True) if name}


def arff_rows(path: Path, fields: Fields) -> Iterator[Row]:
    """The rows of an ARFF file; a relation has a row for each channel."""
    arff = extra_module("scipy.io.arff", "tables")
    data, meta = arff.loadarff(path)
    for row in data:
        yield {name: _plain(row[name]) for name in meta.names()}


def _plain(value: Any) -> Any:
    """A value as JSON has it; None for a missing one."""
    if isinstance(value, np.ndarray):
        if value.dtype.names:
            return np.array(value.tolist(), np.float64).T.tolist()
        return [_plain(item) for item in value.tolist()]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, decimal.Decimal):
        value = float(value)
    if isinstance(value, float):
        whole = value.is_integer() and abs(value) < 2**53
        return int(value) if whole else value if np.isfinite(value) else None
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat().replace("T", " ")
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def _text(value: Any) -> str:
    return "" if value is None else str(_plain(value))


def _lines(rows: Rows, what: str, path: str | Path, fields: Fields) -> Iterator[Line]:
    path = Path(path)
    if path.is_dir() or not path.exists():
        raise InputError(f"There is no file {path}; expected {what}.")
    number = 0
    try:
        for number, row in enumerate(rows(path, fields), 1):
            joined = joined_columns(fields, row)
            yield Line(f"{path}, row {number}", with_joined(row, joined), row)
    except (InputError, ImportError):
        raise
    # Each library has exceptions of its own.
    except Exception as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{path}, row {number + 1}: not {what} ({reason[0]}).") from None
    if not number:
        raise InputError(f"{path} has no rows; expected {what}.")


def _described(path: str | Path, fields: Fields, first: list[Line]) -> Description:
    rows = [line.row for line in first]
    names = list(rows[0])
    asked, fields = fields, found_columns(path, fields, names)
    for name in fields.named:
        if name not in names:
            raise InputError(f"{path}: there is no column {name!r}; there are {listed(names)}.")
    fields = with_sentences(fields, rows)
    found = describe_columns(path, fields, rows)
    return dataclasses.replace(found, choices=(*tag_choices(asked, fields), *found.choices))


def _read(
    rows: Rows, what: str, path: str | Path, fields: Fields, malformed: Malformed
) -> Iterator[Example]:
    lines = _lines(rows, what, path, fields)
    first = first_rows(lines, lambda line: line.row)
    fields = _described(path, fields, first).fields
    yield from to_examples(itertools.chain(first, lines), fields, malformed)


def _describe(rows: Rows, what: str, path: str | Path, fields: Fields) -> Description:
    lines = _lines(rows, what, path, fields)
    return _described(path, fields, first_rows(lines, lambda line: line.row))


def _format(name: str, suffixes: tuple[str, ...], rows: Rows) -> Format:
    what = f"a file of {name}"
    read, describe = partial(_read, rows, what), partial(_describe, rows, what)
    return Format(name, suffixes, read, writer, describe, written_as=".jsonl")


PARQUET = _format("Parquet", (".parquet",), parquet_rows)
"""Columns of numbers, texts and lists."""

EXCEL = _format("a spreadsheet", (".xlsx", ".xls", ".ods"), excel_rows)
"""The first sheet."""

ARFF = _format("ARFF", (".arff",), arff_rows)
"""The format of Weka and of the archives of series."""
