"""The task of predicting a tag for every token of a text or step of a series."""

import dataclasses
import json
from collections.abc import Sequence
from functools import cached_property
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.core.masks import length_mask
from seqjax.data.datasets import HEBREW, load_treebank
from seqjax.data.drawn import clips
from seqjax.data.examples import Example
from seqjax.data.formats import Fields
from seqjax.data.padding import Encoded
from seqjax.data.vocabulary import UNKNOWN, Vocabulary
from seqjax.decode.tag_schemes import Scheme, allowed_transitions
from seqjax.nn.embedding import WordEmbedding
from seqjax.nn.tagger import CRFTagger, Tagger
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig
from seqjax.train.files import Data, FilesConfig, SequenceConfig
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.scaling import Standardizer, check_space, space_of
from seqjax.train.task import Criterion

LETTERS = 16
"""Characters of a word that are read: of longer ones, half from each end."""


@dataclasses.dataclass(frozen=True)
class TaggerConfig(CellConfig):
    """The tagger."""

    features: PositiveInt = 128
    """Width of each layer's state, in each direction."""
    dropout: ProbabilityBelowOne = 0.3
    """Probability that an output of a layer is dropped."""
    bidirectional: bool = True
    """Read forwards and backwards."""
    crf: bool = True
    """Join the tags by a conditional random field; else each is predicted by itself."""
    embedding: PositiveInt = 96
    """Width of the embedding of words."""
    spelling: PositiveInt = 48
    """Width of the state that reads the characters of a word, in each direction."""
    word_dropout: ProbabilityBelowOne = 0.15
    """Probability that a word is hidden in training, so that its spelling must do."""
    video: PositiveInt = 16
    """Channels of the convolutional GRU that reads clips."""


@dataclasses.dataclass(frozen=True)
class TagFields:
    """What columns of .conllu files and keys of .jsonl files mean."""

    tokens: str = "tokens"
    """The key of the tokens."""
    tag: str = "upos"
    """The tags: a column of .conllu files, a key of their last column, or a key of .jsonl."""
    scheme: Literal["auto", "none", "BIO", "BIOES"] = "auto"
    """How tags mark spans; auto looks at the tags."""
    frames: str | None = None
    """The key of a clip: frames of pixels of channels, or a path; see the README."""
    values: tuple[str, ...] = ()
    """The columns of numbers, where steps of a series are tagged."""
    series: str | None = None
    """The column that says to which series a row belongs, if a row is one time step."""
    vocabulary: PositiveInt = 30_000
    """At most so many different words; the others are unknown."""

    @property
    def fields(self) -> Fields:
        """The same, for the readers of files."""
        by_step = self.series is not None
        return Fields(
            tokens=None if by_step or self.frames is not None else self.tokens,
            tag=self.tag,
            series=self.series,
            image=self.frames,
            values=self.values or None,
        )


@dataclasses.dataclass(frozen=True)
class TagConfig(RunConfig):
    """Trains a tagger: parts of speech, entities, or any tag for every step."""

    source: Literal["hebrew-pos", "hebrew-entities", "moving-shapes"] = "hebrew-pos"
    """A corpus that a package carries, or clips that are drawn; see --train for your own."""
    files: FilesConfig = FilesConfig()
    columns: TagFields = TagFields()
    sequences: SequenceConfig = SequenceConfig()
    model: TaggerConfig = TaggerConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=4e-3, weight_decay=0.01)
    batch: PositiveInt = 32
    """Sentences of a batch."""
    steps: PositiveInt = 1500
    """Updates of the parameters."""
    validate_every: PositiveInt = 250
    """Steps between validations and checkpoints."""


def from_source(name: str) -> Data:
    """A corpus that a package carries, or clips that are drawn."""
    if name == "moving-shapes":
        return Data("moving shapes", *clips()["frames"])
    tag = {"hebrew-pos": "upos", "hebrew-entities": "biose"}[name]
    what = {"hebrew-pos": "parts of speech", "hebrew-entities": "entities"}[name]
    return Data(f"{what} of {HEBREW.name}", *load_treebank(tag))


@dataclasses.dataclass(frozen=True)
class Tagging:
    """A `Problem`: a tag for every token or step.

    Args:
      config: the settings.
      tags: their names, in the order of their numbers.
      scheme: how they mark spans, None if they do not.
      words, characters: the vocabularies of tokens and of what they are written with; None
        for series of numbers.
      standard: mean and scale of each channel of a series; None for tokens.
      space: size of the images of a clip; none for other series.
    """

    config: TagConfig
    tags: tuple[str, ...]
    scheme: Scheme | None
    words: Vocabulary | None = None
    characters: Vocabulary | None = None
    standard: Standardizer | None = None
    space: tuple[int, ...] = ()

    answers = ()
    judged_by = ()

    @classmethod
    def of(
        cls, config: TagConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Tagging":
        """The problem that these examples pose; the tags of `held` count as well.

        Raises:
          InputError: if they do not fit together or have no tags.
        """
        every = [*examples, *held]
        for example in every:
            if example.target is None:
                raise InputError(f"{example.where}: there are no tags; is --tag right?")
        tags = tuple(sorted({tag for example in every for tag in example.target}))
        if not tags:
            raise InputError("The training data has no tags; is --tag right?")
        scheme = _scheme(config.columns.scheme, tags)
        if not isinstance(examples[0].inputs, tuple):
            standard, space = Standardizer.of(examples), space_of(every)
            return cls(config, tags, scheme, standard=standard, space=space)
        tokens = [example.inputs for example in examples]
        return cls(
            config,
            tags,
            scheme,
            Vocabulary.of(tokens, kind="words", size=config.columns.vocabulary),
            Vocabulary.of(["".join(words) for words in tokens]),
        )

    @property
    def sequences(self) -> tuple[str, ...]:
        inputs = ("inputs",) if self.words is None else ("inputs", "characters")
        return (*inputs, "tags")

    @property
    def criterion(self) -> Criterion:
        name = "accuracy" if self.scheme is None else "span_f1"
        return Criterion(name, lower_is_better=False)

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each tag."""
        return {tag: number for number, tag in enumerate(self.tags)}

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        return {
            "tags": self.tags,
            "scheme": self.scheme,
            "words": None if self.words is None else json.loads(self.words.to_json()),
            "characters": None
            if self.characters is None
            else json.loads(self.characters.to_json()),
            "standard": None if self.standard is None else dataclasses.asdict(self.standard),
            "space": list(self.space),
        }

    @classmethod
    def restore(cls, config: TagConfig, settings: dict[str, Any]) -> "Tagging":
        """What `settings` gave, with its configuration."""

        def vocabulary(value):
            return None if value is None else Vocabulary.from_json(json.dumps(value))

        standard = settings["standard"]
        return cls(
            config,
            tuple(settings["tags"]),
            settings["scheme"],
            vocabulary(settings["words"]),
            vocabulary(settings["characters"]),
            None if standard is None else Standardizer.restore(standard),
            tuple(settings.get("space", ())),
        )

    def encode(self, example: Example, *, answered: bool = True) -> Encoded:
        """An example as arrays; arguments and errors as for `Classification.encode`."""
        encoded = self._inputs(example)
        steps = len(encoded["inputs"])
        if not answered:
            return encoded | {"tags": np.zeros(steps, np.int32)}
        if example.target is None:
            raise InputError(f"{example.where}: there are no tags to compare with.")
        if len(example.target) != steps:
            raise InputError(f"{example.where}: {steps} tokens, but {len(example.target)} tags.")
        for tag in example.target:
            if tag not in self.numbers:
                raise InputError(
                    f"{example.where}: the tag {tag!r} was not in the training data, which has "
                    f"{', '.join(self.tags[:20])}."
                )
        return encoded | {"tags": np.array([self.numbers[t] for t in example.target], np.int32)}

    def _inputs(self, example: Example) -> dict[str, np.ndarray]:
        if self.words is None or self.characters is None:
            assert self.standard is not None
            inputs = self.standard.encode(example)
            check_space(example, self.space)
            return {"inputs": inputs}
        if not isinstance(example.inputs, tuple):
            raise InputError(f"{example.where}: expected tokens, got a series of numbers.")
        letters = np.zeros((len(example.inputs), LETTERS), np.int32)
        for place, word in enumerate(example.inputs):
            if len(word) > LETTERS:
                word = word[: LETTERS // 2] + word[-LETTERS // 2 :]
            letters[place, : len(word)] = self.characters.encode(word)
        return {"inputs": self.words.encode(example.inputs).astype(np.int32), "characters": letters}

    def model(self, seed: int) -> Tagger:
        config, rngs = self.config.model, nnx.Rngs(seed)
        cell = build_cell(config, both_ways=config.bidirectional)
        if self.words is None or self.characters is None:
            assert self.standard is not None
            embedding, width = None, len(self.standard.location)
            if self.space:
                cell = build_video_cell(cell, config.video, self.space)
        else:
            embedding = WordEmbedding(
                len(self.words),
                len(self.characters),
                word_size=config.embedding,
                spelling=config.spelling,
                rngs=rngs,
            )
            width = embedding.features
        if config.crf:
            return CRFTagger(
                cell, width, self.tags, scheme=self.scheme, embedding=embedding, rngs=rngs
            )
        return Tagger(cell, width, len(self.tags), embedding=embedding, rngs=rngs)

    def is_possible(self, example: Encoded) -> bool:
        """Whether the model can give the tags of an example any probability at all."""
        legal = allowed_transitions(self.tags, self.scheme)
        return not self.config.model.crf or _is_legal(example["tags"], legal)

    def _emissions(self, model, batch, keys=None):
        inputs = batch["inputs"]
        if self.words is not None:
            rate = self.config.model.word_dropout
            if keys is not None and rate:

                def hide(key, words):
                    hidden = jax.random.bernoulli(jax.random.fold_in(key, 1), rate, words.shape)
                    return jnp.where(hidden, UNKNOWN, words)

                inputs = jax.vmap(hide)(keys, inputs)
            inputs = (inputs, batch["characters"])
        return model(inputs, lengths=batch["lengths"], key=keys)

    def loss(self, model, batch, keys):
        mask = length_mask(batch["lengths"], batch["tags"].shape[1])
        emissions = self._emissions(model, batch, keys)
        return model.loss(emissions, batch["tags"], mask), mask.sum().astype(jnp.float32)

    def outputs(self, model, batch):
        mask = length_mask(batch["lengths"], batch["tags"].shape[1])
        found = model.predict(self._emissions(model, batch), mask)
        number = found["prediction"]
        confidence = jnp.take_along_axis(found["probability"], number[..., None], -1)[..., 0]
        return {"prediction": number, "probability": confidence}

    def scores(self, examples, outputs):
        right = steps = 0
        counts, illegal = [], 0
        legal = allowed_transitions(self.tags, self.scheme)
        for example, output in zip(examples, outputs, strict=True):
            true = example["tags"]
            predicted = output["prediction"][: len(true)]
            right += int((true == predicted).sum())
            steps += len(true)
            if self.scheme is not None and len(true):
                counts.append(
                    metrics.span_counts(predicted, true, tags=self.tags, scheme=self.scheme)
                )
                illegal += not _is_legal(predicted, legal)
        accuracy = {"accuracy": right / max(steps, 1)}
        if self.scheme is None:
            return accuracy
        spans = metrics.add(*counts)
        return {
            "span_f1": spans.f1,
            "span_precision": spans.precision,
            "span_recall": spans.recall,
            "illegal_sequences": illegal / max(len(counts), 1),
            **accuracy,
        }

    def answer(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """What is written for an example: `prediction` and `probability` of every token."""
        steps = len(example["inputs"])
        return {
            "prediction": [self.tags[number] for number in output["prediction"][:steps].tolist()],
            "probability": [round(p, 6) for p in output["probability"][:steps].tolist()],
        }


def _is_legal(tags: np.ndarray, legal: Any) -> bool:
    if not len(tags):
        return True
    inside = np.asarray(legal.between)[tags[:-1], tags[1:]].all()
    return bool(legal.start[tags[0]] & inside & legal.end[tags[-1]])


def _scheme(asked: str, tags: Sequence[str]) -> Scheme | None:
    if asked == "BIO" or asked == "BIOES":
        return asked
    parts = [tag.partition("-") for tag in tags]
    positions = {position for position, _, _ in parts}
    marks = all(
        tag == "O" or (p in "BIES" and kind) for tag, (p, _, kind) in zip(tags, parts, strict=True)
    )
    if asked == "none" or not marks or positions == {"O"}:
        return None
    return "BIOES" if positions & {"E", "S"} else "BIO"
