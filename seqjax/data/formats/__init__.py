"""Readers and writers of file formats."""

from itertools import islice
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.formats.base import Format, SeriesWriter, Writer
from seqjax.data.formats.conllu import CONLLU, is_conllu
from seqjax.data.formats.csv_files import CSV
from seqjax.data.formats.description import Choice, Column, Description
from seqjax.data.formats.fields import Fields
from seqjax.data.formats.file_access import lines_of
from seqjax.data.formats.folders import FOLDER
from seqjax.data.formats.headers import tells_columns
from seqjax.data.formats.json_lines import JSON_LINES, is_json
from seqjax.data.formats.library_tables import ARFF, EXCEL, PARQUET
from seqjax.data.formats.npy import NPY
from seqjax.data.formats.npz import NPZ
from seqjax.data.formats.text_files import TEXT
from seqjax.data.formats.token_tables import TOKENS, looks_like_token_table
from seqjax.data.formats.ts import TS
from seqjax.data.formats.tsf import TSF

__all__ = [
    "FORMATS",
    "Choice",
    "Column",
    "Description",
    "Fields",
    "Format",
    "SeriesWriter",
    "Writer",
    "find_format",
]

FORMATS = (CSV, JSON_LINES, CONLLU, TOKENS, TS, TSF, NPZ, NPY, PARQUET, EXCEL, ARFF, TEXT)
BINARY = (NPZ, NPY, PARQUET, EXCEL, ARFF)
"""The formats that are identified by the suffix of a file."""


def find_format(path: str | Path, fields: Fields | None = None) -> Format:
    """The format of a file by its suffix, ignoring `.gz`; a folder is one of texts.

    Args:
      path: of the file.
      fields: the roles of its columns. With them the first lines of a text file, or of a file with
        another suffix, tell a table from a text, and where tags are wanted a table of words from
        CoNLL-U.

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
        if suffix in found.suffixes and not (found in BINARY and path.suffix == ".gz"):
            break
    else:
        found = None
    tagged = fields is not None and fields.tag is not None and path.is_file()
    if tagged and found is TOKENS and is_conllu(path):
        return CONLLU
    if tagged and (found in (None, TEXT) or suffix == ".tsv") and looks_like_token_table(path):
        return TOKENS
    if found is None and path.is_file() and is_json(path):
        return JSON_LINES
    if fields is not None and found in (None, TEXT) and path.is_file():
        return _by_content(path, fields, found)
    if found is not None:
        return found
    known = ", ".join(suffix for found in FORMATS for suffix in found.suffixes)
    raise InputError(
        f"{path}: the name of a file says how to read it, and must end in {known} (those of "
        "texts also with .gz), or be a folder of texts."
    )


FIRST_LINES = 50
"""Number of lines that tell a table from a text."""


def _by_content(path: Path, fields: Fields, found: Format | None) -> Format:
    """A table or a text, one in a line, by the first lines and by what is asked for."""
    lines = [line for _, line in islice(lines_of(path, "a text or a table"), FIRST_LINES)]
    separator = tells_columns(lines)
    if fields.text is not None or fields.tokens is not None:
        has_target = fields.label is not None or fields.number is not None
        return CSV if separator == "\t" and has_target else TEXT
    if separator is not None or fields.by_step or fields.image or fields.audio:
        return CSV
    # Numbers between commas may have any ending; lines without any are texts.
    is_text = found is TEXT or not fields.require_target
    return TEXT if is_text else CSV
