"""Tokenizers of every kind, from what they write of themselves."""

from typing import Any

from seqjax.data.json_tokenizer import JsonTokenizer
from seqjax.data.rwkv_tokenizer import RWKVTokenizer
from seqjax.data.subwords import SubwordVocabulary
from seqjax.data.token_arrays import saved_fields
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import Vocabulary

KINDS: dict[str, Any] = {
    "characters": Vocabulary,
    "words": Vocabulary,
    "bytes": Vocabulary,
    "subwords": SubwordVocabulary,
    "tokenizer": JsonTokenizer,
    "rwkv": RWKVTokenizer,
}
"""The class of each kind."""


def tokenizer_from_json(text: str) -> Tokenizer:
    """The tokenizer that `to_json` wrote; `ValueError` for anything else.

    Example:
      >>> from seqjax.data.saved_tokenizers import tokenizer_from_json
      >>> from seqjax.data.vocabulary import Vocabulary
      >>> tokenizer_from_json(Vocabulary("bytes").to_json())
      Vocabulary(kind='bytes', tokens=())
    """
    return KINDS[saved_fields(text, *KINDS)["kind"]].from_json(text)
