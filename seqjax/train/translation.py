"""The task of writing one sequence from another: translation, spelling, normalisation."""

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.formats.file_access import FlawError, check_text, lines_of
from seqjax.data.pairs import load_pairs
from seqjax.data.vocabulary import vocabulary_from_json
from seqjax.nn.encoder import RecurrentEncoder
from seqjax.train.bounds import PositiveInt
from seqjax.train.config import OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig, SequenceConfig, find_data
from seqjax.train.model import build_cell
from seqjax.train.writing import (
    AnyVocabulary,
    DecodingConfig,
    TeachingConfig,
    WriterConfig,
    Writing,
    vocabulary_of,
    written_problem,
)


@dataclasses.dataclass(frozen=True)
class TranslatorConfig(WriterConfig):
    """The encoder and the decoder."""

    bidirectional: bool = True
    """Read the source forwards and backwards."""


@dataclasses.dataclass(frozen=True)
class PairFields:
    """What columns of .csv and .tsv files and keys of .jsonl files mean."""

    text: str = "source"
    """The column of what is read."""
    translation: str = "target"
    """The column of what is to be written."""
    separator: str | None = None
    """What stands between several right answers; the first one is learned."""
    tokens: Literal["auto", "characters", "words", "bytes", "subwords"] = "auto"
    """What texts are cut into; auto takes subwords, but words for --source phonemes and
    characters for --source dates."""
    vocabulary: PositiveInt = 8000
    """At most so many different tokens on each side; the others are unknown."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        return Fields(text=self.text, label=self.translation, label_separator=self.separator)


@dataclasses.dataclass(frozen=True)
class ParallelConfig:
    """Translations in files of their own, line by line, for text files with --train."""

    train_targets: tuple[Path, ...] = ()
    """The translations of the lines in --train, as many files."""
    validation_targets: tuple[Path, ...] = ()
    """The translations of the lines in --validation."""
    test_targets: tuple[Path, ...] = ()
    """The translations of the lines in --test."""


@dataclasses.dataclass(frozen=True)
class TranslateConfig(RunConfig):
    """Trains an encoder and a decoder: from one text to another."""

    source: Literal["phonemes", "dates", "verses"] = "phonemes"
    """Pairs that packages carry; see --train for your own."""
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
    """Updates of the parameters."""
    validate_every: PositiveInt = 500
    """Steps between validations and checkpoints."""


@dataclasses.dataclass(frozen=True)
class TextReading:
    """Texts that are read token by token."""

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

    def settings(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": json.loads(self.vocabulary.to_json())}


def from_source(name: str) -> Data:
    """Pairs that packages carry."""
    what = {
        "phonemes": "letters and phonemes of the CMU pronouncing dictionary",
        "dates": "dates as people write them",
        "verses": "short verses in English and Spanish",
    }
    return Data(what[name], *load_pairs(name))


def find(config: TranslateConfig, log: Callable[[str], None]) -> Data:
    """The user's pairs, or those that packages carry."""
    return parallel(config, log) or find_data(config, from_source, log)


def of(
    config: TranslateConfig, examples: Sequence[Example], held: Sequence[Example] = ()
) -> Writing:
    """The problem that these pairs pose.

    Raises:
      InputError: if an input is no text.
    """
    for example in examples:
        if not isinstance(example.inputs, str):
            raise InputError(f"{example.where}: expected a text, got a series of numbers.")
    kind: Any = config.columns.tokens
    if kind == "auto":
        known = {"phonemes": "words", "dates": "characters"}
        kind = "subwords" if config.files.train else known.get(config.source, "subwords")
    size = config.columns.vocabulary
    reading = TextReading(vocabulary_of([example.inputs for example in examples], kind, size))
    return written_problem(config, reading, examples, kind, size)


def restore(config: TranslateConfig, settings: dict[str, Any]) -> Writing:
    """The problem whose settings were saved."""
    vocabulary = vocabulary_from_json(json.dumps(settings["reading"]["vocabulary"]))
    return Writing.restored(config, TextReading(vocabulary), settings)


def parallel(config: TranslateConfig, log: Callable[[str], None]) -> Data | None:
    """The user's text files with their translations beside them; None if there are none.

    Raises:
      InputError: if files or their lines do not go in pairs.
    """
    asked = config.parallel
    if not (asked.train_targets or asked.validation_targets or asked.test_targets):
        return None
    files = config.files
    if not files.train:
        raise InputError("--train-targets goes with --train: name the files of the sources.")
    parts = [
        pairs(name, sources, targets, log)
        for name, sources, targets in (
            ("train", files.train, asked.train_targets),
            ("validation", files.validation, asked.validation_targets),
            ("test", files.test, asked.test_targets),
        )
    ]
    name = ", ".join(map(str, files.train))
    return Data(name, parts[0], parts[1] or None, parts[2])


def pairs(
    name: str,
    sources: Sequence[Path],
    targets: Sequence[Path],
    log: Callable[[str], None],
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
