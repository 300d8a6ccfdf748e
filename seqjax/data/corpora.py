"""The tokens of texts, in memory or mapped from files, with what is counted beside them."""

import dataclasses
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from seqjax.data.documents import Document
from seqjax.data.tokenizer import Tokenizer, corpus_of

EXCERPT = 2**22
"""At most this many characters of a corpus on disk are kept for compressors to try."""

NAMED = 100
"""At most this many documents of a corpus on disk are known by name."""


@dataclasses.dataclass(frozen=True)
class Corpus:
    """Documents, concatenated.

    Args:
      tokens: `(length,)`, each document after a boundary token; may be mapped from a file.
      counts: `(vocabulary,)` int64, how often each token comes.
      characters: of the texts.
      documents: how many there are.
      names: of the documents, or of the first of them.
      excerpt: the text, or the first part of it.
    """

    tokens: np.ndarray
    counts: np.ndarray
    characters: int
    documents: int
    names: Sequence[str]
    excerpt: str

    @classmethod
    def of(cls, tokenizer: Tokenizer, documents: Sequence[Document]) -> "Corpus":
        """The corpus of documents, in memory.

        Example:
          >>> from seqjax.data.corpora import Corpus
          >>> from seqjax.data.documents import Document
          >>> from seqjax.data.vocabulary import Vocabulary
          >>> corpus = Corpus.of(Vocabulary.of(["ab"]), [Document("1", "a"), Document("2", "ba")])
          >>> corpus.tokens, corpus.characters
          (array([2, 4, 2, 5, 4], dtype=uint8), 3)
        """
        text = "".join(text for _, text in documents)
        names = [name for name, _ in documents]
        nothing = np.zeros(0, tokenizer.dtype)
        tokens = corpus_of(tokenizer, documents) if documents else nothing
        counts = np.bincount(tokens, minlength=len(tokenizer))
        return cls(tokens, counts, len(text), len(documents), names, text)


class Corpora(NamedTuple):
    """What a language model learns from, what is held out, and the digest of both."""

    train: Corpus
    held_out: Corpus
    digest: str


def digest_of(train: Iterable[bytes], held_out: Iterable[bytes]) -> str:
    """The digest of all tokens, whose bytes come in pieces."""
    found = hashlib.sha256()
    for block in itertools.chain(train, [b"|"], held_out):
        found.update(block)
    return found.hexdigest()


class CorpusFile:
    """Writes the tokens of documents, and beside them what is counted.

    Args:
      path: of the file with the tokens; the counts are in a file that ends in `.json`.
      tokenizer: of the texts.
    """

    def __init__(self, path: Path, tokenizer: Tokenizer):
        self._path, self._tokenizer = path, tokenizer
        self._file: BinaryIO = path.open("wb")
        self._counts = np.zeros(len(tokenizer), np.int64)
        self._facts: dict[str, Any] = {"characters": 0, "documents": 0, "names": [], "excerpt": ""}

    def add(self, name: str, pieces: Iterable[str]) -> None:
        """Writes a document, which comes in pieces."""
        facts, tokenizer = self._facts, self._tokenizer
        self._write(tokenizer.encode("", begin=True))
        for piece in pieces:
            self._write(tokenizer.encode(piece))
            facts["characters"] += len(piece)
            facts["excerpt"] += piece[: EXCERPT - len(facts["excerpt"])]
        if tokenizer.stop is not None:
            self._write(tokenizer.encode("", end=True))
        facts["documents"] += 1
        if len(facts["names"]) < NAMED:
            facts["names"].append(name)

    def close(self) -> None:
        """Writes what is left."""
        self._file.close()
        facts = json.dumps(self._facts | {"counts": self._counts.tolist()})
        self._path.with_suffix(".json").write_text(facts, encoding="utf-8")

    def _write(self, tokens: np.ndarray) -> None:
        self._file.write(tokens.astype(self._tokenizer.dtype, copy=False).tobytes())
        self._counts += np.bincount(tokens, minlength=self._counts.size)


def open_corpus(path: Path, tokenizer: Tokenizer) -> Corpus:
    """What a `CorpusFile` wrote; its tokens are mapped and not read."""
    facts = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    counts = np.array(facts.pop("counts"), np.int64)
    nothing = np.zeros(0, tokenizer.dtype)
    tokens = np.memmap(path, tokenizer.dtype, mode="r") if path.stat().st_size else nothing
    return Corpus(tokens, counts, **facts)
