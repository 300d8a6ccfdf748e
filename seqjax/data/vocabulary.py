"""Characters as numbers."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

from seqjax.data.documents import Document

BOUNDARY = 0
"""The token that stands before every document: the state is reset at it."""

UNKNOWN = 1
"""The token for a character that the vocabulary does not have."""


@dataclasses.dataclass(frozen=True)
class CharacterVocabulary:
    """The characters of a text; token `i + 2` is the i-th, in code point order.

    Example:
      >>> from seqjax.data.vocabulary import CharacterVocabulary
      >>> vocabulary = CharacterVocabulary.of(["hello"])
      >>> vocabulary.encode("hole")
      array([3, 5, 4, 2], dtype=uint8)
      >>> vocabulary.decode([3, 5, 4, 2])
      'hole'
    """

    characters: str

    @classmethod
    def of(cls, texts: Iterable[str]) -> "CharacterVocabulary":
        """The vocabulary of all characters in the texts."""
        return cls("".join(sorted(set().union(*map(set, texts)))))

    def __len__(self) -> int:
        return len(self.characters) + 2

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        for dtype in (np.uint8, np.uint16):
            if len(self) <= np.iinfo(dtype).max + 1:
                return dtype
        return np.uint32

    def encode(self, text: str) -> np.ndarray:
        """The tokens of a text, `(len(text),)`; `UNKNOWN` for characters not known."""
        points = _code_points(text)
        known = _code_points(self.characters)
        if not known.size:
            return np.full(points.shape, UNKNOWN, self.dtype)
        index = np.searchsorted(known, points).clip(max=known.size - 1)
        return np.where(known[index] == points, index + 2, UNKNOWN).astype(self.dtype)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for a boundary, U+FFFD for the unknown."""
        pieces = ("\n\n", "\ufffd", *self.characters)
        return "".join(pieces[token] for token in np.asarray(tokens).tolist())

    def unknown(self, text: str) -> str:
        """The characters of a text that the vocabulary does not have, each once."""
        return "".join(sorted(set(text) - set(self.characters)))

    def corpus(self, documents: Sequence[Document]) -> np.ndarray:
        """All documents one after the other, each with the boundary token before it."""
        boundary = np.array([BOUNDARY], self.dtype)
        parts = [part for _, text in documents for part in (boundary, self.encode(text))]
        return np.concatenate(parts)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
