"""Numbers, labels and tags from the cells of a table or from JSON values."""

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError

Row = Mapping[str, Any]

LARGEST = float(np.finfo(np.float32).max)
"""The largest finite float32."""


MISSING = frozenset(
    {"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-", "--", ".", "..", ":", "***"}
)
"""Cells that stand for a missing value, in lower case."""

FLAGS = {"true": 1.0, "false": 0.0, "yes": 1.0, "no": 0.0}
"""Cells that are true or false, in lower case."""


def is_missing(value: Any, others: Sequence[str] = ()) -> bool:
    """Whether a cell of a table, or a JSON value, stands for a missing value.

    Args:
      value: of the cell.
      others: further signs of a missing value, besides those in `MISSING`.
    """
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING or text in others:
            return True
    elif value is None or value != value:
        return True
    return bool(others) and _is_one_of(value, others)


def _is_one_of(value: Any, others: Sequence[str]) -> bool:
    """Whether a value is one of some signs, `-999.0` like `-999`."""
    if isinstance(value, bool) or not is_number(value):
        return str(value) in others
    return float(value) in numbers_in(tuple(others))


@functools.cache
def numbers_in(signs: tuple[str, ...]) -> frozenset[float]:
    """The signs of a missing value that are numbers, as float64 and as float32 has them."""
    numbers = [float(sign) for sign in signs if is_number(sign)]
    return frozenset(numbers) | frozenset(float(np.float32(number)) for number in numbers)


def flag_of(value: Any) -> float | None:
    """1 for true and yes, 0 for false and no; None for anything else."""
    if isinstance(value, bool):
        return float(value)
    return FLAGS.get(value.strip().lower()) if isinstance(value, str) else None


def is_number(value: Any) -> bool:
    """Whether a cell of a table, or a JSON value, is a finite number."""
    try:
        number_of(value, "")
    except FlawError:
        return False
    return True


def number_of(value: Any, name: str) -> float:
    """A finite number; `FlawError` for anything else, NaN and inf included."""
    try:
        if isinstance(value, bool) or value is None or (isinstance(value, str) and "_" in value):
            raise ValueError
        found = float(value)
    except (ValueError, TypeError, OverflowError):
        came = "nothing" if value in (None, "") else repr(value)
        hint = ""
        if isinstance(value, str) and any(map(str.isdigit, value)) and set(value) & set(",_' "):
            hint = " (write numbers without thousands separators and with a decimal point)"
        raise FlawError(f"{name!r}: expected a number, got {came}{hint}") from None
    if not abs(found) <= LARGEST:
        raise FlawError(f"{name!r}: expected a finite number in float32, got {value!r}")
    return found


def value_of(value: Any, name: str, fields: Fields) -> float:
    """A finite number, or NaN where a value is missing and may be; `FlawError` for others."""
    if fields.missing and is_missing(value, fields.missing_names):
        return math.nan
    return number_of(value, name)


def channels_of(row: Row, fields: Fields) -> list[float]:
    """The values of a row that is one time step, words one-hot."""
    names = fields.values or ()
    if not fields.categories:
        return [value_of(row[name], name, fields) for name in names]
    words, found = dict(fields.categories), []
    for name in names:
        if name not in words:
            found.append(value_of(row[name], name, fields))
        elif is_missing(row[name], fields.missing_names):
            found += [math.nan] * max(1, len(words[name]))
        elif not words[name]:
            flag = flag_of(row[name])
            if flag is None:
                raise FlawError(f"{name!r}: expected true or false, got {row[name]!r}")
            found.append(flag)
        else:
            found += [float(str(row[name]).strip() == word) for word in words[name]]
    return found


def matrix_of(row: Row, names: Sequence[str], fields: Fields) -> np.ndarray:
    """The series of a row, `(time, channels)` float64.

    Several numbers are a univariate series, which ends before the missing ones at its end. One list
    is a series, with a number or a list of channels per step; several lists are its channels.
    """
    found = [row[name] for name in names]
    quick = None if fields.missing_names else _cells(found)
    if quick is not None:
        return quick
    if not any(isinstance(value, list) for value in found):
        pairs = zip(found, names, strict=True)
        numbers = np.array([[value_of(value, name, fields)] for value, name in pairs])
        held = np.flatnonzero(~np.isnan(numbers[:, 0]))
        if not held.size:
            raise FlawError("expected a number, got missing values alone")
        return numbers[: held[-1] + 1]
    columns = [_series(value, name, fields) for value, name in zip(found, names, strict=True)]
    if len({len(column) for column in columns}) > 1:
        lengths = ", ".join(f"{n!r} {len(c)}" for n, c in zip(names, columns, strict=True))
        raise FlawError(f"expected channels that are equally long, got {lengths}")
    return columns[0] if len(columns) == 1 else np.concatenate(columns, axis=1)


def _cells(values: list[Any]) -> np.ndarray | None:
    """The numbers of a table's row by a fast path; None if it does not apply."""
    try:
        if "_" in "".join(values):
            return None
        found = np.array(list(map(float, values)))
    except (ValueError, TypeError, OverflowError):
        return None
    return found[:, None] if (np.abs(found) <= LARGEST).all() else None


def _series(value: Any, name: str, fields: Fields) -> np.ndarray:
    if not isinstance(value, list):
        raise FlawError(f"{name!r}: expected a list of numbers, got {value!r}"[:200])
    if not value:
        raise FlawError(f"{name!r}: expected at least one step, got an empty list")
    if not isinstance(value[0], list):
        return np.array([[value_of(item, name, fields)] for item in value])
    width = len(value[0])
    for step, item in enumerate(value):
        if not isinstance(item, list) or len(item) != width or not width:
            came = f"{len(item)}" if isinstance(item, list) else repr(item)
            raise FlawError(
                f"{name!r}: expected {max(1, width)} channels in every step, as in the first, got "
                f"{came} in step {step + 1}"
            )
    return np.array([[value_of(part, name, fields) for part in item] for item in value])


def words_of(value: Any, name: str) -> tuple[str, ...]:
    """Tokens or tags: a list of words, or words separated by spaces."""
    words = value.split() if isinstance(value, str) else value
    if not isinstance(words, list) or not all(isinstance(word, str) and word for word in words):
        raise FlawError(f"{name!r}: expected a list of words, got {value!r}"[:200])
    if not words:
        raise FlawError(f"{name!r}: expected at least one word, got none")
    return tuple(words)


def tags_of(value: Any, name: str, names: Sequence[str]) -> tuple[str, ...]:
    """The tags of a row, as `words_of`; numbers stand for `names`, if there are any."""
    if isinstance(value, list):
        value = [str(item) if type(item) is int else item for item in value]
    tags = words_of(value, name)
    return tuple(tag_of(tag, name, names) for tag in tags) if names else tags


def tag_of(tag: str, name: str, names: Sequence[str]) -> str:
    """A tag; a number is the place of its name in `names`, if there are any."""
    if not names:
        return tag
    if not tag.isdigit() or int(tag) >= len(names):
        raise FlawError(
            f"{name!r}: expected the number of a tag, below {len(names)} as there are names, got "
            f"{tag!r}"
        )
    return names[int(tag)]


def label_of(value: Any, name: str, separator: str | None) -> Any:
    """A label; a tuple of labels for a separator or a list; None for an empty one."""
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            raise FlawError(f"{name!r}: expected a list of labels, got {value!r}"[:200])
        return tuple(label_of(item, name, None) or "" for item in value)
    if isinstance(value, bool):
        value = "true" if value else "false"
    if isinstance(value, (int, float)) and math.isfinite(value):
        value = str(value)
    if value is not None and not isinstance(value, str):
        raise FlawError(f"{name!r}: expected a label, got {value!r}"[:200])
    if separator is not None:
        parts = (value or "").split(separator)
        return tuple(part.strip() for part in parts if part.strip())
    return (value or "").strip() or None


def target_of(row: Row, fields: Fields, tokens: int | None) -> Any:
    """The target of a row, or None.

    Args:
      row: of the file.
      fields: of the file.
      tokens: the required number of tags; None if tags are not in this row.
    """
    target = None
    if fields.label is not None:
        name = fields.label
        if name in row:
            target = label_of(row[name], name, fields.label_separator)
    elif fields.number is not None:
        value, name = row.get(fields.number), fields.number
        if value not in (None, "") or fields.require_target:
            many = isinstance(value, list)
            target = matrix_of(row, [name], Fields())[:, 0] if many else number_of(value, name)
    elif fields.tag is not None and tokens is not None:
        value, name = row.get(fields.tag), fields.tag
        target = None if value in (None, "", []) else tags_of(value, name, fields.tag_names)
        if target is not None and len(target) != tokens:
            raise FlawError(
                f"{name!r}: expected {tokens} tags, as many as tokens, got {len(target)}"
            )
    else:
        return None
    if target is None and fields.require_target:
        raise FlawError(f"{name!r}: expected a label, got nothing")
    return target
