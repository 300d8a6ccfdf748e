"""Tagged sentences as tables with a word in every line and a blank line after every sentence."""

import contextlib
import re
from collections.abc import Iterator, Mapping
from io import TextIOBase
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats.base import Format
from seqjax.data.formats.description import Choice, Description, listed
from seqjax.data.formats.fields import FIND, Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of, whole_file
from seqjax.data.formats.predictions import cell_text, is_list_of
from seqjax.data.formats.tag_columns import find_column

WHAT = "a table with a word in every line"
FIRST_LINES = 200
GLOBAL_COLUMNS = re.compile(r"#\s*global\.columns\s*=\s*(.*)")
DOCUMENT = "-DOCSTART-"
DEFAULT_NAMES = {
    1: ("word",),
    2: ("word", "tag"),
    3: ("word", "pos", "tag"),
    4: ("word", "pos", "chunk", "ner"),
}


class Shape(NamedTuple):
    """The columns of such a table, and whether tabs separate them."""

    names: tuple[str, ...]
    tabs: bool

    def cells(self, line: str) -> list[str]:
        """The cells of a line."""
        return line.strip("\r\n").split("\t") if self.tabs else line.split()


def shape_of(path: str | Path, fields: Fields) -> Shape:
    """The columns of a table, by its line `# global.columns`, by `fields.columns`, or by number.

    Raises:
      InputError: if `fields.columns` are more or fewer than the table has.
    """
    lines = [line for _, line in islice(lines_of(path, WHAT), FIRST_LINES)]
    named = next(filter(None, map(GLOBAL_COLUMNS.match, lines)), None)
    filled = [line for line in lines if line.strip() and not _is_comment(line)]
    tabs = bool(filled) and all("\t" in line for line in filled)
    rows = [Shape((), tabs).cells(line) for line in filled]
    width = len(rows[0]) if rows else 1
    if named is not None:
        names = tuple(named[1].lower().split())
    elif fields.columns:
        names = fields.columns
        if len(names) != width:
            raise InputError(
                f"{path}: --columns names {len(names)} columns, {listed(names)}; the file has "
                f"{width}, as in {filled[0].strip()!r}."
            )
    else:
        first = [row[0] for row in rows[:2]]
        numbered = width > 1 and (first == ["1", "2"] or (width > 2 and first == ["0", "1"]))
        _check_words(path, lines, rows)
        others = width - numbered
        middle = tuple(f"column_{i}" for i in range(2 + numbered, width))
        names = DEFAULT_NAMES.get(others, ("word", *middle, "tag"))
        names = ("id", *names) if numbered else names
    return Shape(names, tabs)


def _check_words(path: str | Path, lines: list[str], rows: list[list[str]]) -> None:
    """Raises `InputError` where every line is a sentence, with tags beside the words."""
    alone = all(not (one.strip() and other.strip()) for one, other in pairwise(lines))
    if rows and alone and all(len(row) > 1 and re.fullmatch(INLINE, row[0]) for row in rows):
        raise InputError(
            f"{path}: expected a word in every line and a blank line after a sentence, got "
            f"{' '.join(rows[0])[:60]!r}: a sentence in a line, with its tags beside the words. "
            "Put every word and its tag into a line of their own."
        )


INLINE = r".+[/|_].+"
"""A word with its tag beside it."""


def _is_comment(line: str) -> bool:
    """Whether a line is `# name = value`, or a bare heading after a `#`."""
    return bool(re.match(r"#\s*\S+\s*=|#\t|#\s*$|#(begin|end) document\b", line))


def looks_like_token_table(path: str | Path) -> bool:
    """Whether the first lines of a text file have equally many columns, with blank lines between.

    Raises:
      InputError: if it is no text file.
    """
    lines = [line.strip() for _, line in islice(lines_of(path, WHAT), FIRST_LINES)]
    filled = [line for line in lines if line and not _is_comment(line)]
    while lines and not lines[-1]:
        lines.pop()
    widths = {len(line.split("\t") if "\t" in line else line.split()) for line in filled}
    return len(widths) == 1 and "" in lines


def read(path: str | Path, fields: Fields, malformed: Malformed) -> Iterator[Example]:
    """The sentences of a table with a word in every line.

    Tabs or spaces separate its columns, and blank lines its sentences; lines `-DOCSTART-` and
    comments stay for the writer. With a column `id`, lines numbered `4-5` or `3.1` are no words.

    Args:
      path: of the file.
      fields: `columns`, `tokens`, `tag` and `require_target` are used.
      malformed: collects malformed sentences, by their first wrong line.

    Raises:
      InputError: if it is not such a table, has no sentence, or a sentence is malformed and may
        not be skipped.
    """
    shape = shape_of(path, fields)
    fields = _resolved(path, fields, shape)
    found = False
    for start, lines in _blocks(path, shape):
        try:
            words = _words(lines, shape)
        except FlawError as flaw:
            malformed.report(f"{path}, line {start + int(flaw.args[1])}", str(flaw.args[0]))
            found = True
            continue
        if not words:
            continue
        found = True
        tokens = tuple(cells[shape.names.index(fields.tokens or "")] for _, cells in words)
        yield Example(tokens, _tags(words, shape, fields), f"{path}, line {start}", tuple(lines))
    if not found:
        raise InputError(f"{path} has no sentence; expected {WHAT}.")


def describe(path: str | Path, fields: Fields) -> Description:
    """How such a table is read: its columns, and which one the tags are taken from."""
    shape = shape_of(path, fields)
    resolved = _resolved(path, fields, shape)
    choices = ()
    if fields.tag == FIND:
        tag = resolved.tag or ""
        why = "the last column" if tag == shape.names[-1] else "by its name"
        others = tuple(name for name in shape.names if name != tag)
        choices = (Choice("tags", (tag,), f"{why}; the others are {listed(others)}"),)
    return Description(path, resolved, choices=choices)


def _resolved(path: str | Path, fields: Fields, shape: Shape) -> Fields:
    names = shape.names
    tokens = fields.tokens if fields.tokens in names else find_column(names, "tokens") or names[0]
    tag = names[-1] if fields.tag == FIND else fields.tag
    if tag is not None and tag not in names and fields.require_target:
        raise InputError(f"{path}: there is no column {tag!r}; the columns are {listed(names)}.")
    return fields.with_roles(tokens=tokens, tag=tag)


def _blocks(path: str | Path, shape: Shape) -> Iterator[tuple[int, list[str]]]:
    """The lines of each sentence, with those of a heading before and the blank ones after it."""
    start, lines, over = 1, [], False
    for number, line in lines_of(path, WHAT):
        blank = not line.strip()
        if over and not blank:
            if any(line.strip() and shape.cells(line)[0] != DOCUMENT for line in lines):
                yield start, lines
                start, lines = number, []
            over = False
        lines.append(line)
        over = over or blank
    yield start, lines


def _words(lines: list[str] | tuple[str, ...], shape: Shape) -> list[tuple[int, list[str]]]:
    """The words of a sentence: the index of the line of each, and its cells."""
    words = []
    for index, line in enumerate(lines):
        cells = shape.cells(line)
        if not line.strip() or cells[0] == DOCUMENT:
            continue
        if len(cells) != len(shape.names):
            if not words and line.startswith("#"):
                continue
            expected = f"expected {len(shape.names)} columns, {listed(shape.names)}"
            raise FlawError(f"{expected}, got {len(cells)}", index)
        try:
            check_text(line)
        except FlawError as flaw:
            raise FlawError(str(flaw), index) from None
        if shape.names[0] != "id" or cells[0].isdigit():
            words.append((index, cells))
    return words


def _tags(
    words: list[tuple[int, list[str]]], shape: Shape, fields: Fields
) -> tuple[str, ...] | None:
    if fields.tag is None or fields.tag not in shape.names:
        return None
    place = shape.names.index(fields.tag)
    return tuple(cells[place] for _, cells in words)


@contextlib.contextmanager
def writer(path: str | Path, like: str | Path, fields: Fields) -> Iterator["TokenWriter"]:
    """Writes the sentences with the predicted tags; everything else byte for byte."""
    shape = shape_of(like, fields)
    with whole_file(path) as file:
        yield TokenWriter(file, shape, fields.tag)


class TokenWriter:
    """See `writer`."""

    def __init__(self, file: TextIOBase, shape: Shape, tag: str | None):
        self._file, self._shape = file, shape
        self._place = shape.names.index(tag) if tag in shape.names else len(shape.names)

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes a sentence.

        Args:
          example: from `read`.
          prediction: `prediction`, the tags, replaces those of the file, or becomes a column after
            the others. Further lists with one value per word become columns, and the rest comments.
        """
        lines, words = list(example.raw), _words(example.raw, self._shape)
        sign = "\t" if self._shape.tabs else " "
        for name, value in prediction.items():
            if not is_list_of(value, len(words)):
                if name == "prediction":
                    raise ValueError(f"Expected {len(words)} tags, one a word, got {value!r}.")
                self._file.write(f"# {name} = {cell_text(value)}\n")
                continue
            place = self._place if name == "prediction" else len(self._shape.names)
            for (index, cells), item in zip(words, value, strict=True):
                line = lines[index]
                content = line.rstrip("\r\n")
                end = line[len(content) :]
                if place < len(cells):
                    lines[index] = _replaced(content, place, cell_text(item), sign) + end
                else:
                    lines[index] = content + sign + cell_text(item) + end
        self._file.writelines(lines)


def _replaced(line: str, place: int, cell: str, sign: str) -> str:
    """A line with another cell; the spaces between cells stay as they are."""
    parts = re.split(r"(\t)" if sign == "\t" else r"(\s+)", line)
    parts[2 * place + (2 if not parts[0] else 0)] = cell
    return "".join(parts)


TOKENS = Format(
    "a table of words",
    (".conll", ".conllup", ".cupt", ".iob", ".iob2", ".bio", ".bioes"),
    read,
    writer,
    describe,
)
"""A word in a line, with its tags in further columns: CoNLL-2003, WNUT, CoNLL-U Plus."""
