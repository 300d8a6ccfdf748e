"""`seqjax train tag`: a tag for every token of a text or step of a series."""

import dataclasses
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.core.errors import InputError
from seqjax.core.keys import batchable
from seqjax.core.masks import length_mask
from seqjax.data.datasets import HEBREW, load_treebank
from seqjax.data.drawn import clips
from seqjax.data.examples import Example
from seqjax.data.formats.file_access import FlawError
from seqjax.data.padding import Encoded
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import UNKNOWN
from seqjax.decode.tag_conversion import WrittenScheme
from seqjax.decode.tag_schemes import Scheme, allowed_transitions
from seqjax.nn.embedding import WordEmbedding
from seqjax.nn.tagger import CRFTagger, Tagger
from seqjax.train.encoded_parts import Learnable
from seqjax.train.example_commands import example_commands
from seqjax.train.example_files import Data
from seqjax.train.example_task import ExampleTask
from seqjax.train.model import build_cell, build_video_cell
from seqjax.train.paired_files import one_text
from seqjax.train.pictures import to_range
from seqjax.train.scaling import Standardizer, check_space, space_of
from seqjax.train.spelled_words import SpelledWords
from seqjax.train.tag_options import TagConfig
from seqjax.train.tag_set import TagSet
from seqjax.train.task import Criterion
from seqjax.train.tokens import restore_vocabulary, save_vocabulary


@dataclasses.dataclass(frozen=True)
class Tagging(ExampleTask):
    """A tag for every token or step.

    Args:
      config: the options.
      tags: their names, in the order of their numbers.
      scheme: how they mark spans, None if they do not.
      spelled: the vocabularies of words and their characters; None for series of numbers.
      standardizer: mean and scale of each channel of a series; None for tokens.
      space: size of the images of a clip; none for other series.
      written: the scheme of the tags in files, if that is another one.
    """

    config: TagConfig
    tags: tuple[str, ...]
    scheme: Scheme | None
    spelled: SpelledWords | None = None
    standardizer: Standardizer | None = None
    space: tuple[int, ...] = ()
    written: WrittenScheme | None = None

    name = "tag"
    inputs = ("inputs", "characters")
    config_type = TagConfig
    evaluate_options = ExampleTask.evaluate_options | {"targets"}

    @classmethod
    def source(cls, name: str) -> Data:
        if name == "moving-shapes":
            return Data("moving shapes", *clips()["frames"])
        tag = {"hebrew-pos": "upos", "hebrew-entities": "biose"}[name]
        what = {"hebrew-pos": "parts of speech", "hebrew-entities": "entities"}[name]
        return Data(f"{what} of {HEBREW.name}", *load_treebank(tag))

    @classmethod
    def fit(
        cls, config: TagConfig, examples: Sequence[Example], held: Sequence[Example] = ()
    ) -> "Tagging":
        every = [*examples, *held]
        for example in every:
            if example.target is None:
                raise InputError(f"{example.where}: there are no tags; is --tag right?")
        tags = TagSet.of([example.target for example in every], config.columns.scheme)
        if not tags.tags:
            raise InputError("The training data has no tags; is --tag right?")
        found: dict[str, Any] = {"written": tags.written}
        if isinstance(examples[0].inputs, tuple):
            sentences = [example.inputs for example in examples]
            found["spelled"] = SpelledWords.of(sentences, config.columns.vocabulary)
        else:
            found |= {"standardizer": Standardizer.of(examples), "space": space_of(every)}
        return cls(config, tags.tags, tags.scheme, **found)

    @classmethod
    def pair(cls, config: TagConfig, lines: Sequence[Any], target: str) -> tuple[Any, Any]:
        tokens, tags = tuple(one_text(lines).split()), tuple(target.split())
        if len(tokens) != len(tags):
            raise FlawError(f"expected {len(tokens)} tags, as many as tokens, got {len(tags)}")
        return tokens, tags

    def remarks(self) -> list[str]:
        found = []
        if self.written is not None:
            found.append(
                f"tags are in the scheme {self.written}: learned as {self.scheme}, predictions are "
                f"written as {self.written}"
            )
        if all(tag.isdigit() for tag in self.tags):
            found.append("tags are numbers: --tag-names gives their names, from 0 on")
        return found

    def unseen(self, example: Example) -> Sequence[str]:
        return self.tag_set.unseen(example.target or ())

    @property
    def input_vocabulary(self) -> Tokenizer | None:
        return self.spelled and self.spelled.words

    @property
    def sequences(self) -> tuple[str, ...]:
        inputs = ("inputs",) if self.spelled is None else ("inputs", "characters")
        return (*inputs, "tags")

    @property
    def criterion(self) -> Criterion:
        name = "accuracy" if self.scheme is None else "span_f1"
        return Criterion(name, lower_is_better=False)

    @cached_property
    def tag_set(self) -> TagSet:
        """The tags by number."""
        return TagSet(self.tags, self.scheme, self.written)

    def preprocessing(self) -> dict[str, Any]:
        spelled, standardizer = self.spelled, self.standardizer
        return {
            "tags": self.tags,
            "scheme": self.scheme,
            "words": spelled and save_vocabulary(spelled.words),
            "characters": spelled and save_vocabulary(spelled.characters),
            "standard": standardizer and standardizer.saved(),
            "space": list(self.space),
            **({} if self.written is None else {"written": self.written}),
        }

    @classmethod
    def restore(cls, config: TagConfig, preprocessing: dict[str, Any]) -> "Tagging":
        words, characters = map(
            restore_vocabulary, (preprocessing["words"], preprocessing["characters"])
        )
        standard = preprocessing["standard"]
        return cls(
            config,
            tuple(preprocessing["tags"]),
            preprocessing["scheme"],
            None if words is None else SpelledWords(words, characters),
            None if standard is None else Standardizer.restore(standard),
            tuple(preprocessing.get("space", ())),
            preprocessing.get("written"),
        )

    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        encoded = self._inputs(example)
        steps = len(encoded["inputs"])
        if not with_target:
            return encoded | {"tags": np.zeros(steps, np.int32)}
        if example.target is None:
            raise InputError(f"{example.where}: there are no tags to compare with.")
        if len(example.target) != steps:
            raise InputError(f"{example.where}: {steps} tokens, but {len(example.target)} tags.")
        return encoded | {"tags": self.tag_set.encode(example.target)}

    def _inputs(self, example: Example) -> dict[str, np.ndarray]:
        if self.spelled is not None:
            return self.spelled.encode(example)
        assert self.standardizer is not None
        inputs = self.standardizer.encode(example)
        check_space(example, self.space)
        return {"inputs": inputs}

    def encode_input(self, example: Example) -> Encoded:
        """Never cut: every token of a sentence gets its tag, however long the sentence is."""
        return self.encode(example, with_target=False)

    def model(self, seed: int) -> Tagger:
        config, rngs = self.config.model, nnx.Rngs(seed)
        cell = build_cell(config, both_ways=config.bidirectional)
        if self.spelled is not None:
            embedding = WordEmbedding(
                len(self.spelled.words),
                len(self.spelled.characters),
                word_size=config.embedding,
                spelling=config.spelling,
                rngs=rngs,
            )
            width = embedding.features
        else:
            assert self.standardizer is not None
            embedding, width = None, self.standardizer.features
            if self.space:
                cell = build_video_cell(cell, config.video, self.space)
        if config.crf:
            return CRFTagger(
                cell, width, self.tags, scheme=self.scheme, embedding=embedding, rngs=rngs
            )
        return Tagger(cell, width, len(self.tags), embedding=embedding, rngs=rngs)

    def learnable(self) -> Learnable | None:
        """Those whose tags the scheme allows: under the CRF, others have no probability."""
        if not self.config.model.crf:
            return None
        legal = allowed_transitions(self.tags, self.scheme)
        return Learnable(
            lambda example: _is_legal(example["tags"], legal),
            f"tags that {self.scheme} forbids",
            "--no-crf learns any tags.",
        )

    def _emissions(self, model, batch, keys=None):
        inputs = batch["inputs"]
        if self.spelled is not None:
            rate = self.config.model.word_dropout
            if keys is not None and rate:

                def hide(key, words):
                    hidden = jax.random.bernoulli(jax.random.fold_in(key, 1), rate, words.shape)
                    return jnp.where(hidden, UNKNOWN, words)

                inputs = jax.vmap(hide)(batchable(keys), inputs)
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
                tags = self.tag_set.every
                found = metrics.span_counts(predicted, true, tags=tags, scheme=self.scheme)
                counts.append(found)
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

    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """`prediction` and `probability` of every token."""
        steps = len(example["inputs"])
        return {
            "prediction": self.tag_set.decode(output["prediction"][:steps]),
            "probability": [round(p, 6) for p in output["probability"][:steps].tolist()],
        }

    def pictures(
        self, model: Tagger, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """The frames of a clip with their tags, or the spans of a sentence."""
        from seqjax import plots

        def names(place, tags):
            steps = len(examples[place]["tags"])
            return [self.tag_set.every[tag] for tag in tags[:steps].tolist()]

        if self.space:
            labels = [names(0, tags) for tags in (outputs[0]["prediction"], examples[0]["tags"])]
            return {"frames": plots.frames_with_labels(to_range(examples[0]["inputs"]), *labels)}
        if self.scheme is None or self.spelled is None:
            return {}
        # The sentence with the most tags that mark a span has most to show.
        outside = self.tag_set.numbers.get("O", -1)
        place = max(range(len(examples)), key=lambda i: int((examples[i]["tags"] != outside).sum()))
        tokens = [self.spelled.text(word) for word in examples[place]["characters"]]
        spans = [
            metrics.find_spans(names(place, tags), self.scheme)
            for tags in (outputs[place]["prediction"], examples[place]["tags"])
        ]
        return {"spans": plots.spans_over_text(tokens, *spans)}


def _is_legal(tags: np.ndarray, legal: Any) -> bool:
    if not len(tags):
        return True
    inside = np.asarray(legal.between)[tags[:-1], tags[1:]].all()
    return bool(legal.start[tags[0]] & inside & legal.end[tags[-1]])


TAG = example_commands(Tagging)
