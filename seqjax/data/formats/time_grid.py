"""Evenly spaced times: the step that the times of a series have, and those that follow."""

import datetime
import itertools
import json
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.data.formats.file_access import FlawError
from seqjax.data.formats.time_formats import (
    NUMBER,
    TimeFormat,
    find_time_format,
    is_time,
    local_to_utc,
    utc_to_local,
)

EPOCH = datetime.datetime(1970, 1, 1)
SAMPLED = 200
"""Number of times that tell their format."""

UNEVEN = 0.2
"""A distance between times is uneven if it is off a whole number of steps by more than this."""

MOST_UNEVEN = 0.1
"""At most this share of the distances may be uneven: clocks are late now and then."""

UNITS = ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "minute"), (1, "second"))


class Grid(NamedTuple):
    """Evenly spaced times.

    Attributes:
      format: in which they are written.
      unit: what they are counted in: `"number"`, `"second"`, `"weekday"` (Monday to Friday) or
        `"month"`.
      start: the first one, in this unit.
      size: their distance, in this unit.
      local: whether local times are counted in UTC.
      first: the first one, as `format` reads it.
    """

    format: TimeFormat
    unit: str
    start: float
    size: float
    local: bool
    first: Any

    def text(self, place: int) -> str:
        """The time at a place, as the file writes times."""
        at = self.start + place * self.size
        if self.unit == "number":
            return self.format.text(at)
        if self.unit == "weekday":
            day = np.busday_offset("1970-01-01", round(at), roll="forward").astype(object)
            moment = datetime.datetime.combine(day, self.first.time())
        elif self.unit == "month":
            year, month = divmod(round(at), 12)
            moment = _in_month(self.first, year, month + 1)
        else:
            moment = EPOCH + datetime.timedelta(seconds=at)
        if self.local:
            moment = utc_to_local(moment, self.format.zone or "UTC")
        return self.format.text(moment)

    def __str__(self) -> str:
        """The step in words: `"1 hour"`."""
        size, unit = self.size, self.unit
        if unit == "second":
            size, unit = next(
                ((size / n, unit) for n, unit in UNITS if size % n == 0), (size, unit)
            )
        return f"{size:g}" if unit == "number" else f"{size:g} {unit}{'s' * (size != 1)}"


def later_times(times: Sequence[Any], steps: int, zone: str | None = None) -> list[Any]:
    """The times of the steps after a series; empty where its times cannot be read.

    Example:
      >>> from seqjax.data.formats.time_grid import later_times
      >>> later_times(["2020-01-31", "2020-02-29"], steps=2)
      ['2020-03-31', '2020-04-30']
    """
    times = times[-SAMPLED:]
    try:
        found = grid_of(times, "", zone) if len(times) > 1 else None
    except FlawError:
        found = None
    if found is None:
        return [""] * steps
    grid, _, places = found
    later = [grid.text(int(places[-1]) + step) for step in range(1, steps + 1)]
    # Numbers of JSON stay numbers.
    return later if isinstance(times[-1], str) else [json.loads(text) for text in later]


def grid_of(
    times: Sequence[Any], name: str, zone: str | None = None
) -> tuple[Grid, np.ndarray, np.ndarray] | None:
    """The grid of the times of a series, their order, and the place of each in that order.

    None if they are in no known format.

    Raises:
      FlawError: if times of the column `name` repeat, are uneven, or more than half are missing.
    """
    cells = [str(time) for time in times]
    sampled = cells[:SAMPLED]
    format = find_time_format(sampled, zone) or _usual_format(sampled, zone)
    if format is None:
        return None
    try:
        moments: list[Any] = [format.moment(cell) for cell in cells]
    except ValueError:
        bad = next(cell for cell in cells if not _is_readable(format, cell))
        raise FlawError(
            f"{name!r}: expected times like {cells[0]!r}, as in the first rows, got {bad!r} (leave "
            "out rows that are no steps, such as totals)"
        ) from None
    local = (
        format.zone is not None
        and format.pattern != NUMBER
        and not re.search("%:?z", format.pattern)
    )
    local = local and any(
        abs(b - a) < datetime.timedelta(days=1) for a, b in itertools.pairwise(moments)
    )
    if local:
        backwards = moments[0] > moments[-1]
        moments = local_to_utc(moments[:: -1 if backwards else 1], format.zone or "UTC")
        moments = moments[:: -1 if backwards else 1]
    unit, counts = _counted(moments)
    order = np.argsort(counts, kind="stable")
    size, places = _places(counts[order], [cells[row] for row in order], name)
    first = moments[int(order[0])]
    return Grid(format, unit, float(counts[order[0]]), size, local, first), order, places


def _counted(moments: list[Any]) -> tuple[str, np.ndarray]:
    """The unit in which times are evenly spaced, and the times in it."""
    if isinstance(moments[0], float):
        return "number", np.array(moments)
    seconds = np.array([(moment - EPOCH).total_seconds() for moment in moments])
    apart = np.abs(np.diff(np.sort(seconds)))
    same_day = len({moment.day for moment in moments}) == 1
    same_time = len({moment.time() for moment in moments}) == 1
    monthly = same_day or all(map(_is_last_of_month, moments))
    if apart.min() >= 28 * 86400 and same_time and monthly:
        return "month", np.array([12.0 * m.year + m.month - 1 for m in moments])
    weekdays = {moment.weekday() for moment in moments}
    daily = len(moments) > 5 and np.median(apart) == 86400 and (apart % 86400 == 0).all()
    if daily and weekdays == {0, 1, 2, 3, 4}:
        dates = np.array([moment.date() for moment in moments], "datetime64[D]")
        return "weekday", np.busday_count("1970-01-01", dates).astype(np.float64)
    return "second", seconds


def _places(counts: np.ndarray, cells: list[str], name: str) -> tuple[float, np.ndarray]:
    """The step, and the place of each of some rising times."""
    apart = np.diff(counts)
    if (apart == 0).any():
        twice = cells[int(np.argmax(apart == 0))]
        advice = "if rows belong to several series, --series tells them apart"
        if ":" in twice:
            advice += (
                "; if this hour comes twice at the end of summer time, --time-zone names the zone"
            )
        raise FlawError(f"{name!r}: expected a row for each time, got {twice!r} twice ({advice})")
    typical = float(np.median(apart))
    shares, numbers = np.unique(np.round(apart / typical, 6), return_counts=True)
    common = float(shares[np.argmax(numbers)]) * typical
    size = common if numbers.max() >= 0.3 * len(apart) else typical
    steps = np.maximum(np.round(apart / size), 1)
    uneven = np.abs(apart / size - steps) > UNEVEN
    if uneven.mean() > MOST_UNEVEN:
        at = int(np.argmax(uneven))
        raise FlawError(
            f"{name!r}: expected times that are evenly spaced, or with gaps; {uneven.mean():.0%} "
            f"are not, as {cells[at + 1]!r} after {cells[at]!r} (resample the series, or leave "
            "out --time to take its rows as they are)"
        )
    places = np.concatenate([[0], np.cumsum(steps)]).astype(np.int64)
    if places[-1] + 1 > 2 * len(places) + 2:
        raise FlawError(
            f"{name!r}: expected a row for most steps from {cells[0]!r} to {cells[-1]!r}; of "
            f"{places[-1] + 1:,} there are {len(places):,} (resample the series, or leave out "
            "--time to take its rows as they are)"
        )
    return size, places


def _usual_format(cells: Sequence[str], zone: str | None) -> TimeFormat | None:
    """The format of nine of ten times, where a total or a note stands among them."""
    known = [cell for cell in cells if is_time(cell)]
    return find_time_format(known, zone) if known and len(known) >= 0.9 * len(cells) else None


def _is_readable(format: TimeFormat, cell: str) -> bool:
    try:
        format.moment(cell)
    except ValueError:
        return False
    return True


def _is_last_of_month(moment: datetime.datetime) -> bool:
    return (moment + datetime.timedelta(days=1)).day == 1


def _in_month(first: datetime.datetime, year: int, month: int) -> datetime.datetime:
    """The day of `first` in another month; the last one if that was the last or is later."""
    next_month = datetime.datetime(year + month // 12, month % 12 + 1, 1)
    last = (next_month - datetime.timedelta(days=1)).day
    day = last if _is_last_of_month(first) else min(first.day, last)
    return first.replace(year=year, month=month, day=day)
