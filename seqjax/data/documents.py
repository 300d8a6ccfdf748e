"""Text files as documents."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.core.errors import InputError

SUFFIXES = (".txt", ".md")
"""Suffixes of the text files of a folder; a file named explicitly may have any."""


class Document(NamedTuple):
    """An independent text: no state flows from one document into another."""

    name: str
    text: str


def read_documents(
    paths: Iterable[str | Path], suffixes: Sequence[str] = SUFFIXES
) -> list[Document]:
    """One document per text file, in order of name.

    Args:
      paths: files, or folders, searched recursively.
      suffixes: of the files that are read in folders.

    Returns:
      The documents, at least one, none empty.

    Raises:
      InputError: if a path is missing, a folder holds no text, or a file is empty, binary
        or not UTF-8; the message names the file.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if path.is_dir():
            inside = sorted(file for file in path.rglob("*") if file.is_file())
            found = [file for file in inside if file.suffix in suffixes]
            if not found:
                counts = Counter(file.suffix or "no suffix" for file in inside).most_common(5)
                held = ", ".join(f"{count:,} with {suffix}" for suffix, count in counts)
                raise InputError(
                    f"The folder {path} holds no file that ends in {' or '.join(suffixes)}; its "
                    f"files are {held or 'none'}. Name the files themselves, or their suffixes "
                    "with --suffixes."
                )
            files += found
        elif path.exists():
            files.append(path)
        else:
            raise InputError(f"There is no file or folder {path}.")
    return [read_document(file) for file in files]


def read_document(path: str | Path) -> Document:
    """Reads one UTF-8 text file; see `read_documents`."""
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    if b"\0" in content:
        raise InputError(
            f"{path} is not a text file (it has a zero byte at position {content.index(0)}). "
            "Convert it to plain UTF-8 text first."
        )
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8: byte {content[error.start]:#04x} at position {error.start}. "
            f"Convert it, for example with `iconv -f latin1 -t utf-8 {path} > new.txt`."
        ) from None
    text = text.replace("\r\n", "\n")
    if not text.strip():
        raise InputError(f"{path} is empty.")
    return Document(str(path), text)


def split_documents(
    documents: Sequence[Document], fraction: float
) -> tuple[list[Document], list[Document]]:
    """Training documents and held-out documents, at least one of each.

    Of three documents or more, whole ones, evenly spaced over the list, are held out; of fewer, the
    end of each.

    Args:
      documents: at least one.
      fraction: share to hold out, of the documents or of the characters, between 0 and 1.

    Returns:
      `(train, held_out)`.
    """
    if len(documents) < 3:
        cuts = [max(1, int(len(text) * (1 - fraction))) for _, text in documents]
        pairs = list(zip(documents, cuts, strict=True))
        return (
            [Document(document.name, document.text[:cut]) for document, cut in pairs],
            [
                Document(f"{document.name} (end)", document.text[cut:])
                for document, cut in pairs
                if document.text[cut:]
            ],
        )
    count = min(len(documents) - 1, max(1, round(len(documents) * fraction)))
    chosen = {(2 * i + 1) * len(documents) // (2 * count) for i in range(count)}
    return (
        [document for i, document in enumerate(documents) if i not in chosen],
        [document for i, document in enumerate(documents) if i in chosen],
    )
