"""The tokenizer of RWKV models: the longest match in a list of byte strings."""

import ast
import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.token_arrays import (
    Text,
    framed,
    numbers_of,
    one_text,
    saved_fields,
    smallest_dtype,
)
from seqjax.data.vocabulary import BOUNDARY, SPECIAL_TEXT

FILE = "rwkv_vocab_v20230424.txt"


@dataclasses.dataclass(frozen=True)
class RWKVTokenizer:
    """Takes the longest token with which the rest of a text begins, again and again.

    Token 0 ends a text and begins the next one.

    Args:
      tokens: the bytes of each token by its number; none for numbers that are no token.

    Raises:
      InputError: if a single byte is no token.

    Example:
      >>> from seqjax.data.rwkv_tokenizer import RWKVTokenizer
      >>> tokenizer = RWKVTokenizer((b"", *(bytes([n]) for n in range(256)), b"the", b"there"))
      >>> tokenizer.encode("there the")
      array([258,  33, 257], dtype=uint16)

    Source: the released code of RWKV, `rwkv_vocab_v20230424.txt`.
    """

    tokens: tuple[bytes, ...]
    kind = "rwkv"
    boundary = 0
    stop = None
    suppressed = ()

    def __post_init__(self):
        if len({token for token in self.tokens if len(token) == 1}) < 256:
            raise InputError("The vocabulary of RWKV must have a token for each of the 256 bytes.")

    @classmethod
    def of_file(cls, text: str, name: str = FILE) -> "RWKVTokenizer":
        """The tokenizer of a vocabulary file: rows of a number, the token as Python writes it, and
        its length in bytes. Errors call it by its name.

        Raises:
          InputError: if a row is something else.
        """
        found = {0: b""}
        for number, row in enumerate(text.splitlines(), 1):
            try:
                index, rest = row.split(" ", 1)
                literal, length = rest.rsplit(" ", 1)
                token = ast.literal_eval(literal)
                token = token.encode() if isinstance(token, str) else token
                if not isinstance(token, bytes) or len(token) != int(length) or not token:
                    raise ValueError("the length is another")
                if found.setdefault(int(index), token) != token:
                    raise ValueError("the number is taken")
            except (ValueError, SyntaxError) as error:
                raise InputError(
                    f"{name}, line {number}: expected a number, a token in quotes and its length "
                    f"in bytes, such as `300 ' be' 3`; got {row[:60]!r} ({error})."
                ) from None
        return cls(tuple(found.get(index, b"") for index in range(max(found) + 1)))

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        return smallest_dtype(len(self))

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`; see `Tokenizer.encode`."""
        content = one_text("RWKV", text).encode("utf-8", "surrogatepass")
        found = np.fromiter(self._longest_matches(content), self.dtype)
        return framed(found, [self.boundary] * begin, [self.boundary] * end)

    def prompt(self, text: Text) -> np.ndarray:
        """A text as the beginning of a document: its tokens after token 0."""
        return self.encode(text, begin=True)

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for token 0, U+FFFD for bytes that are no text."""
        count, between = len(self), SPECIAL_TEXT[BOUNDARY].encode()
        pieces = (
            between if n == self.boundary else self.tokens[n]
            for n in numbers_of(tokens)
            if n < count
        )
        return b"".join(pieces).decode("utf-8", "replace")

    def unknown(self, text: Text) -> tuple[str, ...]:
        """Nothing: every byte is a token."""
        return ()

    def to_json(self) -> str:
        """The tokenizer as JSON, for `tokenizer_from_json`; bytes as Latin-1."""
        tokens = [token.decode("latin-1") for token in self.tokens]
        return json.dumps({"kind": self.kind, "tokens": tokens})

    @classmethod
    def from_json(cls, text: str) -> "RWKVTokenizer":
        """The tokenizer that `to_json` wrote; `ValueError` for anything else."""
        tokens = saved_fields(text, "rwkv").get("tokens")
        if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
            raise ValueError("a vocabulary must have a list of tokens")
        return cls(tuple(token.encode("latin-1") for token in tokens))

    def files(self) -> dict[str, str]:
        """The file in which it is published: its content by name."""
        rows = (
            f"{index} {_literal(token)} {len(token)}\n"
            for index, token in enumerate(self.tokens)
            if token
        )
        return {FILE: "".join(rows)}

    def _longest_matches(self, content: bytes) -> Iterator[int]:
        start = 0
        while start < len(content):
            node, longest, end = self._trie, 0, start
            for position in range(start, len(content)):
                node = node.get(content[position])
                if node is None:
                    break
                if TOKEN in node:
                    longest, end = node[TOKEN], position + 1
            yield longest
            start = end

    @functools.cached_property
    def _trie(self) -> dict[int, Any]:
        """Nodes by byte; under `TOKEN` the number of the token that ends in a node."""
        root: dict[int, Any] = {}
        for index, token in enumerate(self.tokens):
            if token:
                node = root
                for byte in token:
                    node = node.setdefault(byte, {})
                node[TOKEN] = index
        return root


TOKEN = -1
"""Where a node of the trie has a token: no byte has this number."""


def _literal(token: bytes) -> str:
    try:
        return repr(token.decode())
    except UnicodeDecodeError:
        return repr(token)
