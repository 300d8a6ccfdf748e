"""The task of predicting a class, labels or a number from a whole sequence."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.data.datasets import CLASSIFICATION, load_classification
from seqjax.data.drawn import clips
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.padding import Encoded
from seqjax.data.vocabulary import SubwordVocabulary, Vocabulary, vocabulary_from_json
from seqjax.nn.classifier import Classifier
from seqjax.nn.outputs import Outputs, Regression, Sigmoid, Softmax
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.scaling import Standardizer, check_space, space_of
from seqjax.train.task import Criterion


@dataclasses.dataclass(frozen=True)
class ClassifierConfig(CellConfig):
    """The classifier."""

    features: PositiveInt = 64
    """Width of each layer's state, in each direction."""
    dropout: ProbabilityBelowOne = 0.2
    """Probability that an output of a layer is dropped."""
    bidirectional: bool = True
    """Read forwards and backwards."""
    pooling: Literal["last", "mean", "max", "attention"] = "mean"
    """How the outputs of all steps become one vector."""
    embedding: PositiveInt = 64
    """Width of the embedding of tokens, for texts."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU that reads clips."""


@dataclasses.dataclass(frozen=True)
class ClassifyFields:
    """What columns of .csv files, keys of .jsonl files and arrays of .npz files mean."""

    target: Literal["class", "labels", "number"] = "class"
    """What is predicted: one class, any of several labels, or a number."""
    label: str = "label"
    """The column of the class, the labels or the number."""
    separator: str = "|"
    """What stands between labels where several may hold."""
    text: str | None = None
    """The column of the text; without it a row is a series of numbers."""
    tokens: Literal["characters", "words", "bytes", "subwords"] = "words"
    """What a text is cut into."""
    vocabulary: PositiveInt = 8000
    """At most so many different tokens; the others are unknown."""
    series: str | None = None
    """The column that says to which series a row belongs, if a row is one time step."""
    time: str | None = None
    """The column of the time, if a row is one time step; it is not an input."""
    frames: str | None = None
    """The key of a clip: frames of pixels of channels, or a path; see the README."""
    values: tuple[str, ...] = ()
    """The columns of numbers; by default all others that hold numbers."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        number = self.target == "number"
        return Fields(
            text=self.text,
            label=None if number else self.label,
            number=self.label if number else None,
            label_separator=self.separator if self.target == "labels" else None,
            series=self.series,
            image=self.frames,
            time=self.time,
            values=self.values or None,
            missing=True,
        )


@dataclasses.dataclass(frozen=True)
class ClassifyConfig(RunConfig):
    """Trains a classifier of sequences: series of numbers or texts."""

    source: Literal[
        "japanese-vowels",
        "italy-power-demand",
        "gun-point",
        "basic-motions",
        "digits-rows",
        "digits-pixels",
        "moving-shapes",
    ] = "japanese-vowels"
    """A data set that a package carries; see --train for your own."""
    files: FilesConfig = FilesConfig()
    columns: ClassifyFields = ClassifyFields()
    sequences: SequenceConfig = SequenceConfig()
    model: ClassifierConfig = ClassifierConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    batch: PositiveInt = 32
    """Examples of a batch."""
    steps: PositiveInt = 1000
    """Updates of the parameters."""
    validate_every: PositiveInt = 100
    """Steps between validations and checkpoints."""


def from_source(name: str) -> Data:
    """A data set that a package carries, or that is drawn."""
    if name == "moving-shapes":
        return Data("moving shapes", *clips()["action"])
    train, test = load_classification(name)
    return Data(CLASSIFICATION[name].name, train, None, test)


@dataclasses.dataclass(frozen=True)
class Classification:
    """A `Problem`: a class, labels or a number for each sequence.

    Args:
      config: the settings.
      labels: the names of the classes, in the order of their numbers; none for a number.
      vocabulary: of the texts, None for series of numbers.
      standard: mean and scale of each channel of a series; None for texts.
      space: size of the images of a clip; none for other series.
      target_location, target_scale: of the numbers to predict.
    """

    config: ClassifyConfig
    labels: tuple[str, ...]
    vocabulary: Vocabulary | SubwordVocabulary | None = None
    standard: Standardizer | None = None
    target_location: float = 0.0
    target_scale: float = 1.0
    space: tuple[int, ...] = ()

    sequences = ("inputs",)
    answers = ()
    judged_by = ()

    @classmethod
    def of(
        cls, config: ClassifyConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Classification":
        """The problem that these examples pose; the labels of `held` count as well.

        Raises:
          InputError: if they do not fit together, or have fewer than two classes.
        """
        found: dict[str, Any] = {"labels": _labels(config.columns.target, [*examples, *held])}
        kinds = {isinstance(example.inputs, str) for example in examples}
        if len(kinds) > 1:
            raise InputError("Some files hold texts and others series of numbers; give one kind.")
        if kinds == {True}:
            found["vocabulary"] = _vocabulary(config.columns, examples)
        else:
            found["standard"] = Standardizer.of(examples)
            found["space"] = space_of([*examples, *held])
        if config.columns.target == "number":
            numbers = np.array([example.target for example in examples], np.float64)
            found["target_location"] = float(numbers.mean())
            found["target_scale"] = float(numbers.std()) or 1.0
        return cls(config, **found)

    @property
    def target(self) -> str:
        """What is predicted: class, labels or number."""
        return self.config.columns.target

    @property
    def criterion(self) -> Criterion:
        return {
            "class": Criterion("accuracy", lower_is_better=False),
            "labels": Criterion("macro_f1", lower_is_better=False),
            "number": Criterion("root_mean_squared_error", lower_is_better=True),
        }[self.target]

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each label."""
        return {label: number for number, label in enumerate(self.labels)}

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name not in ("config", "vocabulary", "standard")
        }
        if self.standard is not None:
            values["standard"] = dataclasses.asdict(self.standard)
        if self.vocabulary is not None:
            values["vocabulary"] = json.loads(self.vocabulary.to_json())
        return values

    @classmethod
    def restore(cls, config: ClassifyConfig, settings: dict[str, Any]) -> "Classification":
        """What `settings` gave, with its configuration."""
        values: dict[str, Any] = settings | {"labels": tuple(settings["labels"])}
        values["space"] = tuple(settings.get("space", ()))
        if "vocabulary" in values:
            values["vocabulary"] = vocabulary_from_json(json.dumps(values["vocabulary"]))
        if "standard" in values:
            values["standard"] = Standardizer.restore(values["standard"])
        return cls(config, **values)

    def encode(self, example: Example, *, answered: bool = True) -> Encoded:
        """An example as arrays.

        Args:
          example: from a file or a source.
          answered: whether its target is wanted.

        Raises:
          InputError: if it is of another kind than the training data, or its label was not
            among them.
        """
        encoded = {"inputs": self._inputs(example)}
        if answered:
            encoded["target"] = self._target(example)
        return encoded

    def _inputs(self, example: Example) -> np.ndarray:
        if self.vocabulary is not None:
            if not isinstance(example.inputs, str):
                raise InputError(f"{example.where}: expected a text, got a series of numbers.")
            return self.vocabulary.encode(example.inputs).astype(np.int32)
        assert self.standard is not None
        inputs = self.standard.encode(example)
        check_space(example, self.space)
        return inputs

    def _target(self, example: Example) -> np.ndarray:
        if example.target is None:
            raise InputError(f"{example.where}: there is no target to compare with.")
        _check_kind(self.target, example)
        if self.target == "number":
            return np.asarray(
                (example.target - self.target_location) / self.target_scale, np.float32
            )
        names = (example.target,) if self.target == "class" else example.target
        for name in names:
            if name not in self.numbers:
                known = ", ".join(map(repr, self.labels[:10]))
                more = ", ..." if len(self.labels) > 10 else ""
                raise InputError(
                    f"{example.where}: the label {name!r} was not in the training data, which has "
                    f"{known}{more}."
                )
        if self.target == "class":
            return np.asarray(self.numbers[example.target], np.int32)
        held = np.zeros(len(self.labels), np.float32)
        held[[self.numbers[name] for name in names]] = 1
        return held

    @property
    def meaning(self) -> Outputs:
        """What the model's last layer means."""
        if self.target == "number":
            return Regression()
        return (Softmax if self.target == "class" else Sigmoid)(len(self.labels))

    def model(self, seed: int) -> Classifier:
        config, rngs = self.config.model, nnx.Rngs(seed)
        if self.vocabulary is None:
            assert self.standard is not None
            embedding, width = None, len(self.standard.location)
        else:
            width = config.embedding
            embedding = nnx.Embed(len(self.vocabulary), width, rngs=rngs)
        cell = build_cell(config, both_ways=config.bidirectional)
        if self.space:
            cell = build_video_cell(cell, config.video, self.space)
        return Classifier(
            cell,
            width,
            self.meaning,
            pooling=config.pooling,
            embedding=embedding,
            rngs=rngs,
        )

    def loss(self, model, batch, keys):
        raw = model(batch["inputs"], lengths=batch["lengths"], key=keys)
        target = batch["target"]
        counts = batch["weights"] > 0
        if self.target == "number":
            target = target[..., None]
        return self.meaning.loss(raw, target, counts), batch["weights"].sum()

    def outputs(self, model, batch):
        return self.meaning.predict(model(batch["inputs"], lengths=batch["lengths"]))

    def scores(self, examples, outputs):
        targets = jnp.asarray(np.stack([example["target"] for example in examples]))
        predictions = jnp.asarray(np.stack([output["prediction"] for output in outputs]))
        if self.target == "number":
            predictions = predictions[:, 0]
            root = metrics.root_mean_squared_error(predictions, targets)
            mean = metrics.mean_absolute_error(predictions, targets)
            return {
                "root_mean_squared_error": self.target_scale * float(root.value),
                "mean_absolute_error": self.target_scale * float(mean.value),
            }
        probability = jnp.asarray(np.stack([output["probability"] for output in outputs]))
        if self.target == "class":
            matrix = metrics.confusion_matrix(predictions, targets, classes=len(self.labels))
            return {
                "accuracy": float(matrix.accuracy),
                "macro_f1": float(matrix.macro_f1),
                "calibration_error": float(
                    metrics.calibration(probability, targets).expected_error
                ),
            }
        holds = targets > 0.5
        f1 = [
            metrics.confusion_matrix(predictions[:, label] + 0, holds[:, label] + 0, classes=2).f1[
                1
            ]
            for label in range(len(self.labels))
        ]
        return {
            "macro_f1": float(np.mean(f1)),
            "accuracy": float(metrics.accuracy(predictions, holds).value),
        }

    def answer(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """What is written for an example: `prediction` and `probability`."""
        prediction = output["prediction"]
        if self.target == "number":
            return {"prediction": float(prediction[0] * self.target_scale + self.target_location)}
        if self.target == "class":
            return {
                "prediction": self.labels[int(prediction)],
                "probability": round(float(output["probability"][int(prediction)]), 6),
            }
        held = [label for label, holds in zip(self.labels, prediction, strict=True) if holds]
        return {
            "prediction": self.config.columns.separator.join(held),
            "probability": {
                label: round(float(p), 6)
                for label, p in zip(self.labels, output["probability"], strict=True)
            },
        }


KINDS_OF_TARGETS = {"class": (str,), "labels": (tuple,), "number": (float, int)}
"""What the readers of files make of a class, of labels and of a number."""


def _check_kind(target: str, example: Example) -> None:
    found = example.target
    if not isinstance(found, KINDS_OF_TARGETS[target]):
        kinds = {str: "class", tuple: "labels", float: "number", int: "number"}
        other = kinds.get(type(found))
        advice = f" (--target {other} would fit)" if other else ""
        raise InputError(
            f"{example.where}: --target {target} does not fit the target {found!r}{advice}."
        )


def _labels(target: str, examples: Sequence[Example]) -> tuple[str, ...]:
    for example in examples:
        _check_kind(target, example)
    if target == "number":
        return ()
    if target == "class":
        found = {example.target for example in examples}
    else:
        found = {label for example in examples for label in example.target}
    if target == "class" and len(found) < 2:
        raise InputError(
            f"The training data has one class only, {next(iter(found))!r}: there is nothing to "
            "tell apart. Is --label the right column?"
        )
    if not found:
        raise InputError("No example has a label; is --label the right column?")
    return tuple(sorted(found))


def _vocabulary(
    columns: ClassifyFields, examples: Sequence[Example]
) -> Vocabulary | SubwordVocabulary:
    texts = [example.inputs for example in examples]
    if columns.tokens == "subwords":
        return SubwordVocabulary.of(texts, size=columns.vocabulary)
    return Vocabulary.of(texts, kind=columns.tokens, size=columns.vocabulary)
