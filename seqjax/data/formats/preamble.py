"""What stands above and below the names of the columns of a table: a title, and more names."""

import csv
import itertools
from collections import Counter
from collections.abc import Sequence

from seqjax.data.formats.headers import is_data
from seqjax.data.formats.values import Row, is_missing, is_number

LONGEST = 10
"""Number of records before the names, at most."""


def preamble_of(lines: Sequence[str]) -> int:
    """The number of lines before the names of the columns: a title, and blank lines.

    At whichever delimiter the first line is split, it has at most half as many cells as the names,
    and nine of ten lines after these have as many.

    Args:
      lines: the first ones of the table.

    Example:
      >>> from seqjax.data.formats.preamble import preamble_of
      >>> preamble_of(["Category: All", "", "week,pizza", "1,70", "2,80", "3,75"])
      2
    """
    found = [_preamble(lines, delimiter) for delimiter in ",;\t"]
    # A first line that has as many cells as the others at one of them names the columns.
    return 0 if None in found else max(number for number in found if number is not None)


def _preamble(lines: Sequence[str], delimiter: str) -> int | None:
    """The number of lines before the names; 0 if no names stand there, None if no title does."""
    reader = csv.reader(lines, delimiter=delimiter)
    rows, starts = [], [0]
    try:
        for cells in reader:
            rows.append(cells)
            starts.append(reader.line_num)
    except csv.Error:
        return 0
    width, _ = max(Counter(map(len, rows)).items(), key=lambda item: (item[1], item[0]))
    place = next(place for place, cells in enumerate(rows) if len(cells) == width)
    names, after = rows[place : place + 1], rows[place + 1 :]
    if width < 2 or place > LONGEST or len(after) < 3:
        return 0
    if any(map(is_data, (*rows[:place], *names))):
        return 0
    if any(2 * sum(map(bool, cells)) > width for cells in rows[:place]):
        return 0
    if sum(len(cells) == width for cells in after) < 0.9 * len(after):
        return 0
    return starts[place] or None


def more_names(rows: Sequence[Row]) -> int:
    """The number of rows below the names that are names, too: two or three lines of them.

    They hold words where nearly all other rows hold numbers, and no numbers.

    Args:
      rows: the first ones of the table.

    Example:
      >>> from seqjax.data.formats.preamble import more_names
      >>> days = [{"Price": f"2020-01-{day}", "Close": f"{day}.5"} for day in range(10, 31)]
      >>> more_names([{"Price": "Ticker", "Close": "AAPL"}, {"Price": "Date", "Close": ""}, *days])
      2
    """
    if len(rows) < 10:
        return 0
    first, below = rows[0], rows[3:]
    numeric = [
        name for name in first if sum(is_number(row[name]) for row in below) > 0.9 * len(below)
    ]
    if not numeric or any(is_number(first[name]) or is_missing(first[name]) for name in numeric):
        return 0
    words = (not any(is_number(row[name]) for name in numeric) for row in rows[:3])
    return len(list(itertools.takewhile(bool, words)))
