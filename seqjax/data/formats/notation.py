"""How a table writes its rows: the delimiter, the quotes, the lines before and below the names."""

import csv
import dataclasses
import itertools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from seqjax.data.formats.headers import tells_columns
from seqjax.data.formats.numerals import POINT, Numerals

DELIMITERS = ",;\t|"
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*\Z', re.IGNORECASE)
"""The first line by which spreadsheets are told the delimiter."""

NAMES = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "vertical bars", " ": "spaces"}


@dataclasses.dataclass(frozen=True)
class Notation:
    """How a table is written.

    Args:
      delimiter: between cells.
      numerals: how its numbers are written.
      doubt: what these are, and how to say otherwise, where they might be others.
      before: number of lines before the names of the columns.
      preamble: whether these lines are a title, and not `sep=;`.
      below: number of lines below the names of the columns that hold more names.
      encoding: of its text.
      quotes: whether quotes enclose cells; if not, they are part of the text.
      header: whether the first line names the columns.
      named: whether the user named the columns.
      rows: the cells of its first lines.
    """

    delimiter: str = ","
    numerals: Numerals = POINT
    doubt: str = ""
    before: int = 0
    preamble: bool = False
    below: int = 0
    encoding: str = "utf-8"
    quotes: bool = True
    header: bool = True
    named: bool = False
    rows: Sequence[Sequence[str]] = ()

    @property
    def dialect(self) -> dict[str, Any]:
        """The arguments of `csv.reader` and `csv.writer`."""
        if self.quotes:
            return {"delimiter": self.delimiter}
        return {"delimiter": self.delimiter, "quoting": csv.QUOTE_NONE, "quotechar": None}

    def remarks(self, path: str | Path) -> tuple[str, ...]:
        """What is unusual in it."""
        usual = "\t" if is_tabbed(path) else ","
        found = []
        if self.before and self.preamble:
            lines = "1 line" if self.before == 1 else f"{self.before} lines"
            found.append(f"{lines} before the names of the columns left out")
        if self.below:
            lines = "1 line" if self.below == 1 else f"{self.below} lines"
            found.append(f"{lines} of more names below those of the columns left out")
        if not self.header and not self.named:
            found.append("column_1, column_2, ... as names of columns (--columns gives others)")
        if self.encoding != "utf-8":
            found.append(f"the encoding {self.encoding.upper()}")
        if self.delimiter != usual:
            found.append(f"{NAMES.get(self.delimiter, repr(self.delimiter))} between columns")
        if self.doubt or self.numerals != POINT:
            found.append(self.doubt or str(self.numerals))
        return tuple(found)


def is_tabbed(path: str | Path) -> bool:
    """Whether the suffix of a file says that tabs separate its columns."""
    return Path(str(path).removesuffix(".gz")).suffix.lower() in (".tsv", ".tab")


def find_delimiter(path: str | Path, lines: Sequence[str]) -> str:
    """The delimiter of a table from its first lines.

    It is a tab if the suffix says so, or if all lines have as many; a space between columns that
    hold nothing but numbers; otherwise the one that splits most lines into as many cells
    as the first, and of these the one that makes most cells.
    """
    separator = tells_columns(lines)
    if is_tabbed(path) or separator is not None:
        return separator or "\t"

    def agreement(delimiter: str) -> tuple[float, int, int]:
        widths = [len(cells) for cells in split(lines, delimiter)]
        place = DELIMITERS.index(delimiter)
        if not widths or widths[0] < 2:
            return 0.0, 0, -place
        same = sum(width == widths[0] for width in widths) / len(widths)
        # Where all make as many cells, commas are part of the text.
        return round(same, 1), widths[0], place

    return max(DELIMITERS, key=agreement)


def are_quotes(delimiter: str, lines: Sequence[str]) -> bool:
    """Whether the quotes in the first lines of a table enclose cells, or are part of the text.

    Between commas they enclose; between tabs and vertical bars only if a quote in a cell is
    doubled, or a line ends in a cell that is not closed.
    """
    if delimiter == " ":
        return False
    if delimiter not in "\t|":
        return True
    rows = [line.strip("\r\n").split(delimiter) for line in lines if line.strip()]

    def is_enclosed(cell: str) -> bool:
        return len(cell) > 4 and cell[0] == cell[-1] == '"' and '""' in cell[1:-1]

    def goes_on(row: list[str], after: list[str]) -> bool:
        last, width = row[-1], len(rows[0])
        return last[:1] == '"' and last.count('"') % 2 == 1 and width > min(len(row), len(after))

    return any(itertools.starmap(goes_on, itertools.pairwise(rows))) or any(
        is_enclosed(cell) for row in rows for cell in row
    )


def split(lines: Sequence[str], delimiter: str) -> list[list[str]]:
    """The cells of lines whose quotes enclose cells, as far as they are well-formed."""
    found = []
    try:
        for cells in csv.reader(lines, delimiter=delimiter):
            if cells:
                found.append(cells)
    except csv.Error:
        pass
    return found
