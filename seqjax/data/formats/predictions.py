"""Predictions as cells of a table and as JSON values."""

import datetime
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.notation import POINT, Numerals


def plain(value: Any) -> Any:
    """A value as JSON: NumPy numbers and arrays become Python's, rounded to six digits."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return float(f"{value:.6g}") if np.isfinite(value) else None
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
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def is_list_of(value: Any, length: int) -> bool:
    """Whether a value is a list or an array of this length."""
    several = isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim > 0)
    return several and len(value) == length


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


def future_rows(rows: Sequence[Mapping[str, Any]], steps: int, fields: Fields) -> Iterator[dict]:
    """The rows after the last one of a series: its name, and extrapolated times.

    Numbers and dates are extrapolated from the last two rows; other times are left empty.
    """
    for step in range(1, steps + 1):
        row = {} if fields.series is None else {fields.series: rows[-1][fields.series]}
        if fields.time is not None:
            row[fields.time] = _later([row[fields.time] for row in rows], step)
        yield row


def _later(times: list[Any], step: int) -> Any:
    if len(times) < 2:
        return ""
    last = times[-1]
    try:
        before, now = (float(time) for time in times)
        later = now + step * (now - before)
        whole = not any("." in str(time) or "e" in str(time).lower() for time in times)
        return round(later) if whole else later
    except (TypeError, ValueError):
        pass
    slashes = "/" in str(last)
    try:
        before, now = (
            datetime.datetime.fromisoformat(str(time).strip().replace("/", "-")) for time in times
        )
        later = (now + step * (now - before)).isoformat("T" if "T" in str(last) else " ")
    except (TypeError, ValueError):
        return ""
    later = later if ":" in str(last) else later[:10]
    return later.replace("-", "/") if slashes else later
