"""`seqjax train translate`: one text from another, for translation, spelling, normalisation."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of
from seqjax.data.pairs import load_pairs
from seqjax.nn.encoder import RecurrentEncoder
from seqjax.train.bounds import PositiveInt
from seqjax.train.commands import EvaluateConfig, Log
from seqjax.train.config import OptimizerConfig, RunConfig
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell
from seqjax.train.pictures import token_name
from seqjax.train.tokens import (
    AnyVocabulary,
    TokenKind,
    restore_vocabulary,
    save_vocabulary,
    vocabulary_of,
)
from seqjax.train.writing import DecodingConfig, TeachingConfig, WriterConfig, Writing


@dataclasses.dataclass(frozen=True)
class TranslatorConfig(WriterConfig):
    """The encoder and the decoder."""

    bidirectional: bool = True
    """Read the source forwards and backwards."""


@dataclasses.dataclass(frozen=True)
class PairFields:
    """The columns of .csv and .tsv files and keys of .jsonl files."""

    text: str = "source"
    """Column of the source text."""
    translation: str = "target"
    """Column of the target text."""
    separator: str | None = None
    """Separates several references for a source; the first one is learned."""
    tokens: Literal["auto", "characters", "words", "bytes", "subwords"] = "auto"
    """The tokens of both texts; auto takes subwords, but words for --source phonemes and characters
    for --source dates."""
    vocabulary: PositiveInt = 8000
    """Largest size of each vocabulary; other tokens are unknown."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(text=self.text, label=self.translation, label_separator=self.separator)


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Parallel text files: the translations of text files in --train, line by line."""

    train_targets: tuple[Path, ...] = ()
    """The translations of the lines in --train, as many files."""
    validation_targets: tuple[Path, ...] = ()
    """The translations of the lines in --validation."""
    test_targets: tuple[Path, ...] = ()
    """The translations of the lines in --test."""


@dataclasses.dataclass(frozen=True)
class TranslateConfig(RunConfig):
    """Trains a translator from one text to another: spelling, dates, languages."""

    source: Literal["phonemes", "dates", "verses"] = "phonemes"
    """Pairs that packages carry; --train names files of your own."""
    files: FilesConfig = FilesConfig()
    parallel: ParallelConfig = ParallelConfig()
    columns: PairFields = PairFields()
    sequences: SequenceConfig = SequenceConfig()
    model: TranslatorConfig = TranslatorConfig()
    teaching: TeachingConfig = TeachingConfig()
    decoding: DecodingConfig = DecodingConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    batch: PositiveInt = 128
    """Pairs of a batch."""
    steps: PositiveInt = 2400
    """Training steps: updates of the parameters."""
    validate_every: PositiveInt = 500
    """Steps between validations and checkpoints."""


@dataclasses.dataclass(frozen=True)
class TextReading:
    """Texts as tokens."""

    vocabulary: AnyVocabulary

    sequences = ("inputs",)

    def inputs(self, example: Example) -> np.ndarray:
        """The tokens of the text."""
        if not isinstance(example.inputs, str):
            raise InputError(f"{example.where}: expected a text, got a series of numbers.")
        return self.vocabulary.encode(example.inputs).astype(np.int32)

    def encoder(self, config: TranslatorConfig, rngs: nnx.Rngs) -> RecurrentEncoder:
        """An encoder that reads both ways, if the config says so."""
        embedding = nnx.Embed(len(self.vocabulary), config.embedding, rngs=rngs)
        cell = build_cell(config, both_ways=config.bidirectional)
        return RecurrentEncoder(cell, config.embedding, embedding=embedding, rngs=rngs)

    def preprocessing(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": save_vocabulary(self.vocabulary)}

    def token_names(self, inputs: np.ndarray) -> list[str]:
        """The tokens."""
        return [token_name(self.vocabulary, token) for token in inputs.tolist()]

    def pictures(self, inputs: np.ndarray, title: str) -> dict[str, Any]:
        """None: the alignment shows the text."""
        return {}


@dataclasses.dataclass(frozen=True)
class Translation(Writing):
    """A text for each text."""

    config: TranslateConfig

    name = "translate"
    config_type = TranslateConfig
    evaluate_options = Writing.evaluate_options | {"targets"}

    @classmethod
    def source(cls, name: str) -> Data:
        what = {
            "phonemes": "letters and phonemes of the CMU pronouncing dictionary",
            "dates": "dates as people write them",
            "verses": "short verses in English and Spanish",
        }
        return Data(what[name], *load_pairs(name))

    @classmethod
    def load(cls, config: TranslateConfig, log: Log) -> Data:
        return parallel(config, log) or super().load(config, log)

    @classmethod
    def fit(
        cls, config: TranslateConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Translation":
        for example in examples:
            if not isinstance(example.inputs, str):
                raise InputError(f"{example.where}: expected a text, got a series of numbers.")
        columns = config.columns
        kind: TokenKind
        if columns.tokens != "auto":
            kind = columns.tokens
        elif config.files.train or config.source == "verses":
            kind = "subwords"
        else:
            kind = "words" if config.source == "phonemes" else "characters"
        sources = [example.inputs for example in examples]
        reading = TextReading(vocabulary_of(sources, kind, columns.vocabulary))
        return cls.reading_with(reading, config, examples, kind, columns.vocabulary)

    @classmethod
    def restore(cls, config: TranslateConfig, preprocessing: dict[str, Any]) -> "Translation":
        reading = TextReading(restore_vocabulary(preprocessing["reading"]["vocabulary"]))
        return cls.restored(reading, config, preprocessing)

    def read(
        self, config: EvaluateConfig, fields: Fields, malformed: Malformed, log: Log
    ) -> list[Example]:
        """Sources with the translations in `--targets`, or files that hold both."""
        if config.targets:
            return pairs("input", config.input, config.targets, log)
        return super().read(config, fields, malformed, log)


def parallel(config: TranslateConfig, log: Log) -> Data | None:
    """The user's text files with their translations beside them; None if there are none.

    Raises:
      InputError: if files or their lines do not go in pairs.
    """
    targets, files = config.parallel, config.files
    if not (targets.train_targets or targets.validation_targets or targets.test_targets):
        return None
    if not files.train:
        raise InputError("--train-targets goes with --train: name the files of the sources.")
    parts = [
        pairs(name, sources, translations, log)
        for name, sources, translations in (
            ("train", files.train, targets.train_targets),
            ("validation", files.validation, targets.validation_targets),
            ("test", files.test, targets.test_targets),
        )
    ]
    name = ", ".join(map(str, files.train))
    return Data(name, parts[0], parts[1] or None, parts[2])


def pairs(
    name: str,
    sources: Sequence[Path],
    targets: Sequence[Path],
    log: Log,
) -> list[Example]:
    """The lines of text files with those of others as their translations.

    Where a line is blank on either side, the pair is left out and counted.

    Args:
      name: of the option that names the sources.
      sources: text files, whatever they are called.
      targets: as many.
      log: where lines for the user go.

    Raises:
      InputError: if the files or their lines do not go in pairs, or none is left.
    """
    if len(sources) != len(targets):
        raise InputError(
            f"--{name} names {len(sources)} files and there are {len(targets)} of translations: "
            "give one for each."
        )
    found, blank = [], 0
    for source, target in zip(sources, targets, strict=True):
        read, written = list(_lines(source)), list(_lines(target))
        if len(read) != len(written):
            raise InputError(
                f"{source} has {len(read):,} lines and {target} {len(written):,}: line by line, "
                "one must be the translation of the other."
            )
        for number, (one, other) in enumerate(zip(read, written, strict=True), 1):
            if one and other:
                found.append(Example(one, other, f"{source}, line {number}"))
            blank += not (one and other)
    if sources and not found:
        raise InputError(f"--{name}: no pair of lines has a text on both sides.")
    if blank:
        log(f"{name}: {blank:,} pairs with a blank line were left out.")
    return found


def _lines(path: Path) -> Iterator[str]:
    for number, line in lines_of(path, "a text file"):
        try:
            check_text(line)
        except FlawError as flaw:
            raise InputError(f"{path}, line {number}: {flaw}") from None
        yield line.strip()


TRANSLATE = example_commands(Translation)
