"""Published tokenizers in the form of `tokenizer.json`."""

import dataclasses
import functools
import itertools
import json
from collections.abc import Sequence
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
from seqjax.data.vocabulary import BOUNDARY, SPECIAL_TEXT


@dataclasses.dataclass(frozen=True)
class JsonTokenizer:
    """A published tokenizer, by the package `tokenizers`.

    Args:
      content: of the file `tokenizer.json`.
      boundary: the token that begins a document.
      stop: the token that ends one; None if it is the boundary of the next.

    Raises:
      ImportError: if `tokenizers` is not installed.
      InputError: if the content is no tokenizer, or has no such boundary or stop.

    Example:
      >>> import json
      >>> from seqjax.data.json_tokenizer import JsonTokenizer
      >>> model = {"type": "WordLevel", "vocab": {"<s>": 0, "?": 1, "cat": 2}, "unk_token": "?"}
      >>> words = {"version": "1.0", "model": model, "pre_tokenizer": {"type": "Whitespace"}}
      >>> tokenizer = JsonTokenizer(json.dumps(words), boundary=0)
      >>> tokenizer.encode("cat dog", begin=True), tokenizer.unknown("cat dog")
      (array([0, 2, 1], dtype=uint8), ('dog',))
    """

    content: str
    boundary: int
    stop: int | None = None
    kind = "tokenizer"
    suppressed = ()

    def __post_init__(self):
        for name, token in (("boundary", self.boundary), ("stop", self.stop)):
            if token is not None and self._tokenizer.id_to_token(token) is None:
                raise InputError(f"The tokenizer has no token {token}, which should be the {name}.")

    def __len__(self) -> int:
        return 1 + max(self._tokenizer.get_vocab(with_added_tokens=True).values())

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        return smallest_dtype(len(self))

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`; see `Tokenizer.encode`."""
        whole = _valid(text)
        try:
            numbers = self._tokenizer.encode_batch_fast([whole], add_special_tokens=False)[0].ids
        except Exception as error:  # whatever the model there raises
            raise _unreadable(whole, error) from None
        last = self.boundary if self.stop is None else self.stop
        return framed(np.array(numbers, self.dtype), [self.boundary] * begin, [last] * end)

    def prompt(self, text: Text) -> np.ndarray:
        """A text as its models were trained on the beginning of one: with the tokens that the
        tokenizer puts before it, if any."""
        encoding = self._encoded(text, add_special_tokens=True)
        numbers = list(encoding.ids)
        for added in reversed(encoding.special_tokens_mask):
            if not added:
                break
            numbers.pop()
        return np.array(numbers or [self.boundary], self.dtype)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for the boundary, nothing for other special tokens,
        U+FFFD for bytes that are no text."""
        runs = itertools.groupby(numbers_of(tokens), lambda n: n == self.boundary)
        return "".join(
            SPECIAL_TEXT[BOUNDARY] * len(list(run))
            if boundary
            else self._tokenizer.decode(list(run), skip_special_tokens=True)
            for boundary, run in runs
        )

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The parts of a text that are read as the token for what is not known, each once."""
        model = json.loads(self.content)["model"]
        token = model.get("unk_token")
        unknown = model.get("unk_id") if token is None else self._tokenizer.token_to_id(token)
        whole = _valid(text)
        found = self._encoded(whole, add_special_tokens=False)
        parts = zip(found.ids, found.offsets, strict=True)
        return tuple(sorted({whole[a:b] for number, (a, b) in parts if number == unknown}))

    def _encoded(self, text: Text, *, add_special_tokens: bool) -> Any:
        whole = _valid(text)
        try:
            return self._tokenizer.encode(whole, add_special_tokens=add_special_tokens)
        except Exception as error:  # whatever the model there raises
            raise _unreadable(whole, error) from None

    def to_json(self) -> str:
        """The tokenizer as JSON, for `tokenizer_from_json`."""
        return json.dumps({"kind": self.kind, **dataclasses.asdict(self)})

    @classmethod
    def from_json(cls, text: str) -> "JsonTokenizer":
        """The tokenizer that `to_json` wrote; `ValueError` for anything else."""
        found = saved_fields(text, "tokenizer")
        if not isinstance(found.get("content"), str) or not isinstance(found.get("boundary"), int):
            raise ValueError("a tokenizer must have its content and a boundary")
        return cls(found["content"], found["boundary"], found.get("stop"))

    def files(self) -> dict[str, str]:
        """The files in which it is published: their content by name."""
        last = self.boundary if self.stop is None else self.stop
        names = {"bos_token": self.boundary, "eos_token": last}
        config = {name: self._tokenizer.id_to_token(token) for name, token in names.items()}
        config["tokenizer_class"] = "PreTrainedTokenizerFast"
        return {"tokenizer.json": self.content, "tokenizer_config.json": json.dumps(config)}

    @functools.cached_property
    def _tokenizer(self) -> Any:
        package = extra_module("tokenizers", "interop")
        try:
            found = package.Tokenizer.from_str(self.content)
        except Exception as error:  # whatever the parser there raises
            raise InputError(f"This is not a tokenizer.json that can be read: {error}.") from None
        # As files have them that were saved after a training with short texts.
        found.no_truncation()
        found.no_padding()
        return found


def _unreadable(text: str, error: Exception) -> InputError:
    return InputError(
        f"The tokenizer cannot read {text[:60]!r} ({error}): it has no token for a part of the "
        "text, and none for what is not known. Change the text, or give the model's own tokenizer."
    )


def _valid(text: Text) -> str:
    """A text that UTF-8 can hold: U+FFFD for halves of a pair of surrogates."""
    whole = one_text("a published tokenizer", text)
    return whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
