"""Predictions as cells of a table and as JSON values."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.joined_columns import joined_columns, parts_of
from seqjax.data.formats.numerals import POINT, Numerals
from seqjax.data.formats.time_grid import later_times


def plain(value: Any) -> Any:
    """A value as JSON: NumPy numbers and arrays become Python's.

    Numbers are rounded to six digits, all that a model's float32 is good for; those of NumPy's
    float64, which lie on the level of a series, to twelve.
    """
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value] if value.ndim else plain(value[()])
    digits = 12 if isinstance(value, np.float64) else 6
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if np.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {name: plain(item) for name, item in value.items()}
    return value


def cell_text(value: Any, separator: str = " ") -> str:
    """A value as the text of a cell; several are joined by a separator."""
    if isinstance(value, str):
        return value
    value = plain(value)
    if value is None:
        return ""
    if isinstance(value, dict):
        return separator.join(f"{name}={cell_text(item)}" for name, item in value.items())
    if isinstance(value, list):
        return separator.join(cell_text(item) for item in value)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def is_list_of(value: Any, length: int) -> bool:
    """Whether a value is a list or an array of this length."""
    several = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return several and len(value) == length


def in_columns(prediction: Mapping[str, Any]) -> dict[str, Any]:
    """A column for each step, for tables with a series in every row."""
    return {
        f"{name}_{step}": value
        for name, values in prediction.items()
        for step, value in enumerate(values, 1)
    }


class Columns:
    """The additional columns of a table: the same in every row, and none that it has already.

    Args:
      present: the columns of the file.
      like: the file, for messages.
    """

    def __init__(self, present: Iterable[str], like: str | Path):
        self.present, self.like = set(present), like
        self.names: tuple[str, ...] | None = None

    def check(self, prediction: Mapping[str, Any]) -> None:
        """Records the names, and raises `ValueError` if they change.

        Raises:
          InputError: if the file has a column of that name already.
        """
        taken = sorted(self.present & set(prediction))
        if taken:
            raise InputError(
                f"{self.like} has {taken[0]!r} already, the name of a column to be added. Rename "
                "or remove it."
            )
        if self.names is None:
            self.names = tuple(prediction)
        if prediction and self.names != tuple(prediction):
            raise ValueError(f"Expected predictions {self.names}, got {tuple(prediction)}.")

    def by_row(
        self, prediction: Mapping[str, Any], rows: int, numerals: Numerals = POINT
    ) -> Iterator[list[str]]:
        """The new cells of each row; a value that is not a list of `rows` is repeated."""
        for row in range(rows):
            values = (
                value[row] if rows > 1 and is_list_of(value, rows) else value
                for value in prediction.values()
            )
            yield [
                cell_text(value) if isinstance(value, str) else numerals.local(cell_text(value))
                for value in values
            ]


def future_rows(
    last: Mapping[str, Any], times: Sequence[Any], steps: int, fields: Fields
) -> Iterator[dict[str, Any]]:
    """The rows after the last one of a series: its name, and the times that follow."""
    joined = joined_columns(fields, last)
    name = {} if fields.series is None else {fields.series: last.get(fields.series)}
    if fields.series in joined:
        name = {part: last[part] for part in joined[fields.series]}
    for time in later_times(times, steps, fields.time_zone):
        if fields.time is None:
            yield name
        elif fields.time in joined:
            yield name | parts_of(str(time), joined[fields.time], last)
        else:
            yield name | {fields.time: time}


def last_row(rows: Sequence[Any]) -> Any:
    """The last row of a series; steps that have none are None."""
    return next(row for row in reversed(rows) if row is not None)
