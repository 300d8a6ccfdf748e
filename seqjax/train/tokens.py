"""Vocabularies of texts: made of training data, and to and from what a run saves."""

import json
from collections.abc import Iterable
from typing import Any, Literal

from seqjax.data.saved_tokenizers import tokenizer_from_json
from seqjax.data.subwords import SubwordVocabulary
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import Vocabulary

TokenKind = Literal["characters", "words", "bytes", "subwords"]


def vocabulary_of(texts: Iterable[str], kind: TokenKind, size: int) -> Tokenizer:
    """The vocabulary of texts, of at most `size` tokens.

    Example:
      >>> from seqjax.train.tokens import vocabulary_of
      >>> vocabulary_of(["a b", "a c"], "words", 10).decode([4])
      'a'
    """
    if kind == "subwords":
        return SubwordVocabulary.of(texts, size=size)
    return Vocabulary.of(texts, kind=kind, size=size)


def save_vocabulary(vocabulary: Tokenizer | None) -> Any:
    """A vocabulary as a part of a JSON document."""
    return None if vocabulary is None else json.loads(vocabulary.to_json())


def restore_vocabulary(saved: Any) -> Any:
    """The vocabulary that `save_vocabulary` gave: a `Tokenizer`."""
    return None if saved is None else tokenizer_from_json(json.dumps(saved))
