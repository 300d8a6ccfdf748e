"""Writing the rows of a CSV table with predictions."""

import csv
from collections.abc import Iterable, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.data.examples import Example
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.notation import Notation
from seqjax.data.formats.predictions import Columns, cell_text, future_rows, last_row


class CsvWriter:
    """Writes the rows of a table with additional columns for the predictions."""

    def __init__(
        self,
        file: TextIOBase,
        notation: Notation,
        ending: str,
        columns: list[str],
        fields: Fields,
        like: str | Path,
    ):
        self._out = csv.writer(file, lineterminator=ending, **notation.dialect)
        self._notation, self._numerals = notation, notation.numerals
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
        for cells, values in zip(
            rows, self._added.by_row(prediction, len(rows), self._numerals), strict=True
        ):
            if cells is not None:
                self._row(cells, values)

    def extend(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the steps after a series, and not the series itself.

        Args:
          example: from `read`, with one time step per row.
          prediction: lists, each with a value per future step.
        """
        self._begin(prediction)
        steps = max(len(values) for values in prediction.values())
        last = dict(zip(self._columns, last_row(example.raw), strict=True))
        future = future_rows(last, example.times, steps, self._fields)
        for row, values in zip(
            future, self._added.by_row(prediction, steps, self._numerals), strict=True
        ):
            self._row([cell_text(row.get(name, "")) for name in self._columns], values)

    def close(self) -> None:
        """Writes the header if nothing was written."""
        self._begin({})

    def _begin(self, prediction: Mapping[str, Any]) -> None:
        self._added.check(prediction)
        if self._header:
            if self._notation.header:
                self._row(self._columns, prediction)
            self._header = False

    def _row(self, cells: Iterable[str], added: Iterable[str]) -> None:
        if not self._notation.quotes:
            # What cannot be quoted must not look like the end of a cell.
            space = "_" if self._notation.delimiter == " " else " "
            added = (space.join(value.split()) for value in added)
            added = (value.replace(self._notation.delimiter, space) for value in added)
        self._out.writerow([*cells, *added])
