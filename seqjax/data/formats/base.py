"""File formats: how they are read, and how predictions are written into them."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

from seqjax.data.examples import Example, Malformed


@dataclasses.dataclass(frozen=True)
class Fields:
    """The role of each column, key or array of a file; None for roles that it does not have.

    Args:
      text: the text.
      tokens: the tokenized text: a list, or words separated by spaces.
      image: a vector, an image or a clip: nested lists of numbers; or, relative to the file's
        folder, the path of an image, of a folder with the frames of a clip, or of an `.npy` file.
      label: the target of classification.
      label_separator: separates the labels of multi-label data (`"|"`), whose target is a tuple.
      number: the target of regression.
      series: the name of the series that a row belongs to. A row is one time step then, and the
        rows of a series are contiguous.
      time: the time of a row, nondecreasing within a series.
      values: the numeric inputs. By default all other columns with a number in the first row.
      tag: the tag of every token or step. In CoNLL-U the name of a column (`"upos"`), or
        else a key of its last column (`"biose"`).
      one_series: a row is one time step and all rows together are one series; implied by `time`
        without `series`.
      missing: whether an empty cell, in a row that is one time step, is a missing value, NaN; if
        not, the row is malformed.
      require_target: whether a row without its label, number or tags is malformed; if not,
        its target is None, and their columns are optional.
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
        """The required columns."""
        targets = (self.label, self.number, self.tag) if self.require_target else ()
        inputs = (self.text, self.tokens, self.image, self.series, self.time, *(self.values or ()))
        return tuple(name for name in (*inputs, *targets) if name is not None)

    @property
    def meant(self) -> tuple[str, ...]:
        """The columns with a role other than `values`."""
        targets = (self.label, self.number, self.tag)
        inputs = (self.text, self.tokens, self.image, self.series, self.time)
        return tuple(name for name in (*inputs, *targets) if name is not None)


class Writer(Protocol):
    """Writes examples back, with their predictions."""

    def write(self, example: Example, prediction: Mapping[str, Any]) -> None:
        """Writes one example.

        Args:
          example: from the reader of the same format.
          prediction: by name (`"prediction"`, `"probability"`, ...) a value; for tagged or
            stepwise examples a list with one per token or step.
        """
        ...


@dataclasses.dataclass(frozen=True)
class Format:
    """A file format.

    Args:
      name: for messages.
      suffixes: of its files, without `.gz`.
      read: `(path, fields, malformed) -> examples`, lazily and in bounded memory.
      writer: `(path, like, fields) -> context`. It writes a file like `like`, to `path` with
        `.part` appended, which is renamed to `path` on success and removed otherwise.
      resolve: `(path, fields) -> fields` with `values` filled in, so that another file, with more
        or fewer columns, is read in the same way.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[str | Path, Fields, Malformed], Iterator[Example]]
    writer: Callable[[str | Path, str | Path, Fields], AbstractContextManager[Writer]]
    resolve: Callable[[str | Path, Fields], Fields] = lambda path, fields: fields
