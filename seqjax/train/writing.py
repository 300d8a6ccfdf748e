"""The problem of writing a text about an input: what translation and captioning share."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np
from flax import nnx

from seqjax import metrics
from seqjax.cells.attentive import attentive
from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.padding import Encoded
from seqjax.data.vocabulary import (
    BEGIN,
    END,
    SubwordVocabulary,
    Vocabulary,
    split_words,
    vocabulary_from_json,
)
from seqjax.decode.autoregressive import Constraint
from seqjax.nn.decoder import Decoder
from seqjax.nn.encoder_decoder import EncoderDecoder
from seqjax.train.bounds import NonNegativeFloat, PositiveInt, Probability, ProbabilityBelowOne
from seqjax.train.config import CellConfig
from seqjax.train.model import build_cell
from seqjax.train.task import Criterion

TokenKind = Literal["characters", "words", "bytes", "subwords"]
SEPARATOR = "\0"
"""Between several right answers: no text has it, the readers of files see to that."""

AnyVocabulary = Vocabulary | SubwordVocabulary


@dataclasses.dataclass(frozen=True)
class WriterConfig(CellConfig):
    """The encoder and the decoder."""

    features: PositiveInt = 256
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.2
    """Probability that an output of a layer is dropped."""
    attention: Literal["additive", "multiplicative", "none"] = "additive"
    """How the decoder compares its state with what was read; none starts from a summary only."""
    input_feeding: bool = False
    """Let the decoder see where it looked before (input feeding): slower, one step at a time."""
    embedding: PositiveInt = 128
    """Width of the embedding of tokens."""
    tied: bool = True
    """Use the embedding of the decoder's tokens as weights of its last layer too."""


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How the trained model is made to write, and how it is judged."""

    beams: PositiveInt = 5
    """Beams of the search in evaluation and prediction; validation takes one."""
    length_penalty: NonNegativeFloat = 0.0
    """Strength of the length penalty: more favours longer texts."""
    criterion: Literal["token_error_rate", "exact_match", "bleu"] = "token_error_rate"
    """The score by which checkpoints are compared; bleu adds BLEU and chrF."""


@dataclasses.dataclass(frozen=True)
class TeachingConfig:
    """How the decoder learns."""

    label_smoothing: ProbabilityBelowOne = 0.1
    """Share of the target's probability that is spread over all tokens."""
    scheduled_sampling: Probability = 0.0
    """How often the decoder reads its own last token instead of the right one, at the end of
    the training; it begins with never (scheduled sampling)."""


@runtime_checkable
class Reading(Protocol):
    """What is read: how inputs become arrays, and which encoder takes them."""

    sequences: tuple[str, ...]

    def inputs(self, example: Example) -> np.ndarray:
        """The inputs of an example; `InputError` if it is of another kind."""
        ...

    def encoder(self, config: Any, rngs: nnx.Rngs) -> Any:
        """A new encoder."""
        ...

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        ...


@dataclasses.dataclass(frozen=True)
class Writing:
    """A `Problem`: a text for each input.

    Args:
      config: the settings, with `model`, `decoding` and `teaching`.
      reading: of the inputs.
      vocabulary: of the texts.
      max_length: tokens that a text may have.
      beams: of the search.
    """

    config: Any
    reading: Any
    vocabulary: AnyVocabulary
    max_length: int
    beams: int = 1

    answers = ("target",)
    judged_by = ("references",)

    @property
    def sequences(self) -> tuple[str, ...]:
        return self.reading.sequences

    @property
    def criterion(self) -> Criterion:
        name = self.config.decoding.criterion
        return Criterion(name, lower_is_better=name == "token_error_rate")

    def settings(self) -> dict[str, Any]:
        """All but the configuration, as JSON."""
        return {
            "reading": self.reading.settings(),
            "vocabulary": json.loads(self.vocabulary.to_json()),
            "longest": self.max_length,
        }

    @classmethod
    def restored(cls, config: Any, reading: Any, settings: dict[str, Any]) -> "Writing":
        """What `settings` gave; it searches with as many beams as the configuration says."""
        vocabulary = vocabulary_from_json(json.dumps(settings["vocabulary"]))
        return cls(config, reading, vocabulary, settings["longest"], config.decoding.beams)

    def encode(self, example: Example, *, answered: bool = True) -> Encoded:
        """An example as arrays: of several right answers the first is `target`.

        All of them, as they are written and not as tokens, are `references`: what the
        vocabulary does not know is wrong.
        """
        encoded = {"inputs": self.reading.inputs(example)}
        if not answered:
            return encoded
        texts = texts_of(example)
        return encoded | {
            "target": self.vocabulary.encode(texts[0]).astype(np.int32),
            "references": np.frombuffer(SEPARATOR.join(texts).encode(), np.uint8),
        }

    def model(self, seed: int) -> EncoderDecoder:
        config, rngs = self.config.model, nnx.Rngs(seed)
        encoder = self.reading.encoder(config, rngs)
        cell = build_cell(config, inside=lambda cell: self._attentive(cell, encoder.features))
        try:
            decoder = Decoder(
                len(self.vocabulary),
                cell,
                encoder.summary_features,
                embedding_size=config.embedding,
                tied=config.tied,
                rngs=rngs,
            )
        except (TypeError, ValueError) as error:
            raise InputError(f"--cell {config.cell} does not suit a decoder: {error}") from None
        return EncoderDecoder(encoder, decoder, begin=BEGIN, end=END)

    def _attentive(self, cell, width):
        config = self.config.model
        if config.attention == "none":
            return cell
        return attentive(cell, width, score=config.attention, input_feeding=config.input_feeding)

    def loss(self, model, batch, keys):
        teaching = self.config.teaching
        lengths, counts = batch["target_lengths"], batch["weights"] > 0
        rate = teaching.scheduled_sampling
        logits = model(
            batch["inputs"],
            batch["target"],
            lengths=batch["lengths"] if self.sequences else None,
            target_lengths=lengths,
            key=keys,
            # The model learns from the right tokens first, and more and more from its own.
            scheduled_sampling=rate * batch["progress"] if rate else 0.0,
        )
        return model.loss(
            logits, batch["target"], lengths, mask=counts, label_smoothing=teaching.label_smoothing
        )

    def outputs(self, model, batch):
        found = model.search(
            batch["inputs"],
            max_length=self.max_length,
            beams=self.beams,
            length_penalty=self.config.decoding.length_penalty,
            lengths=batch["lengths"] if self.sequences else None,
            active=batch["weights"] > 0,
            allowed=no_special_tokens(len(self.vocabulary)),
        )
        return {
            "tokens": found.tokens[:, 0],
            "lengths": found.lengths[:, 0],
            "probability": jnp.exp(found.log_probability[:, 0]),
        }

    def scores(self, examples, outputs):
        texts = [self.vocabulary.decode(written_tokens(output)) for output in outputs]
        references = [answers_of(example) for example in examples]
        written = list(map(self._units, texts))
        right = [list(map(self._units, several)) for several in references]
        errors = metrics.token_errors(written, right)
        found = {
            "token_error_rate": float(errors.value),
            "exact_match": float(metrics.exact_matches(written, right).value),
        }
        if self.config.decoding.criterion == "bleu":
            if self.vocabulary.kind == "words":
                # Words are written with spaces between them, signs of punctuation too.
                references = [[" ".join(one) for one in several] for several in right]
            found |= metrics.translation_scores(texts, references)
        return {self.criterion.name: found[self.criterion.name], **found}

    def _units(self, text: str) -> Sequence[str]:
        """What errors are counted in: words, or characters where those are written."""
        return split_words(text) if self.vocabulary.kind in ("words", "subwords") else text

    def answer(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        """What is written for an example: `prediction` and `probability`."""
        return {
            "prediction": self.vocabulary.decode(written_tokens(output)),
            "probability": round(float(output["probability"]), 6),
        }


def written_tokens(output: Mapping[str, Any]) -> list[int]:
    """The tokens that a model wrote."""
    return output["tokens"][: int(output["lengths"])].tolist()


def answers_of(example: Encoded) -> list[str]:
    """The right answers of an example."""
    return example["references"].tobytes().decode().split(SEPARATOR)


def texts_of(example: Example) -> Sequence[str]:
    """The same, of an example that is not encoded.

    Raises:
      InputError: if it has none.
    """
    found = example.target
    texts = found if isinstance(found, tuple) else (found,)
    if not texts or not all(isinstance(text, str) and text for text in texts):
        raise InputError(f"{example.where}: expected a text to be written, got {found!r}.")
    return texts


def no_special_tokens(count: int) -> Constraint:
    """Nothing but known tokens and the end may be written."""
    known = jnp.arange(count) > BEGIN

    def allowed(state, token):
        shape = (*token.shape, count)
        return state, jnp.broadcast_to(known.reshape((1,) * token.ndim + (count,)), shape)

    return allowed


def vocabulary_of(texts: Sequence[str], kind: TokenKind, size: int) -> AnyVocabulary:
    """The vocabulary of texts, of at most so many tokens."""
    if kind == "subwords":
        return SubwordVocabulary.of(texts, size=size)
    return Vocabulary.of(texts, kind=kind, size=size)


def written_problem(
    config: Any, reading: Any, examples: Sequence[Example], kind: TokenKind, size: int
) -> Writing:
    """The problem that these examples pose, whose inputs are read like this."""
    if config.model.input_feeding and config.model.attention == "none":
        raise InputError("--input-feeding needs attention: there is nothing to feed without it.")
    texts = [text for example in examples for text in texts_of(example)]
    vocabulary = vocabulary_of(texts, kind, size)
    longest = max(len(vocabulary.encode(text)) for text in texts)
    # Room for the end.
    return Writing(config, reading, vocabulary, longest + 1)
