"""Reading text files line by line, with a clear message for any other file; atomic writing."""

import codecs
import contextlib
import gzip
import io
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError

UTF_8 = "utf-8"
LONGEST_LINE = 1 << 26
"""Maximum bytes in a line: a file without line ends must not fill the memory."""

SIGNATURES = {
    b"\xff\xfe\0\0": "UTF-32 text",
    b"\0\0\xfe\xff": "UTF-32 text",
    b"\x1f\x8b": "compressed by gzip",
    b"PK\x03\x04": "a zip archive or a spreadsheet",
    b"\x89PNG": "a picture",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB 5": "a MATLAB file",
    b"OggS": "a sound",
    b"fLaC": "a sound",
    b"RIFF": "a sound",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"\x80\x05": "a pickle",
    b"\0\0\x08\x01": "labels in IDX, as MNIST has them",
    b"\0\0\x08\x03": "pictures in IDX, as MNIST has them",
    b"<?xml": "XML",
    b"<srcset": "SGML",
    b"<refset": "SGML",
    b"<tstset": "SGML",
}
ARRAYS = "Load it in Python and save its arrays with numpy.savez."
MARKUP = "Write its texts into a table, or one in a line."
ADVICE = {
    "UTF-32 text": "Convert it: `iconv -f utf-32 -t utf-8 {path} > new{suffix}`.",
    "compressed by gzip": "Give it a name that ends in .gz.",
    "an HDF5 file": ARRAYS,
    "a MATLAB file": ARRAYS,
    "a pickle": ARRAYS,
    "labels in IDX, as MNIST has them": ARRAYS,
    "pictures in IDX, as MNIST has them": ARRAYS,
    "XML": MARKUP,
    "SGML": MARKUP,
    "a sound": "A table with its path in a column is read: --audio names the column.",
}


class FlawError(Exception):
    """What is wrong with a row: what was expected, and what came."""


def opened(path: str | Path, what: str) -> io.BufferedIOBase:
    """A binary file to read, decompressed if its name ends in `.gz`.

    Args:
      path: of the file.
      what: the expected kind of file, `"a CSV file"`.

    Raises:
      InputError: if it is missing, a folder, empty, unreadable, or of another kind.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"{path} is a folder; expected {what}.")
    if not path.exists():
        raise InputError(f"There is no file {path}.")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if not start:
            raise InputError(f"{path} is empty; expected {what}.")
        if path.suffix == ".gz":
            if not start.startswith(b"\x1f\x8b"):
                raise InputError(f"{path} is not compressed by gzip, as .gz in its name says.")
            start = b""
            with gzip.open(path, "rb") as file, contextlib.suppress(EOFError, zlib.error, OSError):
                start = file.read(8)
        for signature, kind in SIGNATURES.items():
            if start.startswith(signature):
                advice = ADVICE.get(kind, "").format(path=path, suffix=path.suffix)
                raise InputError(f"{path} is {kind}; expected {what} in UTF-8. {advice}".strip())
        return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")
    except OSError as error:
        raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None


def encoding_of(path: str | Path, what: str) -> str:
    """`"utf-16"` if a text file begins with its mark, otherwise `"utf-8"`.

    Raises:
      InputError: see `opened`.
    """
    with opened(path, what) as file:
        try:
            return "utf-16" if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else UTF_8
        except (EOFError, zlib.error, OSError):
            # `lines_of` says in which line the file is damaged.
            return UTF_8


def lines_of(path: str | Path, what: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file, numbered from 1, with their line ends.

    The encoding is UTF-8, or UTF-16 where the file begins with its mark. Invalid UTF-8 becomes lone
    surrogates, which `check_text` finds, so that the malformed row can be named, or skipped.

    Raises:
      InputError: see `opened`; and for a damaged gzip file, with the line of the damage.
    """
    encoding = encoding_of(path, what)
    with opened(path, what) as binary:
        file = binary if encoding == UTF_8 else _Recoded(binary, encoding)
        number = 0
        while True:
            try:
                line = file.readline(LONGEST_LINE)
            except UnicodeDecodeError as error:
                raise InputError(
                    f"{path}, line {number + 1}: expected {encoding.upper()}, as its mark says, "
                    f"got bytes that are not ({error.reason})."
                ) from None
            except (EOFError, zlib.error, OSError) as error:
                reason = "it ends too early" if isinstance(error, EOFError) else str(error)
                raise InputError(
                    f"{path}, line {number + 1}: the compressed file is damaged ({reason}). Copy "
                    "or download it again."
                ) from None
            if not line:
                break
            number += 1
            if len(line) == LONGEST_LINE:
                raise InputError(
                    f"{path}, line {number}: longer than {LONGEST_LINE:,} bytes; expected {what}."
                )
            if number == 1:
                line = line.removeprefix(b"\xef\xbb\xbf")
            yield number, line.decode("utf-8", "surrogateescape")
    if not number:
        raise InputError(f"{path} is empty; expected {what}.")


class _Recoded:
    """The lines of a text in another encoding, in UTF-8."""

    def __init__(self, file: Any, encoding: str):
        self._text = io.TextIOWrapper(file, encoding, newline="\n")

    def readline(self, longest: int) -> bytes:
        return self._text.readline(longest).encode()


def check_text(text: str) -> None:
    """Raises `FlawError` if a text has zero bytes or was not valid UTF-8."""
    if "\0" in text:
        raise FlawError(
            f"expected text, got a zero byte at character {text.index(chr(0)) + 1} (text in "
            "UTF-16 must begin with its mark, and binary files are not text)"
        )
    # For ASCII texts, the most common ones, Python knows this without scanning them.
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            code, position = ord(text[error.start]), error.start + 1
            if not 0xDC80 <= code <= 0xDCFF:
                raise FlawError(
                    f"expected text, got half a character ({code:#x}) at character {position}"
                ) from None
            raise FlawError(
                f"expected UTF-8, got the byte {code - 0xDC00:#04x} at character {position} (iconv "
                "-f latin1 -t utf-8 converts a file that is Latin-1)"
            ) from None


@contextlib.contextmanager
def whole_file(path: str | Path, mode: str = "w") -> Iterator[Any]:
    """Writes a file atomically: it appears under its name only when complete.

    It is written to `path` with `.part` appended, and removed if the block raises. It is compressed
    if its name ends in `.gz`.

    Args:
      path: of the file.
      mode: `"w"` for UTF-8 text without translation of line ends, `"wb"` for bytes.

    Raises:
      InputError: if the folder does not exist.
    """
    path = Path(path)
    if path.is_dir():
        raise InputError(f"Cannot write {path}: it is a folder.")
    if not path.parent.is_dir():
        raise InputError(f"Cannot write {path}: there is no folder {path.parent}.")
    part = path.with_name(path.name + ".part")
    text: dict[str, Any] = {} if "b" in mode else {"encoding": "utf-8", "newline": ""}
    try:
        opener = gzip.open if path.suffix == ".gz" else open
        with opener(part, mode if "b" in mode else mode + "t", **text) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
