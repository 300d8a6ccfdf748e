"""`seqjax train transcribe`: the labels of a series, by connectionist temporal classification."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.data.drawn import digit_strings
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.padding import Encoded
from seqjax.data.vocabulary import PAD, Vocabulary
from seqjax.nn.transcriber import BLANK, Transcriber
from seqjax.train.audio_options import AudioFields
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.encoded_parts import Learnable
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data, FilesConfig, SequenceConfig
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.model import build_cell
from seqjax.train.pictures import token_name
from seqjax.train.scaling import Standardizer
from seqjax.train.task import Criterion
from seqjax.train.tokens import restore_vocabulary, save_vocabulary

# The blank token of CTC is the padding token of vocabularies.
assert BLANK == PAD


@dataclasses.dataclass(frozen=True)
class TranscriberConfig(CellConfig):
    """The transcriber."""

    features: PositiveInt = 96
    """Width of each layer's state, in each direction."""
    layers: PositiveInt = 2
    """Number of layers; all but the first are residual."""
    dropout: ProbabilityBelowOne = 0.3
    """Dropout probability of each layer's outputs."""
    bidirectional: bool = True
    """Read sequences forwards and backwards."""
    beams: PositiveInt = 10
    """Beams of the search in evaluation and prediction; 1 takes the likeliest path."""


@dataclasses.dataclass(frozen=True)
class TranscribeFields(AudioFields):
    """The columns of .csv files and keys of .jsonl files."""

    text: str = "text"
    """Column of the transcript."""
    values: tuple[str, ...] = ()
    """Columns of the series; by default all other columns of numbers."""
    series: str | None = None
    """Column with the name of the series, for files with one row per time step."""
    decimal: Literal["auto", "point", "comma"] = "auto"
    """Decimal separator of the numbers in tables; auto finds it in the file, and says where points
    or commas may separate thousands as well."""
    tokens: Literal["characters", "words"] = "characters"
    """The labels: characters or words of the transcript."""
    columns: tuple[str, ...] = ()
    """Names of the columns of a table whose first line does not name them."""

    @property
    def fields(self) -> Fields:
        """The columns as the readers of files take them."""
        return Fields(
            label=self.text,
            audio=self.sounds,
            label_is_text=True,
            series=self.series,
            decimal=None if self.decimal == "auto" else self.decimal,
            values=self.values or None,
            columns=self.columns,
        )


@dataclasses.dataclass(frozen=True)
class TranscribeConfig(RunConfig):
    """Trains a transcriber from a series to its labels in order, by CTC."""

    source: Literal["digit-strings"] = "digit-strings"
    """Series of handwritten digits, drawn from a data set; --train names files of your own."""
    files: FilesConfig = FilesConfig()
    columns: TranscribeFields = TranscribeFields()
    sequences: SequenceConfig = SequenceConfig()
    model: TranscriberConfig = TranscriberConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=4e-3, weight_decay=0.01)
    batch: PositiveInt = 64
    """Series of a batch."""
    steps: PositiveInt = 1500
    """Training steps: updates of the parameters."""
    validate_every: PositiveInt = 250
    """Steps between validations and checkpoints."""


@dataclasses.dataclass(frozen=True)
class Transcription(ExampleTask):
    """The labels of a series, in order.

    Args:
      config: the options.
      vocabulary: of the labels.
      standardizer: mean and scale of each channel.
      beams: of the search.
    """

    config: TranscribeConfig
    vocabulary: Vocabulary
    standardizer: Standardizer
    beams: int = 1

    name = "transcribe"
    config_type = TranscribeConfig
    evaluate_options = ExampleTask.evaluate_options | {"beams"}
    predict_options = ExampleTask.predict_options | {"beams"}
    targets = ("labels",)

    @property
    def sequences(self) -> tuple[str, ...]:
        return ("inputs",)

    @property
    def criterion(self) -> Criterion:
        return Criterion("token_error_rate", lower_is_better=True)

    def baseline(self, split: Split) -> float:
        """That of empty transcripts."""
        return 1.0

    @classmethod
    def source(cls, name: str) -> Data:
        return Data("strings of handwritten digits", *digit_strings())

    @classmethod
    def fit(
        cls,
        config: TranscribeConfig,
        examples: Sequence[Example],
        held: Sequence[Example] = (),
    ) -> "Transcription":
        texts = [_text(example) for example in examples]
        vocabulary = Vocabulary.of(texts, kind=config.columns.tokens)
        return cls(config, vocabulary, Standardizer.of(examples))

    def preprocessing(self) -> dict[str, Any]:
        return {
            "vocabulary": save_vocabulary(self.vocabulary),
            "standard": self.standardizer.saved(),
        }

    @classmethod
    def restore(cls, config: TranscribeConfig, preprocessing: dict[str, Any]) -> "Transcription":
        """With the beams of the options; validation takes the likeliest path."""
        vocabulary = restore_vocabulary(preprocessing["vocabulary"])
        standardizer = Standardizer.restore(preprocessing["standard"])
        return cls(config, vocabulary, standardizer, config.model.beams)

    def searching(self, beams: int) -> "Transcription":
        return dataclasses.replace(self, beams=beams)

    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        encoded = {"inputs": self.standardizer.encode(example)}
        if not with_target:
            return encoded
        if example.target is None:
            raise InputError(f"{example.where}: there is no transcript to compare with.")
        return encoded | {"labels": self.vocabulary.encode(_text(example)).astype(np.int32)}

    def learnable(self) -> Learnable:
        """Those with enough steps for their labels: others have no alignment."""

        def has_alignment(example: Encoded) -> bool:
            labels = example["labels"]
            needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
            return needed <= len(example["inputs"])

        flaw = "fewer steps than their transcript needs"
        return Learnable(has_alignment, flaw, "Is a step too long?")

    def model(self, seed: int) -> Transcriber:
        config = self.config.model
        cell = build_cell(config, both_ways=config.bidirectional)
        width = self.standardizer.features
        return Transcriber(cell, width, len(self.vocabulary), rngs=nnx.Rngs(seed))

    def loss(self, model, batch, keys):
        logits = model(batch["inputs"], lengths=batch["lengths"], key=keys)
        counts = batch["labels_lengths"]
        nats, used = model.loss(logits, batch["lengths"], batch["labels"], counts)
        counts = used & (batch["weights"] > 0)
        return jnp.where(counts, nats, 0.0).sum(), counts.sum().astype(jnp.float32)

    def outputs(self, model, batch):
        logits = model(batch["inputs"], lengths=batch["lengths"])
        found = model.transcribe(logits, batch["lengths"], beams=self.beams)
        return {
            "labels": found.labels,
            "count": found.lengths,
            "probability": jnp.exp(found.log_probability),
        }

    def scores(self, examples, outputs):
        written = [self._written(output) for output in outputs]
        right = [[example["labels"].tolist()] for example in examples]
        return {
            "token_error_rate": float(metrics.token_errors(written, right).value),
            "exact_match": float(metrics.exact_matches(written, right).value),
        }

    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        return {
            "prediction": self.vocabulary.decode(self._written(output)),
            "probability": round(float(output["probability"]), 6),
        }

    def pictures(
        self, model: Transcriber, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """The probability of every label at every step of the first series."""
        from seqjax import plots

        inputs = examples[0]["inputs"]
        probability = np.asarray(jax.nn.softmax(model(inputs[None])[0], -1))
        names = [token_name(self.vocabulary, token) for token in range(probability.shape[1])]
        return {"posteriors": plots.ctc_posteriors(probability, inputs, names)}

    def _written(self, output: Mapping[str, Any]) -> list[int]:
        return output["labels"][: int(output["count"])].tolist()


def _text(example: Example) -> str:
    """The transcript of an example; the labels of a list are words."""
    found = example.target
    text = " ".join(found) if isinstance(found, tuple) else found
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{example.where}: expected a transcript, got {found!r}.")
    return text


TRANSCRIBE = example_commands(Transcription)
