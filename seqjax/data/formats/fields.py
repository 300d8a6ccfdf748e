"""The roles of the columns of a file."""

import dataclasses
from collections.abc import Sequence
from typing import Literal

from seqjax.data.formats.audio import Audio

FIND = ""
"""Stands for a column that is to be found in the file."""


@dataclasses.dataclass(frozen=True)
class Fields:
    """The role of each column, key or array of a file; None for roles that it does not have.

    Args:
      text: the text.
      tokens: the tokenized text: a list, or words separated by spaces; one word in files with one
        row per step. `FIND` for a column that is found by its name.
      image: a vector, an image or a clip: nested lists of numbers; or, relative to the file's
        folder, the path of an image, of a folder with the frames of a clip, or of an `.npy` file.
      image_size: height and width to which images from files are resized.
      audio: the sounds that a column names, as log-mel frames.
      label: the target of classification.
      label_is_text: whether the label is a text of its own, a translation, and not a class.
      label_separator: separates the labels of multi-label data (`"|"`), whose target is a tuple.
      number: the target of regression.
      series: the name of the series that a row belongs to. A row is one time step then, and the
        rows of a series are contiguous, or the first rows of the file show that series take turns.
      time: the time of a row.
      time_zone: the name of the time zone of local times.
      values: the numeric inputs. By default all other columns with a number in the first row.
      categories: `(name, words)` of the columns of values that hold words, which are encoded
        one-hot, an unknown word as zeros; without words, true and false are 1 and 0.
      tag: the tag of every token or step. In CoNLL-U the name of a column (`"upos"`), or
        else a key of its last column (`"biose"`). `FIND` for a column that is found by its name or
        place.
      spans: whether the tags are spans of characters in the text, `tokens`, whose words and
        punctuation marks are the tokens.
      tag_names: the names of tags that the file gives as numbers, from 0 on.
      columns: the names of the columns of a table whose first line does not name them.
      by_line: whether every line of the files in a folder is a text, and the file its label.
      one_series: a row is one time step and all rows together are one series; implied by `time`
        without `series`.
      missing: whether values may be missing, NaN: empty cells, `NA`, `NaN`, `null`, `?` and `-`; if
        not, such a row is malformed.
      missing_names: further signs of a missing value.
      decimal: `"point"` or `"comma"`, the decimal separator of a table's numbers; None if the
        table tells.
      require_target: whether a row without its label, number or tags is malformed; if not,
        its target is None, and their columns are optional.
    """

    text: str | None = None
    tokens: str | None = None
    image: str | None = None
    image_size: tuple[int, int] | None = None
    audio: Audio | None = None
    label: str | None = None
    label_is_text: bool = False
    label_separator: str | None = None
    number: str | None = None
    series: str | None = None
    time: str | None = None
    time_zone: str | None = None
    values: tuple[str, ...] | None = None
    categories: tuple[tuple[str, tuple[str, ...]], ...] = ()
    tag: str | None = None
    spans: bool = False
    tag_names: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    by_line: bool = False
    one_series: bool = False
    missing: bool = False
    missing_names: tuple[str, ...] = ()
    decimal: Literal["point", "comma"] | None = None
    require_target: bool = True

    @property
    def by_step(self) -> bool:
        """Whether a row is one time step of a series."""
        return self.one_series or self.series is not None or self.time is not None

    @property
    def named(self) -> tuple[str, ...]:
        """The required columns."""
        targets = (self.label, self.number, self.tag) if self.require_target else ()
        inputs = (*self._inputs, *(self.values or ()))
        return tuple(name for name in (*inputs, *targets) if name is not None)

    @property
    def meant(self) -> tuple[str, ...]:
        """The columns with a role other than `values`."""
        targets = (self.label, self.number, self.tag)
        return tuple(name for name in (*self._inputs, *targets) if name is not None)

    @property
    def _inputs(self) -> tuple[str | None, ...]:
        audio = None if self.audio is None else self.audio.column
        return self.text, self.tokens, self.image, audio, self.series, self.time

    def width(self, names: Sequence[str]) -> int:
        """The number of channels of some columns of values."""
        words = dict(self.categories)
        return sum(max(1, len(words.get(name, ()))) for name in names)

    def with_roles(self, **roles: str | None) -> "Fields":
        """The fields with other columns for some roles."""
        return dataclasses.replace(self, **roles)
