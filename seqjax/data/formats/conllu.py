"""Tagged sentences as CoNLL-U."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from io import TextIOBase
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.description import Choice, Description
from seqjax.data.formats.fields import FIND, Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import cell_text, is_list_of

WHAT = "a CoNLL-U file"
COLUMNS = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
MISC = len(COLUMNS) - 1
ID = re.compile(r"(\d+)(?:([-.])(\d+))?\Z")
EMPTY = "_"


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The sentences of a CoNLL-U file.

    The tokens are the word forms. Multiword ranges (`4-5`) and empty nodes (`3.1`) are kept for the
    writer and are no tokens. The tags are those of the column `fields.tag` (`"upos"`), or of that
    key of the last column (`"biose"`).

    Args:
      path: of the file.
      fields: `tag` and `require_target` are used.
      malformed: collects malformed sentences, by their first wrong line.

    Raises:
      InputError: if it is not a CoNLL-U file, has no sentence, or a sentence is malformed and may
        not be skipped.
    """
    fields = describe(path, fields).fields
    found = False
    for start, lines in _blocks(path):
        try:
            words = words_of(lines)
        except _LineError as error:
            malformed.report(f"{path}, line {start + error.line}", str(error))
            found = True
            continue
        if not words:
            if any(line.startswith("#") for line in lines):
                malformed.report(f"{path}, line {start}", "expected words, got comments alone")
            continue
        found = True
        try:
            target = _tags(words, fields)
        except _LineError as error:
            malformed.report(f"{path}, line {start + error.line}", str(error))
            continue
        tokens = tuple(cells[1] for _, cells in words)
        yield Example(tokens, target, f"{path}, line {start}", tuple(lines))
    if not found:
        raise InputError(f"{path} has no sentence; expected {WHAT}.")


def describe(path: str | Path, fields: Fields) -> Description:
    """How a CoNLL-U file is read: tags are parts of speech if no column is named."""
    if fields.tag != FIND:
        return Description(path, fields)
    choice = Choice("tags", ("upos",), "the parts of speech")
    return Description(path, fields.with_roles(tag="upos"), choices=(choice,))


class _LineError(Exception):
    def __init__(self, line: int, reason: str):
        super().__init__(reason)
        self.line = line


def _blocks(path: str | Path) -> Iterator[tuple[int, list[str]]]:
    """The lines of each sentence, with the blank lines after it, and the number of the first."""
    start, lines, over = 1, [], False
    for number, line in lines_of(path, WHAT):
        blank = not line.strip("\r\n")
        if over and not blank:
            yield start, lines
            start, lines, over = number, [], False
        lines.append(line)
        over = over or blank
    yield start, lines


def words_of(lines: list[str] | tuple[str, ...]) -> list[tuple[int, list[str]]]:
    """The words of a sentence: the index of the line of each, and its ten cells."""
    words: list[tuple[int, list[str]]] = []
    until = 0
    _check_lines(lines)
    for index, line in enumerate(lines):
        content = line.rstrip("\r\n")
        if not content or content.startswith("#"):
            continue
        cells = content.split("\t")
        if len(cells) != len(COLUMNS):
            hint = " (they must be separated by tabs)" if "\t" not in content else ""
            raise _LineError(index, f"expected 10 columns, got {len(cells)}{hint}")
        if cells[0] == str(len(words) + 1) and cells[1]:
            words.append((index, cells))
            continue
        match = ID.match(cells[0])
        if match is None:
            raise _LineError(
                index, f"expected a number, a range or n.m in column 1, got {cells[0]!r}"
            )
        number, kind, other = int(match[1]), match[2], match[3]
        expected = len(words) + 1
        if kind == "-":
            if number != expected or int(other) <= number or number <= until:
                raise _LineError(
                    index, f"expected a range that begins with {expected}, got {cells[0]!r}"
                )
            until = int(other)
        elif kind == ".":
            if number != len(words):
                raise _LineError(index, f"expected the empty node {len(words)}.n, got {cells[0]!r}")
        elif cells[0] != str(expected):
            raise _LineError(index, f"expected the word number {expected}, got {cells[0]!r}")
        else:
            raise _LineError(index, "expected a word in column 2, got nothing")
    if until > len(words):
        raise _LineError(0, f"expected {until} words, as a range says, got {len(words)}")
    return words


def _check_lines(lines: list[str] | tuple[str, ...]) -> None:
    try:
        check_text("".join(lines))
    except FlawError:
        # This finds out which line is flawed.
        for index, line in enumerate(lines):
            try:
                check_text(line)
            except FlawError as flaw:
                raise _LineError(index, str(flaw)) from None


def _tags(words: list[tuple[int, list[str]]], fields: Fields) -> tuple[str, ...] | None:
    if fields.tag is None:
        return None
    tags = []
    for index, cells in words:
        tag = _tag(cells, fields.tag)
        if tag is None:
            if not fields.require_target:
                return None
            which = "column" if fields.tag in COLUMNS else "key of the last column"
            raise _LineError(index, f"expected a tag in the {which} {fields.tag!r}, got none")
        tags.append(tag)
    return tuple(tags)


def _tag(cells: list[str], tag: str) -> str | None:
    if tag in COLUMNS:
        value = cells[COLUMNS.index(tag)]
        return value if value and (value != EMPTY or tag == "feats") else None
    for pair in cells[MISC].split("|"):
        key, equals, value = pair.partition("=")
        if key == tag and equals and value:
            return value
    return None


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["ConlluWriter"]:
    """Writes the sentences with the predicted tags; everything else byte for byte."""
    with whole_file(path) as file:
        yield ConlluWriter(file, fields.tag or "upos")


class ConlluWriter:
    """See `writer`."""

    def __init__(self, file: TextIOBase, tag: str):
        self._file, self._tag = file, tag

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes a sentence.

        Args:
          example: from `read`.
          prediction: `prediction`, the tags, goes where the tags are read from. Of the others,
            lists with one value per word become keys of the last column, and the rest comments
            before the sentence.
        """
        lines, words = list(example.raw), words_of(example.raw)
        ending = "\r\n" if lines[0].endswith("\r\n") else "\n"
        comments = []
        for name, value in prediction.items():
            each = is_list_of(value, len(words))
            if name == "prediction" and not each:
                raise ValueError(f"Expected {len(words)} tags, one for each word, got {value!r}.")
            if not each:
                comments.append(f"# {name} = {cell_text(value)}{ending}")
                continue
            key = self._tag if name == "prediction" else name
            for (_, cells), item in zip(words, value, strict=True):
                _put(cells, key, cell_text(item))
        for index, cells in words:
            end = lines[index][len(lines[index].rstrip("\r\n")) :]
            lines[index] = "\t".join(cells) + end
        self._file.writelines([*comments, *lines])


def _put(cells: list[str], key: str, value: str) -> None:
    if key in COLUMNS:
        cells[COLUMNS.index(key)] = value
        return
    pairs = [] if cells[MISC] == EMPTY else cells[MISC].split("|")
    for i, pair in enumerate(pairs):
        if pair.partition("=")[0] == key:
            pairs[i] = f"{key}={value}"
            break
    else:
        pairs.append(f"{key}={value}")
    cells[MISC] = "|".join(pairs)


def is_conllu(path: str | Path) -> bool:
    """Whether the first word of a file stands in ten columns, and is the word number 1."""
    words = (line for _, line in lines_of(path, WHAT) if line.strip() and line[0] != "#")
    cells = next(words, "").split("\t")
    return len(cells) == len(COLUMNS) and cells[0] in ("1", "1-2", "0.1")


CONLLU = Format("CoNLL-U", (".conllu",), read, writer, describe)
"""Ten tab-separated columns, a word per line, a blank line after each sentence."""
