"""How a table writes its numbers: the decimal and the thousands."""

import dataclasses
import functools
import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.formats.file_access import FlawError

SPACES = " \N{NO-BREAK SPACE}\N{NARROW NO-BREAK SPACE}\N{THIN SPACE}"
APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"
LIKE_A_NUMBER = re.compile(rf"[+-]?[.,]?\d[\d.,{APOSTROPHES}{SPACES}]*(?:[eE][+-]?\d+)?")


@dataclasses.dataclass(frozen=True)
class Numerals:
    """How numbers are written.

    Args:
      decimal: the decimal separator, a point or a comma.
      thousands: the signs that may separate thousands; empty if none are used.
    """

    decimal: str = "."
    thousands: str = ""

    def fit(self, cell: str) -> bool:
        """Whether a cell is a number that is written like this."""
        return _pattern(self.decimal, self.thousands).fullmatch(cell) is not None

    def plain(self, cell: str, name: str) -> str:
        """A number as Python writes it; what is no number stays as it is.

        Raises:
          FlawError: if a cell of the column `name` is a number in another notation.
        """
        text = cell.strip()
        if self == POINT or LIKE_A_NUMBER.fullmatch(text) is None:
            return cell
        if not self.fit(text):
            raise FlawError(f"{name!r}: expected a number with {self}, got {cell!r}")
        return text.translate(dict.fromkeys(map(ord, self.thousands))).replace(self.decimal, ".")

    def local(self, text: str) -> str:
        """A number that Python wrote, as the file writes numbers."""
        return text.replace(".", self.decimal)

    def __str__(self) -> str:
        if self == POINT:
            return "a decimal point"
        decimal = "decimal commas" if self.decimal == "," else "a decimal point"
        # Where the decimal is a comma, points between thousands are read whether there are any.
        signs = {"": "", ".": "", ",": "commas", APOSTROPHES: "apostrophes"}
        sign = signs.get(self.thousands, "spaces")
        return f"{decimal} and {sign} between thousands" if sign else decimal


@functools.cache
def _pattern(decimal: str, thousands: str) -> re.Pattern[str]:
    digits, point = r"\d+", re.escape(decimal)
    if thousands:
        digits = rf"(?:\d+|[1-9]\d{{0,2}}(?:[{re.escape(thousands)}]\d{{3}})+)"
    return re.compile(rf"[+-]?(?:{digits}(?:{point}\d*)?|{point}\d+)(?:[eE][+-]?\d+)?")


POINT, GERMAN, ENGLISH = Numerals(), Numerals(",", "."), Numerals(".", ",")
KINDS = (
    POINT,
    ENGLISH,
    # Where the decimal is a comma, a point can only separate thousands.
    GERMAN,
    Numerals(".", SPACES),
    Numerals(",", SPACES),
    Numerals(".", APOSTROPHES),
    Numerals(",", APOSTROPHES),
)
DECIMALS = {"point": ".", "comma": ","}
EITHER = re.compile(r"[+-]?[1-9]\d{0,2}\.\d{3}")
"""A number whose point may separate decimals or thousands."""

LOOKED_AT = 100_000
"""Cells after the first rows, at most, that are collected to tell how numbers are written."""

Later = Callable[[Sequence[int]], Iterator[tuple[int, str]]]
"""Of columns by their places: all cells with a point, each with its place."""


def find_numerals(
    path: str | Path,
    delimiter: str,
    columns: Iterable[Sequence[str]],
    decimal: str | None = None,
    later: Later = lambda places: iter(()),
) -> tuple[Numerals, str]:
    """How the numbers of a table are written, from the first cells of its columns.

    Args:
      path: of the table.
      delimiter: between its cells.
      columns: their first cells.
      decimal: `"point"` or `"comma"`, if the user said so.
      later: cells of the whole table, if the first ones leave it open.

    Returns:
      The numerals; and, where they might be others, what was taken and how to say otherwise.

    Raises:
      InputError: if the commas of a column are either decimals or thousands, and nothing says
        which.

    Example:
      >>> from seqjax.data.formats.numerals import find_numerals
      >>> numerals, said = find_numerals("a.csv", ";", [["950", "1.000", "1.020"]])
      >>> numerals.plain("1.020", "sold")
      '1020'
      >>> said
      "points between thousands, as in '1.000' (--decimal point reads decimals)"
    """
    numbers = {place: held for place, held in enumerate(map(_numbers_of, columns)) if held}
    kinds = [kind for kind in KINDS if decimal is None or kind.decimal == DECIMALS[decimal]]
    fitting = [{kind for kind in kinds if all(map(kind.fit, held))} for held in numbers.values()]
    found = max(kinds, key=lambda kind: sum(kind in others for others in fitting))
    if decimal is None and found == POINT:
        return _points(delimiter, numbers, later)
    if decimal is None and found == ENGLISH and delimiter != ",":
        return _commas(path, list(numbers.values()), fitting), ""
    return found, ""


def _points(delimiter: str, numbers: dict[int, list[str]], later: Later) -> tuple[Numerals, str]:
    """Whether points separate decimals or thousands."""
    dotted: dict[int, list[str]] = {}
    first = ((place, cell) for place, held in numbers.items() for cell in held if "." in cell)
    rest = itertools.islice(later(list(numbers)), LOOKED_AT)
    for place, cell in itertools.chain(first, rest):
        if EITHER.fullmatch(cell):
            dotted.setdefault(place, []).append(cell)
        elif POINT.fit(cell):
            return POINT, ""
        elif GERMAN.fit(cell):
            return GERMAN, ""
    if not dotted:
        return POINT, ""
    sample = next(iter(dotted.values()))[0]
    for place, cells in dotted.items():
        whole = [int(cell) for cell in numbers[place] if cell.lstrip("+-").isdigit()]
        # As thousands, the numbers with a point are the larger ones; as decimals, they are not.
        larger = whole and max(map(abs, whole)) > max(abs(int(c.split(".")[0])) for c in cells)
        # Decimals of a fixed width would stand in every cell, and others do not end in 0.
        fixed = any(cell.endswith("0") for cell in cells)
        if larger and max(map(abs, whole)) < 1000 and (fixed or delimiter == ";"):
            said = f"points between thousands, as in {sample!r} (--decimal point reads decimals)"
            return GERMAN, said
    return POINT, f"a decimal point, as in {sample!r} (--decimal comma reads thousands)"


def _commas(path: str | Path, numbers: list[list[str]], fitting: list[set[Numerals]]) -> Numerals:
    """Whether commas separate decimals or thousands.

    Raises:
      InputError: if nothing says which.
    """
    unclear = [
        held
        for held, kinds in zip(numbers, fitting, strict=True)
        if {ENGLISH, GERMAN} <= kinds and POINT not in kinds
    ]
    clear = [kinds for kinds in fitting if len({ENGLISH, GERMAN} & kinds) == 1]
    if clear or not unclear:
        return ENGLISH
    if all(any("," not in cell for cell in held) for held in unclear):
        # Decimals of a fixed width would stand in every cell, and thousands only in large ones.
        whole = [cell.lstrip("+-") for held in unclear for cell in held if "," not in cell]
        return ENGLISH if max(map(len, whole)) <= len("999") else GERMAN
    raise InputError(
        f"{path}: the numbers look like {unclear[0][0]!r}, whose comma may separate decimals or "
        "thousands: --decimal comma or --decimal point says which."
    )


def _numbers_of(column: Sequence[str]) -> list[str]:
    """The numbers of a column, in whatever notation; none if most cells are something else."""
    cells = [cell.strip() for cell in column if cell.strip()]
    found = [cell for cell in cells if LIKE_A_NUMBER.fullmatch(cell)]
    return found if 2 * len(found) > len(cells) else []
