"""Plain texts: a folder per label, or one text per line."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.documents import SUFFIXES, read_document
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import cell_text, plain

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
            f"{path}: a text file with one text in a line has no labels. Use a folder for each "
            "label, or a CSV file."
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
            yield Example(text if fields.tokens is None else tuple(text.split()), None, where, text)
    if not found and not malformed.count:
        raise InputError(f"{path} has no text; expected {WHAT}.")


def read_folder(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The texts of a folder, in order of name, labelled by their subfolders.

    Args:
      path: of the folder. Its subfolders are labels, and the `.txt` and `.md` files in these, at
        any depth, are texts; files beside subfolders are malformed. Without subfolders the texts
        have no labels.
      fields: `require_target` with a `label` requires labels.
      malformed: collects files that are not texts.

    Raises:
      InputError: if there is no text, labels are required but missing, or a file is malformed and
        may not be skipped.
    """
    path = Path(path)
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.")
    try:
        inside = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    labels = [item for item in inside if item.is_dir()]
    if not labels and fields.label is not None and fields.require_target:
        raise InputError(f"{path} has no folders; expected one for each label.")
    files = [(item, None) for item in inside if not item.is_dir() and item.suffix in SUFFIXES]
    if labels:
        for file, _ in files:
            malformed.report(str(file), "expected files in the folder of a label, not beside it")
        files = [
            (file, label.name)
            for label in labels
            for file in sorted(label.rglob("*"))
            if file.suffix in SUFFIXES and not file.is_dir()
        ]
    if not files:
        raise InputError(f"{path} holds no file that ends in {' or '.join(SUFFIXES)}.")
    for file, label in files:
        try:
            text = read_document(file).text
        except InputError as error:
            malformed.report(str(file), str(error).removesuffix("."))
        else:
            yield Example(text, label, str(file), str(file.relative_to(path)))


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


@contextlib.contextmanager
def write_folder(path: str | Path, like: str | Path, fields: Fields) -> Iterator["ListWriter"]:
    """Writes a JSON object per file of a folder, one a line: its name and the predictions."""
    with whole_file(path) as file:
        yield ListWriter(file)


class ListWriter:
    """See `write_folder`."""

    def __init__(self, file: TextIOBase):
        self._file = file

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the line of a file."""
        found = {"file": example.raw, **{name: plain(v) for name, v in prediction.items()}}
        self._file.write(json.dumps(found, ensure_ascii=False) + "\n")


TEXT = Format("text", (".txt", ".text"), read_lines, write_lines)
"""One text per line."""

FOLDER = Format("a folder of texts", (), read_folder, write_folder)
"""A folder per label."""
