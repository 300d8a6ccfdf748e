"""One example of a data set, and the handling of malformed ones."""

from typing import Any, NamedTuple

from seqjax.core.errors import InputError


class Example(NamedTuple):
    """One input with its target.

    Args:
      inputs: a series `(time, channels)` float64, an image or a clip float32, a text `str`, or its
        tokens `tuple[str, ...]`.
      target: a label `str`; a tuple of labels for multi-label data; a float or an array for
        regression; a tuple of tags, one per token; None if unknown.
      where: file and line, for messages: `"readings.csv, line 7"`.
      raw: whatever the writer of the format needs to write the example again; for a series with a
        row per step a tuple, with None for steps that have no row.
      times: of the steps of a series, as the file writes them; empty if it has none.

    Example:
      >>> from seqjax.data.examples import Example
      >>> Example("a fine day", "good", "reviews.csv, line 2").target
      'good'
    """

    inputs: Any
    target: Any = None
    where: str = ""
    raw: Any = None
    times: tuple[Any, ...] = ()


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
