"""The words of columns that hold words, which are encoded one-hot."""

from collections.abc import Iterable
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.description import Description
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.values import is_missing

MOST_WORDS = 100
"""Number of different words of a column at most: each becomes a channel."""


def find_categories(
    paths: Iterable[Path], format: Format, description: Description
) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """The words of the columns of values that hold words, and the columns of true and false.

    Args:
      paths: the files to learn from.
      format: of these.
      description: of the first of them.

    Raises:
      InputError: if a column holds too many different words.
    """
    fields = description.fields
    if not fields.by_step:
        return ()
    found = []
    for column in description.columns:
        if column.name not in (fields.values or ()):
            continue
        if column.kind == "true or false":
            found.append((column.name, ()))
        if column.kind == "words":
            found.append((column.name, _words(paths, format, column.name, fields)))
    return tuple(found)


def _words(paths: Iterable[Path], format: Format, name: str, fields: Fields) -> tuple[str, ...]:
    words: set[str] = set()
    for path in paths:
        for example in format.read(path, Fields(text=name), Malformed(skip=True)):
            if not is_missing(example.inputs, fields.missing_names):
                words.add(example.inputs.strip())
            if len(words) > MOST_WORDS:
                raise InputError(
                    f"{path}: the column {name!r} holds more than {MOST_WORDS} different words, "
                    f"such as {min(words)!r}: too many to encode. Leave it out, or write numbers."
                )
    return tuple(sorted(words))
