"""Text files as documents."""

import codecs
import glob
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.core.errors import InputError

SUFFIXES = (".txt", ".md")
"""Suffixes of the text files of a folder; a file named explicitly may have any."""


PIECE = 2**22
"""Bytes of a file that are read at once."""


class Document(NamedTuple):
    """An independent text: no state flows from one document into another."""

    name: str
    text: str


def text_files(paths: Iterable[str | Path], suffixes: Sequence[str] = SUFFIXES) -> list[Path]:
    """The files behind files, folders and patterns such as `data/*.txt`, in order of name.

    Args:
      paths: folders are searched recursively.
      suffixes: of the files that are taken from folders.

    Raises:
      InputError: if a path is missing, or a folder holds no such file.
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
        elif found := sorted(Path(name) for name in glob.glob(str(path), recursive=True)):
            files += text_files(found, suffixes)
        else:
            raise InputError(f"There is no file or folder {path}.")
    return files


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
    return [read_document(file) for file in text_files(paths, suffixes)]


def read_document(path: str | Path) -> Document:
    """Reads one UTF-8 text file; see `read_documents`."""
    return Document(str(path), "".join(read_pieces(path)))


def read_pieces(path: str | Path) -> Iterator[str]:
    """The text of one UTF-8 file in pieces, so that it need not fit into memory.

    Args:
      path: of the file. One of more than `PIECE` bytes is cut between lines where it has some.

    Raises:
      InputError: as `read_documents`; that a file is empty is known at its end.
    """
    path, blank = Path(path), True
    for piece in _decoded(path):
        blank = blank and not piece.strip()
        yield piece
    if blank:
        raise InputError(f"{path} is empty.")


def _decoded(path: Path) -> Iterator[str]:
    decode = codecs.getincrementaldecoder("utf-8")()
    at, rest = 0, ""
    for block in _blocks(path):
        if b"\0" in block:
            raise InputError(
                f"{path} is not a text file (it has a zero byte at position "
                f"{at + block.index(0)}). Convert it to plain UTF-8 text first."
            )
        before = len(decode.getstate()[0])
        mark = block[: len(codecs.BOM_UTF8)] == codecs.BOM_UTF8 and at == 0
        try:
            rest += decode.decode(block, final=not block).removeprefix("\ufeff" * mark)
        except UnicodeDecodeError as error:
            raise InputError(
                f"{path} is not UTF-8: byte {error.object[error.start]:#04x} at position "
                f"{at - before + error.start}. Convert it, for example with `iconv -f latin1 -t "
                f"utf-8 {path} > new.txt`."
            ) from None
        at += len(block)
        # Both halves of a line's end stay together.
        end = rest.rfind("\n") + 1 or len(rest) - rest.endswith("\r") if block else len(rest)
        if end:
            yield rest[:end].replace("\r\n", "\n")
        rest = rest[end:]


def _blocks(path: Path) -> Iterator[bytes]:
    """The content of a file, and an empty block at its end."""
    try:
        with path.open("rb") as file:
            while block := file.read(PIECE):
                yield block
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
    yield b""
