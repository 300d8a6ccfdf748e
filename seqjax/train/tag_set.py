"""The tags that a tagger has learned, by number, and those that it has not."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property

import numpy as np

from seqjax.decode.tag_conversion import (
    WrittenScheme,
    find_written_scheme,
    from_standard,
    standard_scheme,
    to_standard,
)
from seqjax.decode.tag_schemes import Scheme

UNSEEN = "unseen"
"""The kind of all tags that were not in the training data."""


@dataclasses.dataclass(frozen=True)
class TagSet:
    """Tags by number.

    Args:
      tags: those of the training data, in the order of their numbers.
      scheme: how they mark spans, None if they do not.
      written: the scheme of the tags in files, if that is another one.

    Example:
      >>> from seqjax.train.tag_set import TagSet
      >>> tags = TagSet.of([["I-PER", "O"], ["B-PER", "O"]], "IOB1")
      >>> tags.tags, tags.encode(["I-PER", "I-PER", "I-LOC"]).tolist()
      (('B-PER', 'O'), [0, 3, 2])
      >>> tags.unseen(["I-PER", "I-LOC"])
      ['B-LOC']
    """

    tags: tuple[str, ...]
    scheme: Scheme | None
    written: WrittenScheme | None = None

    @classmethod
    def of(cls, sequences: Sequence[Sequence[str]], option: str) -> "TagSet":
        """Those of tag sequences; `option` is their scheme, `"auto"` or `"none"`."""
        written = find_written_scheme(sequences)
        if option != "auto":
            schemes: dict[str, WrittenScheme | None] = {
                "BIO": "BIO", "BIOES": "BIOES", "IOB1": "IOB1", "BILOU": "BILOU", "none": None,
            }  # fmt: skip
            written = schemes[option]
        scheme = None if written is None else standard_scheme(written)
        tags = {tag for one in sequences for tag in to_standard(one, written)}
        return cls(tuple(sorted(tags)), scheme, None if written == scheme else written)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each tag."""
        return {tag: number for number, tag in enumerate(self.tags)}

    @cached_property
    def every(self) -> tuple[str, ...]:
        """The tags, and after them stand-ins for unseen ones, which nothing predicts."""
        if self.scheme is None:
            return (*self.tags, UNSEEN)
        return (*self.tags, *("O" if p == "O" else f"{p}-{UNSEEN}" for p in self.scheme))

    def unseen(self, tags: Sequence[str]) -> list[str]:
        """Those of a sequence, as they are learned, that were not in the training data."""
        return [tag for tag in to_standard(tags, self.written) if tag not in self.numbers]

    def encode(self, tags: Sequence[str]) -> np.ndarray:
        """The numbers of a sequence's tags, int32; stand-ins for unseen ones."""
        return np.array([self._number(t) for t in to_standard(tags, self.written)], np.int32)

    def _number(self, tag: str) -> int:
        if tag in self.numbers:
            return self.numbers[tag]
        return len(self.tags) + max(0, (self.scheme or "").find(tag[:1]))

    def decode(self, numbers: np.ndarray) -> list[str]:
        """The tags of a sequence, in the scheme of the files."""
        return list(from_standard([self.tags[n] for n in numbers.tolist()], self.written))
