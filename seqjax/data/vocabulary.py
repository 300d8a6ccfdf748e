"""Vocabularies: characters, words, bytes or subwords."""

import base64
import collections
import dataclasses
import functools
import io
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.documents import Document

PAD, UNKNOWN, BEGIN, END = 0, 1, 2, 3
"""The special tokens that every vocabulary begins with: padding, unknown, and the begin and the end
of a sequence."""

SPECIAL = 4
"""Number of special tokens."""

BOUNDARY = BEGIN
"""The token before every document of a corpus, at which the state is reset."""

Text = str | Sequence[str]
"""A text, or its tokens."""

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
            return cls(kind, tuple(sorted(set().union(*map(set, texts)))))
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
        return _smallest_dtype(len(self))

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
            content = _text("bytes", text).encode("utf-8", "surrogatepass")
            found = np.frombuffer(content, np.uint8).astype(self.dtype) + self.dtype(SPECIAL)
        elif self.kind == "words":
            index = self._index
            words = (index.get(word, UNKNOWN) for word in _words(text))
            found = np.fromiter(words, self.dtype)
        else:
            points, known = _code_points(_characters(text)), self._known
            index = np.searchsorted(known, points).clip(max=max(0, known.size - 1))
            hit = known[index] == points if known.size else np.zeros(points.shape, bool)
            found = np.where(hit, index + SPECIAL, UNKNOWN).astype(self.dtype)
        return _framed(found, begin, end)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for `BEGIN`, U+FFFD for the unknown."""
        numbers = np.asarray(tokens).tolist()
        if self.kind == "bytes":
            pieces = (
                bytes([n - SPECIAL]) if n >= SPECIAL else _SPECIAL_TEXT[n].encode() for n in numbers
            )
            return b"".join(pieces).decode("utf-8", "replace")
        known = (*_SPECIAL_TEXT, *self.tokens)
        return (" " if self.kind == "words" else "").join(
            known[n] for n in numbers if n not in (PAD, END)
        )

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The characters or words of a text that are not in the vocabulary, each once."""
        if self.kind == "bytes":
            return ()
        split = _characters if self.kind == "characters" else _words
        return tuple(sorted({token for token in split(text) if token not in self._index}))

    def corpus(self, documents: Sequence[Document]) -> np.ndarray:
        """All documents concatenated, each after a boundary token."""
        return np.concatenate([self.encode(text, begin=True) for _, text in documents])

    def to_json(self) -> str:
        """The vocabulary as JSON, for `vocabulary_from_json`."""
        return json.dumps({"kind": self.kind, "tokens": self.tokens})

    @classmethod
    def from_json(cls, text: str) -> "Vocabulary":
        """The vocabulary that `to_json` wrote; `ValueError` for anything else."""
        found = _fields(text, "characters", "words", "bytes")
        tokens = found.get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("a vocabulary must have a list of tokens")
        return cls(found["kind"], tuple(tokens))

    @functools.cached_property
    def _known(self) -> np.ndarray:
        return _code_points("".join(self.tokens))

    @functools.cached_property
    def _index(self) -> dict[str, int]:
        return {token: i for i, token in enumerate(self.tokens, SPECIAL)}


@dataclasses.dataclass(frozen=True)
class SubwordVocabulary:
    """A subword vocabulary, by sentencepiece.

    Args:
      model: the trained sentencepiece model, serialized.

    Example:
      >>> from seqjax.data.vocabulary import SubwordVocabulary
      >>> vocabulary = SubwordVocabulary.of(["the cat sat", "the rat sat"] * 9, size=20)
      >>> vocabulary.decode(vocabulary.encode("that rat"))
      'that rat'

    Source: the unigram model of Kudo 2018, arXiv:1804.10959.
    """

    model: bytes
    kind: str = dataclasses.field(default="subwords", init=False)

    @classmethod
    def of(cls, texts: Iterable[Text], size: int = 8000) -> "SubwordVocabulary":
        """Trains a unigram model.

        Args:
          texts: the training texts; tokens are joined by spaces.
          size: number of tokens, the four special ones included: fewer if the texts do not have as
            many subwords, more if they have more characters.

        Raises:
          ImportError: if sentencepiece is not installed.
          InputError: if the texts are empty.
        """
        trainer = extra_module("sentencepiece", "train").SentencePieceTrainer
        whole = (text if isinstance(text, str) else " ".join(text) for text in texts)
        lines = [line for text in whole for line in text.split("\n") if line.strip()]
        if not lines:
            raise InputError("There is no text to learn a vocabulary from.")
        characters = len(set().union(*map(set, lines))) + SPECIAL + 2
        writer = io.BytesIO()
        trainer.train(
            sentence_iterator=iter(lines),
            model_writer=writer,
            vocab_size=max(size, characters),
            hard_vocab_limit=False,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            user_defined_symbols=["\n"],
            # sentencepiece does not accept less than 10.
            max_sentence_length=max(10, 1 + max(len(line.encode()) for line in lines)),
            # The result must not depend on the number of cores.
            num_threads=1,
            pad_id=PAD,
            unk_id=UNKNOWN,
            bos_id=BEGIN,
            eos_id=END,
            minloglevel=3,
        )
        return cls(writer.getvalue())

    def __len__(self) -> int:
        return self._processor.get_piece_size()

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        return _smallest_dtype(len(self))

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`; see `Vocabulary.encode`."""
        found = self._processor.encode(_text("pieces of words", text))
        return _framed(np.array(found, self.dtype), begin, end)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for `BEGIN`, U+FFFD for the unknown."""
        numbers = (n for n in np.asarray(tokens).tolist() if n not in (PAD, END))
        texts = [
            _SPECIAL_TEXT[BEGIN] * len(list(run)) if begin else self._processor.decode(list(run))
            for begin, run in itertools.groupby(numbers, lambda n: n == BEGIN)
        ]
        return "".join(texts).replace(" \u2047 ", _SPECIAL_TEXT[UNKNOWN])

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The characters of a text that are in no subword, each once."""
        return tuple(
            sorted(
                character
                for character in set(_text("pieces of words", text))
                if UNKNOWN in self._processor.encode(character)
            )
        )

    def corpus(self, documents: Sequence[Document]) -> np.ndarray:
        """All documents concatenated, each after a boundary token."""
        return np.concatenate([self.encode(text, begin=True) for _, text in documents])

    def to_json(self) -> str:
        """The vocabulary as JSON, for `vocabulary_from_json`; the model in base64."""
        return json.dumps({"kind": self.kind, "model": base64.b64encode(self.model).decode()})

    @classmethod
    def from_json(cls, text: str) -> "SubwordVocabulary":
        """The vocabulary that `to_json` wrote; `ValueError` for anything else."""
        model = _fields(text, "subwords").get("model")
        if not isinstance(model, str):
            raise ValueError("a vocabulary of subwords must have a model")
        return cls(base64.b64decode(model, validate=True))

    @functools.cached_property
    def _processor(self) -> Any:
        sentencepiece = extra_module("sentencepiece", "train")
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)


def vocabulary_from_json(text: str) -> Vocabulary | SubwordVocabulary:
    """The vocabulary of any kind that `to_json` wrote; `ValueError` for anything else."""
    kind = _fields(text, "characters", "words", "bytes", "subwords")["kind"]
    return (SubwordVocabulary if kind == "subwords" else Vocabulary).from_json(text)


_SPECIAL_TEXT = ("", "\ufffd", "\n\n", "")


def _fields(text: str, *kinds: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("kind") not in kinds:
        raise ValueError(f"expected a vocabulary of kind {' or '.join(kinds)}")
    return found


def _smallest_dtype(size: int) -> type[np.unsignedinteger]:
    for dtype in (np.uint8, np.uint16):
        if size <= np.iinfo(dtype).max + 1:
            return dtype
    return np.uint32


def _framed(tokens: np.ndarray, begin: bool, end: bool) -> np.ndarray:
    before, after = ([BEGIN] if begin else []), ([END] if end else [])
    if not (before or after):
        return tokens
    return np.concatenate([before, tokens, after]).astype(tokens.dtype)


def _text(kind: str, text: Text) -> str:
    if not isinstance(text, str):
        raise ValueError(
            f"A vocabulary of {kind} takes a text. Tokens need one of words or of characters, "
            "which has a number for each."
        )
    return text


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
