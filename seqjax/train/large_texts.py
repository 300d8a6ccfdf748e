"""Texts that are larger than memory: their tokens are made once and kept in files."""

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.data.corpora import Corpora, CorpusFile, digest_of, open_corpus
from seqjax.data.held_out import HeldOut, NamedPieces
from seqjax.data.kept_files import kept
from seqjax.data.saved_tokenizers import tokenizer_from_json
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import Vocabulary

TRAIN, HELD_OUT, DIGEST = "train.tokens", "held_out.tokens", "digest"

FORM = 1
"""Version of the files that are kept."""


@dataclasses.dataclass(frozen=True)
class LargeTexts:
    """Texts to learn from and texts that are held out, in files, of which little is in memory.

    What follows from the texts is kept below `cache`, by the digest of their content and of the
    tokenizer: a run that starts again reads the files once, for the digest.

    Args:
      name: of the texts.
      files: in order.
      read: gives the documents of the files.
      fraction: share that is held out.
      cache: the folder.
      log: where lines for the user go.
    """

    name: str
    files: tuple[Path, ...]
    read: Callable[[], NamedPieces]
    fraction: float
    cache: Path
    log: Callable[[str], None]

    def vocabulary(self) -> Vocabulary:
        """The characters of what is learned from."""
        path = kept(self._folder / "characters", self._write_vocabulary) / "vocabulary.json"
        found = tokenizer_from_json(path.read_text(encoding="utf-8"))
        assert isinstance(found, Vocabulary)
        return found

    def pieces(self, held_out: bool) -> Iterator[str]:
        """The texts of one side of the split, in pieces."""
        for side, _, pieces in self._plan.parts(self.read()):
            if side == held_out:
                yield from pieces
            else:
                # The pieces of a part are read before those of the next.
                for _ in pieces if self._plan.lengths else ():
                    pass

    def corpora(self, tokenizer: Tokenizer) -> Corpora:
        """The tokens of both sides, mapped from files."""
        name = hashlib.sha256(tokenizer.to_json().encode()).hexdigest()[:16]
        folder = kept(self._folder / name, lambda folder: self._write_corpora(folder, tokenizer))
        train, held_out = (open_corpus(folder / side, tokenizer) for side in (TRAIN, HELD_OUT))
        return Corpora(train, held_out, (folder / DIGEST).read_text())

    @functools.cached_property
    def _folder(self) -> Path:
        """Named by the content of the files and how it is split."""
        size = sum(path.stat().st_size for path in self.files)
        self.log(f"reading {size / 1e9:.1f} GB in {len(self.files):,} files of {self.name}")
        found = hashlib.sha256(f"{FORM} {self.fraction}".encode())
        for path in self.files:
            try:
                with path.open("rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
            except OSError as error:
                raise InputError(f"Cannot read {path}: {error.strerror or error}.") from None
            # Rows are read by their suffix.
            found.update(path.suffix.encode() + content)
        return self.cache / found.hexdigest()[:32]

    @functools.cached_property
    def _plan(self) -> HeldOut:
        path = kept(self._folder / "split", self._write_plan) / "split.json"
        saved = json.loads(path.read_text(encoding="utf-8"))
        return HeldOut(saved["documents"], saved["fraction"], tuple(saved["lengths"]))

    def _write_plan(self, folder: Path) -> None:
        plan = HeldOut.plan(self.read, self.fraction)
        (folder / "split.json").write_text(json.dumps(dataclasses.asdict(plan)), encoding="utf-8")

    def _write_vocabulary(self, folder: Path) -> None:
        self.log(f"reading the characters of {self.name}, once")
        found = Vocabulary.of(self.pieces(held_out=False)).to_json()
        (folder / "vocabulary.json").write_text(found, encoding="utf-8")

    def _write_corpora(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.log(f"writing the tokens of {self.name} to {self._folder}, once")
        writers = [CorpusFile(folder / side, tokenizer) for side in (TRAIN, HELD_OUT)]
        for held_out, name, pieces in self._plan.parts(self.read()):
            writers[held_out].add(name, pieces)
        for writer in writers:
            writer.close()
        digest = digest_of(*(_blocks(folder / side) for side in (TRAIN, HELD_OUT)))
        (folder / DIGEST).write_text(digest)


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(2**22):
            yield block
