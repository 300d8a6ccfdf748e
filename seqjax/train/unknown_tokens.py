"""Tokens of the inputs of a prediction that were not in the training data."""

from typing import Any

import numpy as np

from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import UNKNOWN

SHOWN = 5
"""Number of tokens that are named."""


class UnknownTokens:
    """Counts them as examples go by.

    Args:
      vocabulary: of the inputs; None if they are no tokens.

    Example:
      >>> from seqjax.train.tokens import vocabulary_of
      >>> from seqjax.train.unknown_tokens import UnknownTokens
      >>> vocabulary = vocabulary_of(["a fine day"], "words", 10)
      >>> unknown = UnknownTokens(vocabulary)
      >>> unknown.add(unknown.look("a poor day", vocabulary.encode("a poor day")))
      >>> print(unknown.line("b.txt"))
      b.txt: 1 of 3 words not in the vocabulary of the training data, as 'poor', are read as unknown
    """

    def __init__(self, vocabulary: Tokenizer | None):
        self._vocabulary = vocabulary
        self._count = self._tokens = 0
        self._names: dict[str, None] = {}
        self._looked: set[str] = set()

    def look(self, inputs: Any, numbers: np.ndarray) -> list[Any]:
        """The tokens of an example and the unknown ones among them, counted, and the names of these
        as long as some are asked for; from its inputs and the numbers of its tokens."""
        if self._vocabulary is None:
            return [0, 0, []]
        count = int((numbers == UNKNOWN).sum())
        if not count or len(self._looked) >= SHOWN:
            return [numbers.size, count, []]
        names = list(dict.fromkeys(self._vocabulary.unknown(inputs)))
        self._looked.update(names)
        return [numbers.size, count, names]

    def add(self, found: list[Any]) -> None:
        """Counts what a look, here or in another process, has found in an example."""
        tokens, count, names = found
        self._tokens += tokens
        self._count += count
        self._names |= dict.fromkeys(names)

    def line(self, where: object) -> str | None:
        """What the user should know; None if all tokens are known."""
        if self._vocabulary is None or not self._count:
            return None
        what = {"words": "words", "subwords": "pieces of words"}.get(
            self._vocabulary.kind, self._vocabulary.kind
        )
        names = ", ".join(map(repr, list(self._names)[:SHOWN]))
        return (
            f"{where}: {self._count:,} of {self._tokens:,} {what} not in the vocabulary of the "
            f"training data, as {names}, are read as unknown"
        )
