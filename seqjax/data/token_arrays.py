"""What vocabularies of every kind do with texts, arrays of tokens and JSON."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

Text = str | Sequence[str]
"""A text, or its tokens."""


def smallest_dtype(size: int) -> type[np.unsignedinteger]:
    """The smallest dtype for `size` tokens."""
    for dtype in (np.uint8, np.uint16):
        if size <= np.iinfo(dtype).max + 1:
            return dtype
    return np.uint32


def framed(tokens: np.ndarray, before: Sequence[int], after: Sequence[int]) -> np.ndarray:
    """Tokens with others before and after them."""
    if not (before or after):
        return tokens
    return np.concatenate([before, tokens, after]).astype(tokens.dtype)


def one_text(kind: str, text: Text) -> str:
    """A text; `ValueError` for tokens, which a vocabulary of this kind does not take."""
    if not isinstance(text, str):
        raise ValueError(
            f"A vocabulary of {kind} takes a text. Tokens need one of words or of characters, "
            "which has a number for each."
        )
    return text


def numbers_of(tokens: Sequence[int] | np.ndarray, count: int = 2**32) -> list[int]:
    """Tokens as numbers; `ValueError` unless they are whole numbers from 0 to below `count`.

    Published models have more rows than tokens, so the default is what a tokenizer can be asked.
    """
    array = np.asarray(tokens)
    whole = array.size == 0 or np.issubdtype(array.dtype, np.integer)
    wrong = array[(array < 0) | (array >= count)] if whole else array.ravel()
    if wrong.size:
        raise ValueError(
            f"Tokens are whole numbers from 0 to {count - 1}; got {wrong.tolist()[0]} among them."
        )
    return array.tolist()


def saved_fields(text: str, *kinds: str) -> dict[str, Any]:
    """What `to_json` of one of some kinds wrote; `ValueError` for anything else."""
    found = json.loads(text)
    if not isinstance(found, dict) or found.get("kind") not in kinds:
        raise ValueError(f"expected a vocabulary of kind {' or '.join(kinds)}")
    return found
