"""Text files: one text per line."""

import contextlib
from collections.abc import Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import cell_text
from seqjax.data.formats.text_spans import tokens_of

WHAT = "a text file with one text in a line"


def read_lines(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """One text per line, without labels; or its tokens, if `fields.tokens` is set.

    Args:
      path: of the file.
      fields: may not require labels or tags.
      malformed: collects malformed lines, blank ones included.

    Raises:
      InputError: if it is not a text file, labels are required, or a line is malformed and may not
        be skipped.
    """
    if fields.require_target and (fields.label or fields.number or fields.tag):
        raise InputError(
            f"{path}: a text file with one text in a line has no labels. Use a folder, or in a "
            "folder a file, for each label, or a table."
        )
    found = False
    for number, line in lines_of(path, WHAT):
        text, where = line.rstrip("\r\n"), f"{path}, line {number}"
        try:
            check_text(text)
            if not text.strip():
                raise FlawError("expected a text, got a blank line")
        except FlawError as flaw:
            malformed.report(where, str(flaw))
        else:
            found = True
            tokens = [token.text for token in tokens_of(text)] if fields.spans else text.split()
            yield Example(text if fields.tokens is None else tuple(tokens), None, where, text)
    if not found and not malformed.count:
        raise InputError(f"{path} has no text; expected {WHAT}.")


@contextlib.contextmanager
def write_lines(path: str | Path, like: str | Path, fields: Fields) -> Iterator["LineWriter"]:
    """Writes texts, one per line, followed by their tab-separated predictions."""
    with whole_file(path) as file:
        yield LineWriter(file)


class LineWriter:
    """See `write_lines`."""

    def __init__(self, file: TextIOBase):
        self._file = file

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes a line: the text and the values, separated by tabs."""
        values = (" ".join(cell_text(value).split()) for value in prediction.values())
        self._file.write("\t".join([example.raw, *values]) + "\n")


TEXT = Format("text", (".txt", ".text"), read_lines, write_lines)
"""One text per line."""
