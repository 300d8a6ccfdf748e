"""`seqjax train translate`: one text from another, for translation, spelling, normalisation."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from flax import nnx

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.pairs import load_pairs
from seqjax.data.tokenizer import Tokenizer
from seqjax.nn.embedding import token_embedding
from seqjax.nn.encoder import RecurrentEncoder
from seqjax.train.bounds import PositiveInt
from seqjax.train.config import OptimizerConfig, RunConfig
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell
from seqjax.train.paired_files import ParallelConfig, one_text
from seqjax.train.pictures import token_name
from seqjax.train.tokens import (
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
    columns: tuple[str, ...] = ()
    """Names of the columns of a table whose first line does not name them."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(
            text=self.text,
            label=self.translation,
            label_is_text=True,
            label_separator=self.separator,
            columns=self.columns,
        )


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

    vocabulary: Tokenizer

    sequences = ("inputs",)

    def inputs(self, example: Example) -> np.ndarray:
        """The tokens of the text."""
        if not isinstance(example.inputs, str):
            raise InputError(f"{example.where}: expected a text, got a series of numbers.")
        return self.vocabulary.encode(example.inputs).astype(np.int32)

    def encoder(self, config: TranslatorConfig, rngs: nnx.Rngs) -> RecurrentEncoder:
        """An encoder that reads both ways, if the config says so."""
        embedding = token_embedding(len(self.vocabulary), config.embedding, rngs=rngs)
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
    def pair(cls, config: TranslateConfig, lines: Sequence[Any], target: str) -> tuple[str, str]:
        return one_text(lines), target

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


TRANSLATE = example_commands(Translation)
