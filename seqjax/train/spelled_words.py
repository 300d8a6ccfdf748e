"""Tokens that a tagger reads twice: as words and as the characters they are spelled with."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.vocabulary import Vocabulary

LETTERS = 16
"""Characters of a word that are read: of longer words, half from each end."""


@dataclasses.dataclass(frozen=True)
class SpelledWords:
    """The vocabularies of words and of their characters.

    Example:
      >>> from seqjax.data.examples import Example
      >>> from seqjax.train.spelled_words import SpelledWords
      >>> spelled = SpelledWords.of([("the", "cat")], size=100)
      >>> arrays = spelled.encode(Example(("the", "act")))
      >>> arrays["inputs"].tolist(), arrays["characters"].shape
      ([5, 1], (2, 16))
      >>> spelled.text(arrays["characters"][1])
      'act'
    """

    words: Vocabulary
    characters: Vocabulary

    @classmethod
    def of(cls, sentences: Sequence[Sequence[str]], size: int) -> "SpelledWords":
        """Those of sentences, at most `size` words."""
        return cls(
            Vocabulary.of(sentences, kind="words", size=size),
            Vocabulary.of(["".join(words) for words in sentences]),
        )

    def encode(self, example: Example) -> dict[str, np.ndarray]:
        """`inputs` `(time,)` and `characters` `(time, LETTERS)`, both int32.

        Raises:
          InputError: if the example holds no tokens.
        """
        if not isinstance(example.inputs, tuple):
            raise InputError(f"{example.where}: expected tokens, got a series of numbers.")
        letters = np.zeros((len(example.inputs), LETTERS), np.int32)
        for place, word in enumerate(example.inputs):
            if len(word) > LETTERS:
                word = word[: LETTERS // 2] + word[-LETTERS // 2 :]
            letters[place, : len(word)] = self.characters.encode(word)
        return {"inputs": self.words.encode(example.inputs).astype(np.int32), "characters": letters}

    def text(self, letters: np.ndarray) -> str:
        """A word from the characters of it that are read: of long words, both ends."""
        known = letters[letters > 0]
        text = self.characters.decode(known).replace("\N{REPLACEMENT CHARACTER}", "?")
        half = len(text) // 2
        return text if len(known) < LETTERS else f"{text[:half]}…{text[half:]}"
