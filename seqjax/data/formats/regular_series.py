"""Series with a row for every step of time: what is missing is filled in as missing."""

from collections.abc import Iterable, Iterator

import numpy as np

from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError
from seqjax.data.formats.time_grid import Grid, grid_of


class GridReport:
    """What was found of the times of a file's series.

    Example:
      >>> from seqjax.data.formats.regular_series import GridReport
      >>> report = GridReport("day")
      >>> report.lines("a.csv")
      []
    """

    def __init__(self, column: str):
        self.column = column
        self.steps: dict[str, int] = {}
        self.series = self.filled = self.rows = self.sorted = 0
        self.first = self.unreadable = ""

    def add(self, grid: Grid, places: np.ndarray, in_order: bool) -> None:
        """Counts a series, whose rows have these places of the grid."""
        self.steps[str(grid)] = self.steps.get(str(grid), 0) + 1
        self.series += 1
        self.rows += len(places)
        missing = int(places[-1]) + 1 - len(places)
        if missing and not self.first:
            self.first = grid.text(int(np.flatnonzero(np.diff(places) > 1)[0]))
        self.filled += missing
        self.sorted += not in_order

    def lines(self, path: object) -> list[str]:
        """Lines for the user."""
        found = []
        if self.unreadable:
            found.append(
                f"{path}: the times of {self.column!r} are in no known format, such as "
                f"{self.unreadable!r}: rows are taken as evenly spaced"
            )
        if self.steps:
            steps = " or ".join(sorted(self.steps, key=lambda step: -self.steps[step])[:3])
            found.append(f"{path}: the step of {self.column!r} is {steps}")
        if self.filled:
            found.append(
                f"{path}: {self.filled:,} of {self.filled + self.rows:,} steps have no row, the "
                f"first after {self.first!r}; they are filled in as missing values"
            )
        if self.sorted:
            found.append(f"{path}: the rows of {self.sorted:,} series were sorted by time")
        return found


def on_grid(
    examples: Iterable[Example], fields: Fields, malformed: Malformed, report: GridReport
) -> Iterator[Example]:
    """Series with a row for every step of time.

    Rows are sorted by time. Between those more than a step apart, rows are added whose values are
    missing, NaN, whose `raw` is None, and whose times are those that were left out. Series whose
    times cannot be read, such as names of weekdays, stay as they are.

    Args:
      examples: with their `times`.
      fields: the roles of the columns.
      malformed: collects series whose times repeat, are uneven, or are missing for the most part.
      report: what was found.
    """
    for example in examples:
        if not example.times or len(example.times) < 2:
            yield example
            continue
        try:
            yield _on_grid(example, fields, report)
        except FlawError as flaw:
            malformed.report(example.where, str(flaw))


def _on_grid(example: Example, fields: Fields, report: GridReport) -> Example:
    found = grid_of(example.times, fields.time or "", fields.time_zone)
    if found is None:
        report.unreadable = report.unreadable or str(example.times[0])
        return example
    grid, order, places = found
    report.add(grid, places, bool((np.diff(order) > 0).all()))
    steps = int(places[-1]) + 1
    inputs = np.full((steps, *example.inputs.shape[1:]), np.nan)
    inputs[places] = example.inputs[order]
    raw, times = [None] * steps, [""] * steps
    for place, row in zip(places.tolist(), order.tolist(), strict=True):
        raw[place], times[place] = example.raw[row], example.times[row]
    for place in np.setdiff1d(np.arange(steps), places).tolist():
        times[place] = grid.text(place)
    return example._replace(inputs=inputs, raw=tuple(raw), times=tuple(times))
