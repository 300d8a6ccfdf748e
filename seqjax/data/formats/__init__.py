"""Readers and writers of file formats."""

from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.formats.base import Format, Writer
from seqjax.data.formats.conllu import CONLLU
from seqjax.data.formats.csv_files import CSV
from seqjax.data.formats.description import Choice, Column, Description
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.json_lines import JSON_LINES
from seqjax.data.formats.npz import NPZ
from seqjax.data.formats.text_files import FOLDER, TEXT
from seqjax.data.formats.ts import TS

__all__ = [
    "FORMATS",
    "Choice",
    "Column",
    "Description",
    "Fields",
    "Format",
    "Writer",
    "find_format",
]

FORMATS = (CSV, JSON_LINES, CONLLU, TS, NPZ, TEXT)
"""The formats that are identified by the suffix of a file."""


def find_format(path: str | Path) -> Format:
    """The format of a file by its suffix, ignoring `.gz`; a folder is one of texts.

    Raises:
      InputError: if no format has this suffix.

    Example:
      >>> from seqjax.data.formats import find_format
      >>> find_format("readings.csv.gz").name
      'CSV'
    """
    path = Path(path)
    if path.is_dir():
        return FOLDER
    suffix = Path(path.name.removesuffix(".gz")).suffix.lower()
    for found in FORMATS:
        if suffix in found.suffixes and not (found is NPZ and path.suffix == ".gz"):
            return found
    known = ", ".join(suffix for found in FORMATS for suffix in found.suffixes)
    raise InputError(
        f"{path}: the name of a file says how to read it, and must end in {known} (all but .npz "
        "also with .gz), or be a folder of texts."
    )
