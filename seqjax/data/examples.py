"""One example of a data set, and the handling of malformed ones."""

import hashlib
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.moments import Moments


class About(NamedTuple):
    """What is known of an input without reading it again.

    Attributes:
      shape: of an array; None if it is none.
      length: of the input: steps, or characters.
      digest: of its content; see `digest_of`.
      moments: of the channels of an array, the last axis, or for a picture those of its rows;
        None in a process that has not read it.
    """

    shape: tuple[int, ...] | None
    length: int
    digest: str
    moments: Moments | None


class Stored:
    """An input that stays in its file, and is read each time that it is asked for.

    Args:
      read: makes it; `MalformedError` if it cannot.
      size: of the file, by which hosts compare what they have.

    Attributes:
      about: what a first look has found; None before it.
    """

    def __init__(self, read: Callable[[], Any], size: int):
        self.read, self.size = read, size
        self.about: About | None = None

    def as_rows(self) -> "Stored":
        """A picture `(height, width, channels)` as the series of its rows."""

        def read() -> np.ndarray:
            inputs = self.read()
            return inputs.reshape(len(inputs), -1)

        rows = Stored(read, self.size)
        if self.about is not None and self.about.shape is not None:
            height, *row = self.about.shape
            rows.about = self.about._replace(shape=(height, math.prod(row)))
        return rows


class _Fields(NamedTuple):
    inputs: Any
    target: Any = None
    where: str = ""
    raw: Any = None
    times: tuple[Any, ...] = ()


class Example(_Fields):
    """One input with its target.

    Args:
      inputs: a series `(time, channels)` float64, an image or a clip float32, a text `str`, or its
        tokens `tuple[str, ...]`; or a `Stored` one, which is read each time that it is asked for.
      target: a label `str`; a tuple of labels for multi-label data; a float or an array for
        regression; a tuple of tags, one per token; None if unknown.
      where: file and line, for messages: `"readings.csv, line 7"`.
      raw: whatever the writer of the format needs to write the example again; for a series with a
        row per step a tuple, with None for steps that have no row.
      times: of the steps of a series, as the file writes them; empty if it has none.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.examples import Example, Stored
      >>> Example("a fine day", "good", "reviews.csv, line 2").target
      'good'
      >>> stored = Example(Stored(lambda: np.zeros((2, 3)), 0))
      >>> stored.loaded().inputs.shape
      (2, 3)
    """

    __slots__ = ()

    @property
    def inputs(self) -> Any:  # pyright: ignore[reportIncompatibleVariableOverride]
        """The input."""
        return self[0].read() if isinstance(self[0], Stored) else self[0]

    @property
    def stored(self) -> Stored | None:
        """The input where it stays in its file, else None."""
        return self[0] if isinstance(self[0], Stored) else None

    @property
    def shape(self) -> tuple[int, ...] | None:
        """That of the input; None if it is no array."""
        if self.stored is not None and self.stored.about is not None:
            return self.stored.about.shape
        inputs = self.inputs
        return inputs.shape if isinstance(inputs, np.ndarray) else None

    def loaded(self) -> "Example":
        """The example with its input in memory."""
        return self if self.stored is None else self._replace(inputs=self.inputs)


def digest_of(inputs: Any) -> str:
    """A hash of an array, its shape and its dtype; or of a text or its tokens."""
    if not isinstance(inputs, np.ndarray):
        return hashlib.blake2b(repr(inputs).encode(), digest_size=16).hexdigest()
    found = hashlib.blake2b(f"{inputs.dtype.str}{inputs.shape}".encode(), digest_size=16)
    found.update(np.ascontiguousarray(inputs).data)
    return found.hexdigest()


class MalformedError(InputError):
    """A row that cannot be read, where such rows may not be skipped."""


class Malformed:
    """The handling of malformed rows: an error, or a count.

    Args:
      skip: False raises at the first malformed row; True skips and counts them.

    Example:
      >>> from seqjax.data.examples import Malformed
      >>> malformed = Malformed(skip=True)
      >>> malformed.report("a.csv, line 3", "expected 4 columns, got 5")
      >>> malformed.count
      1
      >>> print(malformed.summary())
      1 malformed row was skipped:
        a.csv, line 3: expected 4 columns, got 5
    """

    KEPT = 5

    def __init__(self, skip: bool):
        self.skip = skip
        self.count = 0
        self.messages: list[str] = []

    def report(self, where: str, reason: str) -> None:
        """Reports a malformed row.

        Args:
          where: file and line.
          reason: what was expected and what came, without a full stop.

        Raises:
          MalformedError: unless malformed rows are skipped.
        """
        # The error of a whole file names it already.
        message = reason if reason.startswith(where) else f"{where}: {reason}"
        if not self.skip:
            raise MalformedError(message)
        self.count += 1
        if len(self.messages) < self.KEPT:
            self.messages.append(message)

    def summary(self) -> str:
        """The number of skipped rows and the first few of them; empty if there were none."""
        if not self.count:
            return ""
        what = "row was" if self.count == 1 else "rows were"
        lines = [f"{self.count:,} malformed {what} skipped:", *(f"  {m}" for m in self.messages)]
        if self.count > len(self.messages):
            lines.append(f"  and {self.count - len(self.messages):,} more")
        return "\n".join(lines)
