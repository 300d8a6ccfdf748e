"""What a format is: how it is read, and how predictions are written into it."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from seqjax.data.examples import Example, Malformed


@dataclasses.dataclass(frozen=True)
class Fields:
    """Which column, key or array of a file means what; None is not there.

    Args:
      text: the text.
      tokens: its tokens: a list, or words with spaces between them.
      image: a vector, a picture or a clip: lists of numbers in lists, or the path of a picture,
        of a folder with the pictures of a clip, or of an `.npy` file, seen from the file's
        folder.
      label: what is to be predicted, as a word.
      label_separator: what stands between labels where several may hold (`"|"`); the
        target is a tuple then.
      number: what is to be predicted, as a number.
      series: the name of the series that a row belongs to. A row is one time step then, and
        the rows of a series stand one after the other.
      time: the time of a row, which must not go back within a series.
      values: the numbers. By default all others that are numbers in the first row.
      tag: the tag of every token or step. In CoNLL-U the name of a column (`"upos"`), or
        else a key of its last column (`"biose"`).
      one_series: a row is one time step and all rows together are one series. So it is too
        if `time` is given and `series` is not.
      missing: whether an empty cell, in a row that is one time step, is a number that was
        not observed, NaN; if not, the row is malformed.
      require_target: whether a row without its label, number or tags is malformed; if not,
        its target is None, and their columns need not be there.
    """

    text: str | None = None
    tokens: str | None = None
    image: str | None = None
    label: str | None = None
    label_separator: str | None = None
    number: str | None = None
    series: str | None = None
    time: str | None = None
    values: tuple[str, ...] | None = None
    tag: str | None = None
    one_series: bool = False
    missing: bool = False
    require_target: bool = True

    @property
    def by_step(self) -> bool:
        """Whether a row is one time step of a series."""
        return self.one_series or self.series is not None or self.time is not None

    @property
    def named(self) -> tuple[str, ...]:
        """The columns that must be there."""
        targets = (self.label, self.number, self.tag) if self.require_target else ()
        inputs = (self.text, self.tokens, self.image, self.series, self.time, *(self.values or ()))
        return tuple(name for name in (*inputs, *targets) if name is not None)

    @property
    def meant(self) -> tuple[str, ...]:
        """The columns that have a meaning other than numbers."""
        targets = (self.label, self.number, self.tag)
        inputs = (self.text, self.tokens, self.image, self.series, self.time)
        return tuple(name for name in (*inputs, *targets) if name is not None)


class Writer(Protocol):
    """Writes examples again, with what was predicted."""

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes one example.

        Args:
          example: as the reader of the same format gave it.
          prediction: by name (`"prediction"`, `"probability"`, ...): a value; or for tagged
            or stepwise examples a list with one for each token or step.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Format:
    """A kind of file.

    Args:
      name: what it is called.
      suffixes: how its files end, without `.gz`.
      read: `(path, fields, malformed) -> examples`, one at a time, in bounded memory.
      writer: `(path, like, fields) -> context`. It writes a file like `like`, to `path` and
        `.part`, which becomes `path` when all went well and disappears otherwise.
      resolve: `(path, fields) -> fields` with `values` named, so that another file, with more
        columns or fewer, is read in the same way.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[str | Path, Fields, Malformed], Iterator[Example]]
    writer: Callable[[str | Path, str | Path, Fields], AbstractContextManager[Writer]]
    resolve: Callable[[str | Path, Fields], Fields] = lambda path, fields: fields
