"""The task of writing down what a series says, by connectionist temporal classification."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

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
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell
from seqjax.train.scaling import Standardizer
from seqjax.train.task import Criterion

# The symbol that stands for nothing is the token that stands for nothing.
assert BLANK == PAD


@dataclasses.dataclass(frozen=True)
class TranscriberConfig(CellConfig):
    """The transcriber."""

    features: PositiveInt = 96
    """Width of each layer's state, in each direction."""
    layers: PositiveInt = 2
    """Number of layers; from the second on they are residual."""
    dropout: ProbabilityBelowOne = 0.3
    """Probability that an output of a layer is dropped."""
    bidirectional: bool = True
    """Read forwards and backwards."""
    beams: PositiveInt = 10
    """Beams of the search in evaluation and prediction; 1 takes the likeliest path."""


@dataclasses.dataclass(frozen=True)
class TranscribeFields:
    """What columns of .csv files and keys of .jsonl files mean."""

    transcript: str = "text"
    """The column of what is said."""
    values: tuple[str, ...] = ()
    """The columns of numbers; by default all others that hold numbers."""
    series: str | None = None
    """The column that says to which series a row belongs, if a row is one time step."""
    tokens: Literal["characters", "words"] = "characters"
    """What a transcript is cut into."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        return Fields(label=self.transcript, series=self.series, values=self.values or None)


@dataclasses.dataclass(frozen=True)
class TranscribeConfig(RunConfig):
    """Trains a transcriber: labels in order, without knowing at which step each is."""

    source: Literal["digit-strings"] = "digit-strings"
    """Series that are made of what packages carry; see --train for your own."""
    files: FilesConfig = FilesConfig()
    columns: TranscribeFields = TranscribeFields()
    sequences: SequenceConfig = SequenceConfig()
    model: TranscriberConfig = TranscriberConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=4e-3, weight_decay=0.01)
    batch: PositiveInt = 64
    """Series of a batch."""
    steps: PositiveInt = 1500
    """Updates of the parameters."""
    validate_every: PositiveInt = 250
    """Steps between validations and checkpoints."""


def from_source(name: str) -> Data:
    """Series that are made of what packages carry."""
    return Data("strings of handwritten digits", *digit_strings())


@dataclasses.dataclass(frozen=True)
class Transcription:
    """A `Problem`: the labels of a series, in order.

    Args:
      config: the settings.
      vocabulary: of the labels.
      standard: mean and scale of each channel.
      beams: of the search.
    """

    config: TranscribeConfig
    vocabulary: Vocabulary
    standard: Standardizer
    beams: int = 1

    sequences = ("inputs",)
    answers = ("labels",)
    judged_by = ()
    criterion = Criterion("token_error_rate", lower_is_better=True)

    @classmethod
    def of(
        cls,
        config: TranscribeConfig,
        examples: Sequence[Example],
        held: Sequence[Example] = (),
    ) -> "Transcription":
        """The problem that these examples pose.

        Raises:
          InputError: if they do not fit together, or are no series with a transcript.
        """
        texts = [_text(example) for example in examples]
        vocabulary = Vocabulary.of(texts, kind=config.columns.tokens)
        return cls(config, vocabulary, Standardizer.of(examples))

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        return {
            "vocabulary": json.loads(self.vocabulary.to_json()),
            "standard": dataclasses.asdict(self.standard),
        }

    @classmethod
    def restore(cls, config: TranscribeConfig, settings: dict[str, Any]) -> "Transcription":
        """What `settings` gave, with its configuration and its beams."""
        vocabulary = Vocabulary.from_json(json.dumps(settings["vocabulary"]))
        standard = Standardizer.restore(settings["standard"])
        return cls(config, vocabulary, standard, config.model.beams)

    def encode(self, example: Example, *, answered: bool = True) -> Encoded:
        """An example as arrays."""
        encoded = {"inputs": self.standard.encode(example)}
        if not answered:
            return encoded
        if example.target is None:
            raise InputError(f"{example.where}: there is no transcript to compare with.")
        return encoded | {"labels": self.vocabulary.encode(_text(example)).astype(np.int32)}

    def is_possible(self, example: Encoded) -> bool:
        """Whether the series has enough steps for its labels."""
        labels = example["labels"]
        needed = len(labels) + int((labels[1:] == labels[:-1]).sum())
        return needed <= len(example["inputs"])

    def model(self, seed: int) -> Transcriber:
        config = self.config.model
        cell = build_cell(config, both_ways=config.bidirectional)
        width = len(self.standard.location)
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

    def answer(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """What is written for an example: `prediction` and `probability`."""
        return {
            "prediction": self.vocabulary.decode(self._written(output)),
            "probability": round(float(output["probability"]), 6),
        }

    def _written(self, output: Mapping[str, Any]) -> list[int]:
        return output["labels"][: int(output["count"])].tolist()


def _text(example: Example) -> str:
    """What is said in an example; labels that stand in a list are words."""
    found = example.target
    text = " ".join(found) if isinstance(found, tuple) else found
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{example.where}: expected a transcript, got {found!r}.")
    return text
