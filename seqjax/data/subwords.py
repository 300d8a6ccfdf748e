"""Vocabularies of subwords, by sentencepiece."""

import base64
import dataclasses
import functools
import io
import itertools
import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.token_arrays import (
    Text,
    framed,
    numbers_of,
    one_text,
    saved_fields,
    smallest_dtype,
)
from seqjax.data.vocabulary import (
    BEGIN,
    BOUNDARY,
    END,
    PAD,
    SPECIAL,
    SPECIAL_TEXT,
    SUPPRESSED,
    UNKNOWN,
)


@dataclasses.dataclass(frozen=True)
class SubwordVocabulary:
    """A subword vocabulary, by sentencepiece.

    Args:
      model: the trained sentencepiece model, serialized.

    Example:
      >>> from seqjax.data.subwords import SubwordVocabulary
      >>> vocabulary = SubwordVocabulary.of(["the cat sat", "the rat sat"] * 9, size=20)
      >>> vocabulary.decode(vocabulary.encode("that rat"))
      'that rat'

    Source: the unigram model of Kudo 2018, arXiv:1804.10959.
    """

    model: bytes
    kind = "subwords"
    boundary = BOUNDARY
    stop = None
    suppressed = SUPPRESSED

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
        return smallest_dtype(len(self))

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`; see `Vocabulary.encode`."""
        found = self._processor.encode(one_text("pieces of words", text))
        return framed(np.array(found, self.dtype), [BEGIN] * begin, [END] * end)

    def prompt(self, text: Text) -> np.ndarray:
        """A text as the beginning of a document: its tokens after `BEGIN`."""
        return self.encode(text, begin=True)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for `BEGIN`, U+FFFD for the unknown."""
        numbers = (n for n in numbers_of(tokens, len(self)) if n not in (PAD, END))
        texts = [
            SPECIAL_TEXT[BEGIN] * len(list(run)) if begin else self._processor.decode(list(run))
            for begin, run in itertools.groupby(numbers, lambda n: n == BEGIN)
        ]
        return "".join(texts).replace(" \u2047 ", SPECIAL_TEXT[UNKNOWN])

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The characters of a text that are in no subword, each once."""
        return tuple(
            sorted(
                character
                for character in set(one_text("pieces of words", text))
                if UNKNOWN in self._processor.encode(character)
            )
        )

    def to_json(self) -> str:
        """The vocabulary as JSON, for `tokenizer_from_json`; the model in base64."""
        return json.dumps({"kind": self.kind, "model": base64.b64encode(self.model).decode()})

    @classmethod
    def from_json(cls, text: str) -> "SubwordVocabulary":
        """The vocabulary that `to_json` wrote; `ValueError` for anything else."""
        model = saved_fields(text, "subwords").get("model")
        if not isinstance(model, str):
            raise ValueError("a vocabulary of subwords must have a model")
        return cls(base64.b64decode(model, validate=True))

    @functools.cached_property
    def _processor(self) -> Any:
        sentencepiece = extra_module("sentencepiece", "train")
        return sentencepiece.SentencePieceProcessor(model_proto=self.model)
