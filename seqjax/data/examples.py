"""One example from a file, and what is done with those that cannot be read."""

from typing import Any, NamedTuple

from seqjax.core.errors import InputError


class Example(NamedTuple):
    """One sequence with what is to be predicted of it.

    Args:
      inputs: a series `(time, channels)` float32, a text `str`, or its tokens
        `tuple[str, ...]`.
      target: a label `str`; a tuple of labels where several may hold; a float or an array
        for regression; a tuple of tags, one for each token; None where it is not known.
      where: file and line, to name the example by in messages: `"readings.csv, line 7"`.
      raw: what the writer of the format needs to write the example again.

    Example:
      >>> from seqjax.data.examples import Example
      >>> Example("a fine day", "good", "reviews.csv, line 2").target
      'good'
    """

    inputs: Any
    target: Any = None
    where: str = ""
    raw: Any = None


class Malformed:
    """What happens at a row that cannot be read: the end, or a count.

    Args:
      skip: False raises at the first such row; True leaves them out and counts them.

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
        """Takes note of a row.

        Args:
          where: file and line.
          reason: what was expected and what came, without a full stop.

        Raises:
          InputError: with both, unless rows are skipped.
        """
        message = f"{where}: {reason}"
        if not self.skip:
            raise InputError(message)
        self.count += 1
        if len(self.messages) < self.KEPT:
            self.messages.append(message)

    def summary(self) -> str:
        """How many rows were skipped, and the first few of them; empty if there were none."""
        if not self.count:
            return ""
        what = "row was" if self.count == 1 else "rows were"
        lines = [f"{self.count:,} malformed {what} skipped:", *(f"  {m}" for m in self.messages)]
        if self.count > len(self.messages):
            lines.append(f"  and {self.count - len(self.messages):,} more")
        return "\n".join(lines)
