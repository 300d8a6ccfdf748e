"""`seqjax train classify`: a class, labels or a number for a whole sequence."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.core.types import Array
from seqjax.data.datasets import CLASSIFICATION, load_classification
from seqjax.data.drawn import clips
from seqjax.data.examples import Example
from seqjax.data.formats.values import label_of, number_of
from seqjax.data.on_demand import OnDemand
from seqjax.data.padding import Encoded
from seqjax.data.tokenizer import Tokenizer
from seqjax.nn.classifier import Classifier
from seqjax.nn.embedding import token_embedding
from seqjax.nn.outputs import Outputs, Regression, Sigmoid, Softmax
from seqjax.train.class_labels import check_target, labels_of
from seqjax.train.classify_options import ClassifyConfig
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.paired_files import one_text, series_of
from seqjax.train.scaling import Standardizer, check_space, rows_of_picture, space_of
from seqjax.train.task import Criterion
from seqjax.train.tokens import (
    restore_vocabulary,
    save_vocabulary,
    vocabulary_of,
)


@dataclasses.dataclass(frozen=True)
class Classification(ExampleTask):
    """A class, labels or a number for each sequence.

    Args:
      config: the options.
      labels: the names of the classes, in the order of their numbers; none for a number.
      vocabulary: of the texts, None for series of numbers.
      standardizer: mean and scale of each channel of a series; None for texts.
      space: size of the images of a clip; none for other series.
      target_location, target_scale: of the numbers to predict.
    """

    config: ClassifyConfig
    labels: tuple[str, ...]
    vocabulary: Tokenizer | None = None
    standardizer: Standardizer | None = None
    target_location: float = 0.0
    target_scale: float = 1.0
    space: tuple[int, ...] = ()

    name = "classify"
    config_type = ClassifyConfig
    evaluation_only = ("unseen",)
    evaluate_options = ExampleTask.evaluate_options | {"targets"}

    @property
    def sequences(self) -> tuple[str, ...]:
        return ("inputs",)

    @classmethod
    def source(cls, name: str) -> Data:
        if name == "moving-shapes":
            return Data("moving shapes", *clips()["action"])
        train, test = load_classification(name)
        return Data(CLASSIFICATION[name].name, train, None, test)

    @classmethod
    def pair(cls, config: ClassifyConfig, lines: Sequence[Any], target: str) -> tuple[Any, Any]:
        fields = config.columns.fields
        inputs = one_text(lines) if fields.text else series_of(lines, fields)
        if config.columns.target == "number":
            return inputs, number_of(target, "the target")
        separator = config.columns.separator if config.columns.target == "labels" else None
        return inputs, label_of(target, "the target", separator)

    @classmethod
    def group(cls, config: ClassifyConfig, example: Example) -> str:
        """Classes are held out in proportion."""
        return str(example.target) if config.columns.target == "class" else ""

    @classmethod
    def fit(
        cls, config: ClassifyConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Classification":
        found: dict[str, Any] = {"labels": labels_of(config.columns.target, [*examples, *held])}
        kinds = {example.shape is None for example in examples}
        if len(kinds) > 1:
            raise InputError("Some files hold texts and others series of numbers; give one kind.")
        if kinds == {True}:
            columns = config.columns
            # Of stored ones, one at a time is in memory.
            texts = (example.inputs for example in examples)
            found["vocabulary"] = vocabulary_of(texts, columns.tokens, columns.vocabulary)
        else:
            series = [rows_of_picture(example) for example in examples]
            found["standardizer"] = Standardizer.of(series)
            found["space"] = space_of([*series, *map(rows_of_picture, held)])
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

    def baseline(self, split: Split) -> float:
        """That of the most frequent class, of no label, or of the mean."""
        if self.target == "labels":
            return 0.0
        targets = _targets_of(split.validation)
        if self.target == "number":
            return self.target_scale * float(np.sqrt(np.mean(np.square(targets))))
        counts = np.bincount(_targets_of(split.train))
        return float(np.mean(np.equal(targets, counts.argmax())))

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each label."""
        return {label: number for number, label in enumerate(self.labels)}

    def preprocessing(self) -> dict[str, Any]:
        values: dict[str, Any] = {
            "labels": self.labels,
            "target_location": self.target_location,
            "target_scale": self.target_scale,
            "space": self.space,
        }
        if self.standardizer is not None:
            values["standard"] = self.standardizer.saved()
        if self.vocabulary is not None:
            values["vocabulary"] = save_vocabulary(self.vocabulary)
        return values

    @classmethod
    def restore(cls, config: ClassifyConfig, preprocessing: dict[str, Any]) -> "Classification":
        standard = preprocessing.get("standard")
        return cls(
            config,
            labels=tuple(preprocessing["labels"]),
            vocabulary=restore_vocabulary(preprocessing.get("vocabulary")),
            standardizer=None if standard is None else Standardizer.restore(standard),
            target_location=preprocessing["target_location"],
            target_scale=preprocessing["target_scale"],
            space=tuple(preprocessing.get("space", ())),
        )

    @property
    def input_vocabulary(self) -> Tokenizer | None:
        return self.vocabulary

    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        encoded = {"inputs": self._inputs(example)}
        if with_target:
            encoded["target"] = self._target(example)
            if self.target == "labels" and self.unseen(example):
                encoded["unseen"] = np.asarray(len(self.unseen(example)), np.int32)
        return encoded

    def _inputs(self, example: Example) -> np.ndarray:
        if self.vocabulary is not None:
            if not isinstance(example.inputs, str):
                raise InputError(f"{example.where}: expected a text, got a series of numbers.")
            return self.vocabulary.encode(example.inputs).astype(np.int32)
        assert self.standardizer is not None
        example = rows_of_picture(example)
        inputs = self.standardizer.encode(example)
        check_space(example, self.space)
        return inputs

    def _target(self, example: Example) -> np.ndarray:
        if example.target is None:
            raise InputError(f"{example.where}: there is no target to compare with.")
        check_target(self.target, example)
        if self.target == "number":
            return np.asarray(
                (example.target - self.target_location) / self.target_scale, np.float32
            )
        names = (example.target,) if self.target == "class" else example.target
        known = [self.numbers[name] for name in names if name in self.numbers]
        if self.target == "class":
            # One number more stands for all classes that were not in the training data.
            return np.asarray(known[0] if known else len(self.labels), np.int32)
        held = np.zeros(len(self.labels), np.float32)
        held[known] = 1
        return held

    def unseen(self, example: Example) -> Sequence[str]:
        names = {"class": (example.target,), "labels": example.target, "number": ()}[self.target]
        return [name for name in names or () if name is not None and name not in self.numbers]

    @property
    def meaning(self) -> Outputs:
        """What the model's last layer means."""
        if self.target == "number":
            return Regression()
        return (Softmax if self.target == "class" else Sigmoid)(len(self.labels))

    def model(self, seed: int) -> Classifier:
        config, rngs = self.config.model, nnx.Rngs(seed)
        if self.vocabulary is None:
            assert self.standardizer is not None
            embedding, width = None, self.standardizer.features
        else:
            width = config.embedding
            embedding = token_embedding(len(self.vocabulary), width, rngs=rngs)
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
        targets = np.stack([example["target"] for example in examples])
        predictions = np.stack([output["prediction"] for output in outputs])
        if self.target == "number":
            root, mean = map(float, _errors(predictions[:, 0], targets))
            return {
                "root_mean_squared_error": self.target_scale * root,
                "mean_absolute_error": self.target_scale * mean,
            }
        if self.target == "class":
            probability = np.stack([output["probability"] for output in outputs])
            classes = len(self._names_of(targets))
            scores = _class_scores(predictions, probability, targets, classes=classes)
            accuracy, macro_f1, error = map(float, scores)
            return {"accuracy": accuracy, "macro_f1": macro_f1, "calibration_error": error}
        holds = targets > 0.5
        f1 = [*map(float, _f1_of_labels(predictions, holds))]
        # A label that was not in the training data is never found.
        unseen = sum(int(example.get("unseen", 0)) for example in examples)
        f1 += [0.0] * bool(unseen)
        return {
            "macro_f1": float(np.mean(f1)),
            "accuracy": float((predictions == holds).sum()) / (holds.size + unseen),
        }

    def _names_of(self, targets: np.ndarray) -> tuple[str, ...]:
        """The names of the classes, and one more if a target was not in the training data."""
        unseen = bool((targets == len(self.labels)).any())
        return (*self.labels, *(["unseen"] if unseen else []))

    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
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

    def pictures(
        self, model: Classifier, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """A confusion matrix of the classes; where attention pools a series, its weights."""
        from seqjax import plots

        figures = {}
        if self.target == "class":
            targets = np.stack([example["target"] for example in examples])
            names = self._names_of(targets)
            predictions = np.stack([output["prediction"] for output in outputs])
            matrix = metrics.confusion_matrix(
                jnp.asarray(predictions), jnp.asarray(targets), classes=len(names)
            )
            figures["confusion"] = plots.confusion_matrix(matrix.counts, names)
        if model.attention is not None and self.vocabulary is None:
            values = examples[0]["inputs"]
            weights = np.asarray(model.weights(values[None]))[0]
            figures["attention"] = plots.attention_over_series(values, weights)
        return figures


def _targets_of(examples: Sequence[Encoded]) -> np.ndarray:
    """Their targets, `(examples,)`."""
    if isinstance(examples, OnDemand):
        return examples.numbers["target"]
    return np.array([example["target"].item() for example in examples])


# Each is one program: compiled on their own, its small parts would take most of a short validation.
@jax.jit
def _errors(predictions: Array, targets: Array) -> tuple[Array, Array]:
    root = metrics.root_mean_squared_error(predictions, targets)
    return root.value, metrics.mean_absolute_error(predictions, targets).value


@partial(jax.jit, static_argnames="classes")
def _class_scores(
    predictions: Array, probability: Array, targets: Array, *, classes: int
) -> tuple[Array, Array, Array]:
    matrix = metrics.confusion_matrix(predictions, targets, classes=classes)
    error = metrics.calibration(probability, targets).expected_error
    return matrix.accuracy, matrix.macro_f1, error


@jax.jit
def _f1_of_labels(predictions: Array, holds: Array) -> Array:
    """For each label, `(labels,)`, from two arrays `(examples, labels)`."""

    def f1(predicted, true):
        return metrics.confusion_matrix(predicted + 0, true + 0, classes=2).f1[1]

    return jax.vmap(f1, in_axes=1)(predictions, holds)


CLASSIFY = example_commands(Classification)
