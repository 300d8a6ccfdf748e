"""Times as tables write them: numbers, and dates in any of the usual formats."""

import datetime
import functools
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from seqjax.core.errors import InputError

NUMBER = "number"
"""The format of times that are numbers."""

DATES = (
    "%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y",
    "%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%Y-%m", "%Y/%m", "%m/%Y", "%Y%m%d", "%Y%m", "%b %Y",
    "%B %Y", "%b-%y", "%d-%b-%Y", "%d-%b-%y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y",
    "%Y %m %d",
)  # fmt: skip
PERIODS = (
    "%YQ%q", "%Y-Q%q", "%Y Q%q", "%Y:Q%q", "Q%q %Y", "Q%q-%Y", "Q%q/%Y", "%Yq%q", "%YM%m", "%Y-M%m",
    "%G-W%V", "%GW%V", "%G W%V",
)  # fmt: skip
"""Quarters, months and ISO weeks: moments are their first days."""

TIMES = (
    "%H:%M:%S", "%H:%M", "%H:%M:%S.%f", "%H.%M", "%H.%M.%S", "%H", "%I:%M %p", "%I:%M:%S %p",
)  # fmt: skip
ZONES = ("", "Z", "%z", " %z", "%:z", " %:z")
SHAPES = {
    "%Y": "0000", "%y": "00", "%m": "00?", "%d": "00?", "%H": "00?", "%I": "00?", "%M": "00",
    "%S": "00", "%f": "0{1,6}", "%b": "aaa", "%B": "a+", "%p": "aa", "%z": "[+-]0000",
    "%:z": "[+-]00:00", "%q": "0", "%G": "0000", "%V": "00",
}  # fmt: skip
TIME_OF_DAY = re.compile(r"\d{1,2}:\d\d(:\d\d(\.\d+)?)?( [AaPp][Mm])?")
"""A time without its date."""

QUARTER = re.compile(r"(?=.*(?P<year>\d{4})).*[Qq](?P<quarter>[1-4])")


class TimeFormat(NamedTuple):
    """How the times of a table are written.

    Attributes:
      pattern: `NUMBER`, or a format of `datetime.strftime`, with `%q` for a quarter and `%:z` for
        an offset with a colon.
      zone: the name of the time zone of local times, or None.

    Example:
      >>> from seqjax.data.formats.time_formats import find_time_format
      >>> format = find_time_format(["30/01/2020", "31/01/2020"])
      >>> format.pattern, format.text(format.moment("31/01/2020"))
      ('%d/%m/%Y', '31/01/2020')
    """

    pattern: str
    zone: str | None = None

    def moment(self, cell: str) -> float | datetime.datetime:
        """A number, or a date and time; in UTC if it tells its offset from that.

        Raises:
          ValueError: if a cell is not written in this format.
        """
        if self.pattern == NUMBER:
            return float(cell)
        text = cell.strip()
        # Twenty times as fast as the general way, where the text is long enough for ISO 8601.
        if self.pattern.startswith("%Y-%m-%d") and len(text) in (10, 16, 19, 20, 25):
            found = datetime.datetime.fromisoformat(text)
        elif "%q" in self.pattern:
            found = _quarter(text, self.pattern)
        elif "%V" in self.pattern:
            found = datetime.datetime.strptime(f"{text} 1", f"{self.pattern} %u")
        else:
            found = datetime.datetime.strptime(text, self.pattern.replace("%:z", "%z"))
        if found.tzinfo is not None:
            found = found.astimezone(datetime.UTC).replace(tzinfo=None)
        return found

    def text(self, moment: float | datetime.datetime) -> str:
        """A moment in this format."""
        if isinstance(moment, datetime.datetime):
            aware = moment.replace(tzinfo=datetime.UTC) if "%z" in self.pattern else moment
            quarter = str((moment.month + 2) // 3)
            # Moments with an offset are in UTC.
            return aware.strftime(self.pattern.replace("%q", quarter).replace("%:z", "+00:00"))
        return f"{moment:.0f}" if float(moment).is_integer() else f"{moment:.12g}"


def find_time_format(cells: Sequence[str], zone: str | None = None) -> TimeFormat | None:
    """The format of the times of a series; None if they are in none that is known.

    Where two formats fit (`01/02/2020`), it is the one in which times are most evenly spaced.

    Raises:
      InputError: if there is no time zone of this name.
    """
    if zone is not None:
        _zone(zone)
    cells = [cell.strip() for cell in cells]
    shape = re.sub(r"[^\W\d_]", "a", re.sub(r"\d", "0", cells[0]))
    fitting = [TimeFormat(pattern, zone) for pattern in _patterns(shape)]
    read = {format: _moments(format, cells) for format in fitting}
    orders = {format: _unevenness(found) for format, found in read.items() if found is not None}
    if orders:
        return min(orders, key=lambda format: orders[format])
    number = TimeFormat(NUMBER)
    return number if _moments(number, cells) is not None else None


def is_time(cell: str) -> bool:
    """Whether a cell is a date or a time of the day, and not a mere number."""
    text = cell.strip()
    if TIME_OF_DAY.fullmatch(text):
        return True
    try:
        # Eight digits are a number as well as a day.
        float(text or "0")
    except ValueError:
        return find_time_format([text]) is not None
    return False


def local_to_utc(moments: Sequence[datetime.datetime], zone: str) -> list[datetime.datetime]:
    """Local times, in the order of a file, in UTC.

    Of the hour that comes twice when summer time ends, a time that does not come after the one
    before it is the second.
    """
    found: list[datetime.datetime] = []
    for moment in moments:
        first, second = (
            moment.replace(tzinfo=_zone(zone), fold=fold)
            .astimezone(datetime.UTC)
            .replace(tzinfo=None)
            for fold in (0, 1)
        )
        found.append(second if found and first <= found[-1] < second else first)
    return found


def utc_to_local(moment: datetime.datetime, zone: str) -> datetime.datetime:
    """A time in UTC as a local time."""
    return moment.replace(tzinfo=datetime.UTC).astimezone(_zone(zone)).replace(tzinfo=None)


def _quarter(text: str, pattern: str) -> datetime.datetime:
    """The first day of a quarter; `ValueError` unless the text is one in this format."""
    found = QUARTER.match(text)
    year, quarter = (found["year"], found["quarter"]) if found else ("", "")
    if text != pattern.replace("%Y", year).replace("%q", quarter):
        raise ValueError(f"expected a quarter, got {text!r}")
    return datetime.datetime(int(year), 3 * int(quarter) - 2, 1)


@functools.cache
def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError):
        raise InputError(
            f"--time-zone: there is no time zone {name!r}; expected a name such as Europe/Berlin "
            "(where the system has none, `pip install tzdata`)."
        ) from None


@functools.lru_cache(maxsize=64)
def _patterns(shape: str) -> tuple[str, ...]:
    """The formats whose cells have this shape: digits are 0 and letters a."""
    times = ["", *map("".join, itertools.product(" T", TIMES, ZONES))]
    found = []
    for format in (*map("".join, itertools.product(DATES, times)), *PERIODS):
        pattern = re.escape(format)
        for sign, expression in SHAPES.items():
            pattern = pattern.replace(sign, expression)
        if re.fullmatch(re.sub("[TZQqWM]", "a", pattern), shape):
            found.append(format)
    return tuple(found)


def _moments(format: TimeFormat, cells: Sequence[str]) -> list | None:
    try:
        return [format.moment(cell) for cell in cells]
    except ValueError:
        return None


def _unevenness(moments: list[datetime.datetime]) -> tuple[bool, int]:
    """Whether times go back and forth, and in how many different steps."""
    steps = {b - a for a, b in itertools.pairwise(moments)}
    none = datetime.timedelta(0)
    return min(steps, default=none) < none < max(steps, default=none), len(steps)
