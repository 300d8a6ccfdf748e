"""Series and times that several columns name together: `--series store+family`."""

from collections.abc import Iterable, Mapping
from typing import Any

from seqjax.data.formats.fields import Fields

SIGN = "+"


def joined_columns(fields: Fields, names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """The columns that each joined one is made of.

    Args:
      fields: whose `series` and `time` may join columns by a plus sign.
      names: of the columns of the file; one that has a plus sign in its own name is not joined.

    Example:
      >>> from seqjax.data.formats import Fields
      >>> from seqjax.data.formats.joined_columns import joined_columns
      >>> joined_columns(Fields(time="date+hour"), ["date", "hour", "load"])
      {'date+hour': ('date', 'hour')}
    """
    names, found = set(names), {}
    for name in (fields.series, fields.time):
        if name is not None and name not in names and SIGN in name:
            parts = tuple(part.strip() for part in name.split(SIGN))
            if names.issuperset(parts):
                found[name] = parts
    return found


def with_joined(row: Mapping[str, Any], joined: Mapping[str, tuple[str, ...]]) -> Mapping[str, Any]:
    """A row with its joined columns: the cells of their parts, with spaces between."""
    if not joined:
        return row
    # A row without one of the parts has no such name or time.
    cells = {name: [row[part] for part in parts] for name, parts in joined.items()}
    return {
        **row,
        **{
            name: "" if any(cell in ("", None) for cell in parts) else " ".join(map(str, parts))
            for name, parts in cells.items()
        },
    }


def parts_of(text: str, parts: tuple[str, ...], last: Mapping[str, Any]) -> dict[str, Any]:
    """A later time in the columns that it is joined from, each written as in the last row."""
    found = {}
    for part, cell in zip(parts, text.split(" ", len(parts) - 1), strict=False):
        before = last[part]
        if cell.isdigit() and not str(before).startswith("0"):
            cell = str(int(cell))
        found[part] = int(cell) if isinstance(before, int) else cell
    return found
