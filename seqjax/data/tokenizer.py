"""What makes tokens of a text and a text of tokens: the protocol that all vocabularies follow."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np

from seqjax.data.documents import Document
from seqjax.data.token_arrays import Text

RECENT = 8
"""Number of tokens that are decoded once more with those that follow. A character of UTF-8 has four
bytes at most, so what is whole before them stays as it is."""


@runtime_checkable
class Tokenizer(Protocol):
    """From texts to numbers and back: a vocabulary of ours or a published one.

    `len` is the number of tokens.
    """

    @property
    def kind(self) -> str:
        """What tokens are: a key of `seqjax.data.saved_tokenizers.KINDS`."""
        ...

    @property
    def boundary(self) -> int:
        """The token before every document of a corpus, at which the state is reset."""
        ...

    @property
    def stop(self) -> int | None:
        """The token that ends a document; None if it is the boundary of the next."""
        ...

    @property
    def suppressed(self) -> tuple[int, ...]:
        """Tokens that stand for no text, which a model never writes, such as the unknown one."""
        ...

    def __len__(self) -> int: ...

    @property
    def dtype(self) -> type[np.unsignedinteger]:
        """The smallest dtype that holds every token."""
        ...

    def encode(self, text: Text, begin: bool = False, end: bool = False) -> np.ndarray:
        """The tokens of a text, `(n,)`.

        Args:
          text: a text; some kinds take its tokens, too.
          begin: put the token before it that begins a document.
          end: put the token after it that ends one.
        """
        ...

    def prompt(self, text: Text) -> np.ndarray:
        """What a model reads, `(n,)` and at least one, to go on with a text."""
        ...

    def decode(self, tokens: Sequence[int] | np.ndarray) -> str:
        """The text of tokens: a blank line for the boundary, U+FFFD for what is no text."""
        ...

    def unknown(self, text: Text) -> tuple[str, ...]:
        """The parts of a text for which there is no token, each once."""
        ...

    def to_json(self) -> str:
        """The whole tokenizer as JSON, for `tokenizer_from_json`."""
        ...


def corpus_of(tokenizer: Tokenizer, documents: Sequence[Document]) -> np.ndarray:
    """All documents concatenated, each after a boundary token, before a stop if there is one.

    Example:
      >>> from seqjax.data.documents import Document
      >>> from seqjax.data.tokenizer import corpus_of
      >>> from seqjax.data.vocabulary import Vocabulary
      >>> corpus_of(Vocabulary.of(["ab"]), [Document("1", "a"), Document("2", "ba")])
      array([2, 4, 2, 5, 4], dtype=uint8)
    """
    end = tokenizer.stop is not None
    return np.concatenate([tokenizer.encode(text, begin=True, end=end) for _, text in documents])


def decoded(
    tokenizer: Any, pieces: Iterable[np.ndarray], after: Sequence[int] | np.ndarray = ()
) -> Iterator[str]:
    """The text of tokens that come in pieces, at once as far as it is certain.

    A character of which not all bytes are there yet is held until it is whole, or cannot become so.
    Together the texts are what `tokenizer.decode` makes of all tokens.

    Args:
      tokenizer: a `Tokenizer`.
      pieces: arrays `(n,)`.
      after: the tokens that came before, whose text is not repeated.

    Example:
      >>> from seqjax.data.tokenizer import decoded
      >>> from seqjax.data.vocabulary import Vocabulary
      >>> vocabulary = Vocabulary("bytes")
      >>> first, second = vocabulary.encode("né")[:2], vocabulary.encode("né")[2:]
      >>> list(decoded(vocabulary, [first, second]))
      ['n', 'é']
    """

    def certain(tokens: np.ndarray) -> str:
        # Bytes that begin a character become one U+FFFD, the last; all before it is certain.
        return tokenizer.decode(tokens).removesuffix("\ufffd")

    recent = np.asarray(after, np.int64)[-RECENT:]
    shown = len(certain(recent))
    for piece in pieces:
        tokens = np.concatenate([recent, piece])
        if text := certain(tokens)[shown:]:
            yield text
        recent = tokens[-RECENT:]
        shown = len(certain(recent))
    if text := tokenizer.decode(recent)[shown:]:
        yield text
