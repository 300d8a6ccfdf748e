"""How a file is read: what its first rows say of it, and what follows from that."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Literal, NamedTuple

from seqjax.data.formats.fields import Fields

Kind = Literal["numbers", "true or false", "words", "lists", "nothing"]
"""What the cells of a column hold."""


class Column(NamedTuple):
    """A column of a table, as its first rows show it.

    Attributes:
      name: of the column.
      kind: of its cells.
      missing: number of cells without a value.
      sample: a cell, as it stands in the file.
      note: why its numbers are no values (`"an index"`), or empty.
    """

    name: str
    kind: Kind
    missing: int
    sample: str
    note: str = ""


class Choice(NamedTuple):
    """Columns that the user did not name: their role, which were chosen, and why."""

    role: str
    names: tuple[str, ...]
    why: str


@dataclasses.dataclass(frozen=True)
class Description:
    """How a file is read.

    Args:
      path: of the file.
      fields: the roles of its columns, with those filled in that the user did not name, so that
        another file, with more or fewer columns, is read in the same way.
      rows: number of first rows that it was made from.
      columns: of a table, in the order of the file.
      notation: how the file is written where that is unusual (`"decimal commas"`).
      choices: the columns that were chosen for a role, and why.
      advice: what could be read in a better way.

    Example:
      >>> from seqjax.data.formats import Description, Fields
      >>> fields = Fields(values=("sold",), one_series=True)
      >>> Description("a.csv", fields, rows=100, notation=("decimal commas",)).lines()
      ['a.csv: read with decimal commas']
    """

    path: str | Path
    fields: Fields
    rows: int = 0
    columns: tuple[Column, ...] = ()
    notation: tuple[str, ...] = ()
    choices: tuple[Choice, ...] = ()
    advice: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        """What the user did not say and should know: a line for each choice."""
        notation = [f"{self.path}: read with {', '.join(self.notation)}"] if self.notation else []
        return [
            *notation,
            *(
                f"{self.path}: {choice.role} from {listed(choice.names)}, {choice.why}"
                for choice in self.choices
            ),
            *(f"{self.path}: {line}" for line in self.advice),
        ]


def listed(names: Iterable[str]) -> str:
    """Up to 12 names, quoted."""
    names = list(names)
    more = f" and {len(names) - 12} more" if len(names) > 12 else ""
    return ", ".join(map(repr, names[:12])) + more
