"""Folders of texts, pictures or sounds: a folder, or a file of texts, for each label."""

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from io import TextIOBase
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.core.errors import InputError
from seqjax.data.documents import SUFFIXES, read_document
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.audio import SOUNDS, audio_of
from seqjax.data.formats.base import Format, stored
from seqjax.data.formats.description import Choice, Description, listed
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.images import PICTURES, image_of
from seqjax.data.formats.predictions import plain


class Listing(NamedTuple):
    """The files of a folder with their labels, and the names of those left out."""

    files: Sequence[tuple[Path, str | None]]
    left_out: list[str]


def read_folder(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The texts of a folder, in order of name, labelled by their subfolders or by their files.

    With `fields.image` or `fields.audio`, it is a folder of pictures or of sounds.

    Args:
      path: of the folder. Its subfolders are labels, and the `.txt` and `.md` files in these, at
        any depth, are texts, or all files if none has such a name; files beside subfolders are
        left out, and so are subfolders of unlabelled texts (`unsup`) where labels are required.
        Without subfolders the files are labels and their lines texts, if labels are
        required, or else texts without labels.
      fields: `require_target` with a `label` requires labels; with `by_line` every line of a file
        is a text.
      malformed: collects files and lines that are not texts.

    Raises:
      InputError: if there is no text, labels are required but missing, or a file is malformed and
        may not be skipped.
    """
    path = Path(path)
    fields = describe(path, fields).fields
    for file, label in list_folder(path, fields).files:
        if fields.by_line:
            yield from _lines(file, label or file.stem, malformed)
            continue
        name = str(file.relative_to(path))
        read: Callable[[], Any] = partial(_text, file)
        if fields.image is not None:
            read = partial(image_of, name, fields.image, path, fields.image_size)
        elif fields.audio is not None:
            read = partial(audio_of, name, dataclasses.replace(fields.audio, folder=None), path)
        try:
            inputs = stored(str(file), file, read)
        except OSError as error:
            malformed.report(str(file), f"cannot be read ({error.strerror or error})")
        else:
            yield Example(inputs, label, str(file), {"file": name})


def _text(file: Path) -> str:
    return read_document(file).text


def _lines(file: Path, label: str, malformed: Malformed) -> Iterator[Example]:
    for number, line in lines_of(file, "a text in every line"):
        text, where = line.strip(), f"{file}, line {number}"
        if not text:
            continue
        try:
            check_text(text)
        except FlawError as flaw:
            malformed.report(where, str(flaw))
        else:
            yield Example(text, label, where, {"file": file.name, "line": number})


def list_folder(path: Path, fields: Fields) -> Listing:
    """The files that hold the texts of a folder.

    Raises:
      InputError: if there are none, or labels are required but missing.
    """
    if not path.is_dir():
        raise InputError(f"There is no folder {path}.")
    try:
        inside = sorted(item for item in path.iterdir() if not item.name.startswith("."))
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    labels = [item for item in inside if item.is_dir()]
    beside = [item for item in inside if not item.is_dir()]
    wanted = partial(_wanted, path, fields)
    if not labels:
        return Listing([(file, None) for file in wanted(beside)], [])
    if fields.label is not None and fields.require_target:
        beside += [item for item in labels if item.name.lower() in UNLABELLED]
        labels = [item for item in labels if item.name.lower() not in UNLABELLED]
        if labels and all(item.name.lower() in PARTS for item in labels):
            names = ", ".join(str(item) for item in labels)
            raise InputError(
                f"{path} holds the parts of a data set, and no folder for each label: name the "
                f"parts ({names}) with --train, --validation and --test."
            )
    every = [(file, label.name) for label in labels for file in sorted(label.rglob("*"))]
    texts = set(wanted([file for file, _ in every if file.is_file()]))
    found = [(file, label) for file, label in every if file in texts]
    return Listing(found, [file.name for file in beside])


def _wanted(path: Path, fields: Fields, files: list[Path]) -> list[Path]:
    """The files of pictures or sounds if they are wanted; if not, those of texts.

    Texts are files with their suffixes, or all if none has a suffix.
    """
    kinds = {"pictures": PICTURES, "sounds": SOUNDS}
    kind = "pictures" if fields.image else "sounds" if fields.audio else "texts"
    suffixes = kinds.get(kind, SUFFIXES)
    found = [file for file in files if file.suffix.lower() in suffixes]
    if not found and kind == "texts" and not any(file.suffix in KNOWN for file in files):
        # News groups and mails are files named by a number.
        found = [file for file in files if not file.suffix.strip(".") or file.suffix[1:].isdigit()]
    if not found:
        advice = [
            f" It holds {other}: {option} file reads them."
            for other, option in (("pictures", "--frames"), ("sounds", "--audio"))
            if any(file.suffix.lower() in kinds[other] for file in files)
        ]
        raise InputError(
            f"{path} holds no file that ends in {' or '.join(suffixes)}.{''.join(advice)}"
        )
    return found


UNLABELLED = ("unsup", "unsupervised", "unlabeled", "unlabelled")
"""Folders of texts without a label."""

PARTS = ("train", "training", "test", "testing", "valid", "validation", "val", "dev")
"""Folders of the parts of a data set."""

KNOWN = (".csv", ".json", ".jsonl", ".tsv", *PICTURES, *SOUNDS)
"""Suffixes of what is no text."""


def describe(path: str | Path, fields: Fields) -> Description:
    """How a folder is read: what its labels are, and what is left out."""
    path = Path(path)
    files, left_out = list_folder(path, fields)
    labelled = any(label is not None for _, label in files)
    if fields.label is None or not (labelled or fields.require_target):
        return Description(path, fields, len(files))
    if labelled:
        aside = f"; left out beside them: {listed(left_out)}" if left_out else ""
        names, why = dict.fromkeys(str(label) for _, label in files), f"the folders{aside}"
    elif len(files) > 1 and fields.image is None and fields.audio is None:
        fields = dataclasses.replace(fields, by_line=True)
        names, why = [file.stem for file, _ in files], "a file each, whose lines are the texts"
    else:
        files_too = "" if fields.image or fields.audio else ", or a file,"
        raise InputError(f"{path} has no folders; expected one{files_too} for each label.")
    choice = Choice("labels", tuple(names), why)
    return Description(path, fields, len(files), choices=(choice,))


@contextlib.contextmanager
def write_folder(path: str | Path, like: str | Path, fields: Fields) -> Iterator["ListWriter"]:
    """Writes a JSON object per text of a folder, one a line: its file and the predictions."""
    with whole_file(path) as file:
        yield ListWriter(file)


class ListWriter:
    """See `write_folder`."""

    def __init__(self, file: TextIOBase):
        self._file = file

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes the line of a text."""
        found = {**example.raw, **{name: plain(v) for name, v in prediction.items()}}
        self._file.write(json.dumps(found, ensure_ascii=False) + "\n")


FOLDER = Format("a folder", (), read_folder, write_folder, describe)
"""A folder or a file per label."""
