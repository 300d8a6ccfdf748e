"""Vocabularies of characters, words or bytes."""

import collections
import dataclasses
import functools
import json
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np

from seqjax.data.token_arrays import (
    Text,
    framed,
    numbers_of,
    one_text,
    saved_fields,
    smallest_dtype,
)

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""The special tokens that every vocabulary begins with: padding, unknown, and the begin and the end
of a sequence."""

SPECIAL = 4
"""Number of special tokens."""

BOUNDARY = BEGIN
"""The token before every document of a corpus, at which the state is reset."""

SUPPRESSED = (PAD, UNKNOWN, END)
"""Special tokens that a language model never writes: no corpus has them as text, and a share of the
probability is theirs all the same."""

WORD = re.compile(r"\w+|[^\w\s]")


def split_words(text: str) -> list[str]:
    """The words of a text; every punctuation mark is a word of its own.

    Example:
      >>> from seqjax.data.vocabulary import split_words
      >>> split_words("Well, it's late.")
      ['Well', ',', 'it', "'", 's', 'late', '.']
    """
    return WORD.findall(text)


@dataclasses.dataclass(frozen=True)
class Vocabulary:
    """A vocabulary of characters, words or bytes; token `i + 4` is the i-th of them.

    The first four tokens are `PAD`, `UNKNOWN`, `BEGIN` and `END`.

    Args:
      kind: `"characters"`, in order of code point; `"words"`, the most frequent first; or all 256
        `"bytes"` of UTF-8, of which none is ever unknown.
      tokens: its entries, each once; empty for bytes.

    Example:
      >>> from seqjax.data.vocabulary import Vocabulary
      >>> vocabulary = Vocabulary.of(["hello"])
      >>> vocabulary.encode("hole", end=True)
      array([5, 7, 6, 4, 3], dtype=uint8)
      >>> vocabulary.decode([5, 7, 6, 4])
      'hole'
      >>> words = Vocabulary.of(["the cat", "the dog"], kind="words")
      >>> words.encode("the bird"), words.encode(("dog", "cat"))
      (array([4, 1], dtype=uint8), array([6, 5], dtype=uint8))
    """

    kind: Literal["characters", "words", "bytes"]
    tokens: tuple[str, ...] = ()
    boundary = BOUNDARY
    stop = None
    suppressed = SUPPRESSED

    @classmethod
    def of(
        cls,
        texts: Iterable[Text],
        kind: Literal["characters", "words", "bytes"] = "characters",
        minimum_count: int = 1,
        size: int | None = None,
    ) -> "Vocabulary":
        """The vocabulary of texts.

        Args:
          texts: texts, or lists of tokens.
          kind: of the vocabulary.
          minimum_count: rarer tokens are unknown.
          size: at most this many tokens, the four special ones included: the most frequent ones,
            ties broken in sort order.
        """
        if kind == "bytes":
            return cls("bytes")
        if kind == "characters" and minimum_count <= 1 and size is None:
            # By code point: four times as fast as a set of characters.
            seen = np.zeros(sys.maxunicode + 1, bool)
            for text in texts:
                seen[_code_points(_characters(text))] = True
            return cls(kind, tuple(map(chr, np.flatnonzero(seen).tolist())))
        split = _characters if kind == "characters" else _words
        counts: collections.Counter[str] = collections.Counter()
        for text in texts:
            counts.update(split(text))
        frequent = [token for token, count in counts.items() if count >= minimum_count]
        frequent.sort(key=lambda token: (-counts[token], token))
        if size is not None:
            frequent = frequent[: max(0, size - SPECIAL)]
        return cls(kind, tuple(sorted(frequent) if kind == "characters" else frequent))

    def __len__(self) -> int:
        return SPECIAL + (256 if self.kind == "bytes" else len(self.tokens))

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        return smallest_dtype(len(self))

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`; `UNKNOWN` for what is not in the vocabulary.

        Args:
          text: a text; or its tokens: words, or single characters.
          begin: put `BEGIN` before it.
          end: put `END` after it.

        Raises:
          ValueError: for tokens in a vocabulary of bytes, or of more than one character in one of
            characters: they would not map to one number each.
        """
        if self.kind == "bytes":
            content = one_text("bytes", text).encode("utf-8", "surrogatepass")
            found = np.frombuffer(content, np.uint8).astype(self.dtype) + self.dtype(SPECIAL)
        elif self.kind == "words":
            index = self._index
            words = (index.get(word, UNKNOWN) for word in _words(text))
            found = np.fromiter(words, self.dtype)
        else:
            found = self._by_code_point[_code_points(_characters(text))]
        return framed(found, [BEGIN] * begin, [END] * end)

    def prompt(self, text: Text) -> np.ndarray:
        """A text as the beginning of a document: its tokens after `BEGIN`."""
        return self.encode(text, begin=True)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for `BEGIN`, U+FFFD for the unknown."""
        numbers = numbers_of(tokens, len(self))
        if self.kind == "bytes":
            pieces = (
                bytes([n - SPECIAL]) if n >= SPECIAL else SPECIAL_TEXT[n].encode() for n in numbers
            )
            return b"".join(pieces).decode("utf-8", "replace")
        known = (*SPECIAL_TEXT, *self.tokens)
        return (" " if self.kind == "words" else "").join(
            known[n] for n in numbers if n not in (PAD, END)
        )

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The characters or words of a text that are not in the vocabulary, each once."""
        if self.kind == "bytes":
            return ()
        split = _characters if self.kind == "characters" else _words
        return tuple(sorted(token for token in set(split(text)) if token not in self._index))

    def to_json(self) -> str:
        """The vocabulary as JSON, for `tokenizer_from_json`."""
        return json.dumps({"kind": self.kind, "tokens": self.tokens})

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote; `ValueError` for anything else."""
        found = saved_fields(text, "characters", "words", "bytes")
        tokens = found.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("a vocabulary must have a list of tokens")
        return cls(found["kind"], tuple(tokens))

    @functools.cached_property
    def _by_code_point(self) -> np.ndarray:
        """The token of every code point there is."""
        table = np.full(sys.maxunicode + 1, UNKNOWN, self.dtype)
        known = _code_points("".join(self.tokens))
        table[known] = np.arange(SPECIAL, SPECIAL + known.size)
        return table

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens, SPECIAL)}


SPECIAL_TEXT = ("", "\ufffd", "\n\n", "")
"""What stands for the special tokens in a text."""


def _characters(text: Text) -> str:
    if isinstance(text, str):
        return text
    longer = next((token for token in text if len(token) != 1), None)
    if longer is not None:
        raise ValueError(
            f"A vocabulary of characters takes a text or single characters, got the token "
            f"{longer!r}; words need one of words."
        )
    return "".join(text)


def _words(text: Text) -> Sequence[str]:
    return split_words(text) if isinstance(text, str) else text


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
