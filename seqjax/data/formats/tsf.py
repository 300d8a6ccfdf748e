"""Series of the Monash forecasting archive, `.tsf`."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.description import Description
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of
from seqjax.data.formats.json_lines import writer
from seqjax.data.formats.values import value_of

WHAT = "a .tsf file"


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The series of a `.tsf` file: after `@data` one in a line, its attributes before its values.

    Args:
      path: of the file.
      fields: `missing` and `missing_names` are used.
      malformed: collects malformed series.

    Raises:
      InputError: if it is no such file or has no series, or one is malformed and may not be
        skipped.
    """
    attributes: list[str] = []
    begun = found = False
    for number, line in lines_of(path, WHAT):
        text, where = line.strip(), f"{path}, line {number}"
        word = text.split(None, 2)
        if not text or text.startswith("#"):
            continue
        if begun:
            found = True
            try:
                yield _series(text, attributes, where, fields)
            except FlawError as flaw:
                malformed.report(where, str(flaw))
        elif word[0].lower() == "@attribute" and len(word) > 1:
            attributes.append(word[1])
        elif text.startswith("@"):
            begun = word[0].lower() == "@data"
        else:
            raise InputError(f"{where}: expected a line that begins with @, got {text[:60]!r}.")
    if not found:
        raise InputError(f"{path} has no series below a line @data; expected {WHAT}.")


def _series(text: str, attributes: list[str], where: str, fields: Fields) -> Example:
    check_text(text)
    # Times hold hyphens where others have colons: 1979-01-01 00-00-00.
    *given, values = text.split(":")
    if len(given) != len(attributes):
        raise FlawError(
            f"expected {len(attributes)} attributes before the values, got {len(given)}"
        )
    numbers = [value_of(cell.strip(), "value", fields) for cell in values.split(",")]
    if np.isnan(numbers).all():
        raise FlawError("expected a number, got missing values alone")
    raw = dict(zip(attributes, given, strict=True))
    return Example(np.array(numbers)[:, None], None, where, raw)


def describe(path: str | Path, fields: Fields) -> Description:
    """How it is read: no row is a step."""
    return Description(path, dataclasses.replace(fields, one_series=False))


TSF = Format(".tsf", (".tsf",), read, writer, describe, written_as=".jsonl")
"""A series in a line."""
