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
      >>> unknown.add("a poor day", vocabulary.encode("a poor day"))
      >>> print(unknown.line("b.txt"))
      b.txt: 1 of 3 words not in the vocabulary of the training data, as 'poor', are read as unknown
    """

    def __init__(self, vocabulary: Tokenizer | None):
        self._vocabulary = vocabulary
        self._count = self._tokens = 0
        self._names: dict[str, None] = {}

    def add(self, inputs: Any, numbers: np.ndarray) -> None:
        """Counts those of an example, from its inputs and the numbers of its tokens."""
        if self._vocabulary is None:
            return
        count = int((numbers == UNKNOWN).sum())
        self._tokens += numbers.size
        self._count += count
        if count and len(self._names) < SHOWN:
            self._names |= dict.fromkeys(self._vocabulary.unknown(inputs))

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
