"""Writing a text about an input: what translation and captioning share."""

import dataclasses
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
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import BEGIN, END, split_words
from seqjax.decode.autoregressive import Constraint
from seqjax.nn.decoder import Decoder
from seqjax.nn.encoder_decoder import EncoderDecoder
from seqjax.train.bounds import NonNegativeFloat, PositiveInt, Probability, ProbabilityBelowOne
from seqjax.train.config import CellConfig
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.model import build_cell
from seqjax.train.pictures import token_name
from seqjax.train.processes import spread
from seqjax.train.task import Criterion
from seqjax.train.tokens import (
    TokenKind,
    restore_vocabulary,
    save_vocabulary,
    vocabulary_of,
)

SEPARATOR = "\0"
"""Between several references: no text has it, the readers of files see to that."""


@dataclasses.dataclass(frozen=True)
class WriterConfig(CellConfig):
    """The encoder and the decoder."""

    features: PositiveInt = 256
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.2
    """Dropout probability of each layer's outputs."""
    attention: Literal["additive", "multiplicative", "none"] = "additive"
    """Score of the decoder's attention over the input; none: the decoder sees a summary only."""
    input_feeding: bool = False
    """Feed the last context to the decoder's next step (input feeding); slower, as steps run one
    after the other."""
    embedding: PositiveInt = 128
    """Width of the embedding of tokens."""
    tied: bool = True
    """Tie the output weights of the decoder to its embedding."""


@dataclasses.dataclass(frozen=True)
class DecodingConfig:
    """How the trained model writes, and by which score checkpoints are compared."""

    beams: PositiveInt = 5
    """Beams of the search in evaluation and prediction; validation uses greedy search."""
    length_penalty: NonNegativeFloat = 0.0
    """Exponent of the length penalty; larger favours longer texts."""
    criterion: Literal["token_error_rate", "exact_match", "bleu"] = "token_error_rate"
    """The score by which checkpoints are compared; bleu adds BLEU and chrF."""


@dataclasses.dataclass(frozen=True)
class TeachingConfig:
    """How the decoder learns."""

    label_smoothing: ProbabilityBelowOne = 0.1
    """Label smoothing: share of the target's probability that is spread over all tokens."""
    scheduled_sampling: Probability = 0.0
    """Scheduled sampling: probability that the decoder reads its own last token instead of the
    target, rising from 0 to this over the training."""


@runtime_checkable
class Reading(Protocol):
    """How inputs become arrays, and the encoder that reads them.

    `sequences` is `("inputs",)` for inputs with a time axis, else empty.
    """

    @property
    def sequences(self) -> tuple[str, ...]:
        """Entries of an encoded example with a leading time axis."""
        ...

    def inputs(self, example: Example) -> np.ndarray:
        """The input of an example; `InputError` if it is of another kind."""
        ...

    def encoder(self, config: Any, rngs: nnx.Rngs) -> Any:
        """A new encoder."""
        ...

    def preprocessing(self) -> dict[str, Any]:
        """What reads inputs in the same way again, as JSON."""
        ...

    def token_names(self, inputs: np.ndarray) -> list[str] | None:
        """The tokens of an input as labels of an axis; None if it has no tokens."""
        ...

    def pictures(self, inputs: np.ndarray, title: str) -> dict[str, Any]:
        """Figures of an input with what was written about it."""
        ...


@dataclasses.dataclass(frozen=True)
class Writing(ExampleTask):
    """A text for each input.

    Args:
      config: the options, with `model`, `decoding` and `teaching`.
      reading: of the inputs.
      vocabulary: of the texts.
      max_length: tokens of a text, the end included.
      beams: of the search.
    """

    config: Any
    reading: Reading
    vocabulary: Tokenizer
    max_length: int
    beams: int = 1

    evaluate_options = ExampleTask.evaluate_options | {"beams"}
    predict_options = ExampleTask.predict_options | {"beams"}
    targets = ("target",)
    evaluation_only = ("references",)

    @classmethod
    def reading_with(
        cls,
        reading: Reading,
        config: Any,
        examples: Sequence[Example],
        kind: TokenKind,
        size: int,
    ) -> Any:
        """The task of examples whose inputs are read like this."""
        if config.model.input_feeding and config.model.attention == "none":
            raise InputError("--input-feeding needs attention: without it there is no context.")
        texts = [text for example in examples for text in references_of(example)]
        vocabulary = vocabulary_of(texts, kind, size)
        longest = max(spread(len(texts), lambda place: len(vocabulary.encode(texts[place]))))
        # Room for the end.
        return cls(config, reading, vocabulary, longest + 1)

    @classmethod
    def restored(cls, reading: Reading, config: Any, preprocessing: dict[str, Any]) -> Any:
        """The task of a saved run, with the beams of its options."""
        vocabulary = restore_vocabulary(preprocessing["vocabulary"])
        return cls(config, reading, vocabulary, preprocessing["longest"], config.decoding.beams)

    def preprocessing(self) -> dict[str, Any]:
        return {
            "reading": self.reading.preprocessing(),
            "vocabulary": save_vocabulary(self.vocabulary),
            "longest": self.max_length,
        }

    def searching(self, beams: int) -> Any:
        return dataclasses.replace(self, beams=beams)

    @property
    def sequences(self) -> tuple[str, ...]:
        return self.reading.sequences

    @property
    def criterion(self) -> Criterion:
        name = self.config.decoding.criterion
        return Criterion(name, lower_is_better=name == "token_error_rate")

    def baseline(self, split: Split) -> float:
        """That of empty texts."""
        return 1.0 if self.criterion.lower_is_better else 0.0

    @property
    def input_vocabulary(self) -> Tokenizer | None:
        return getattr(self.reading, "vocabulary", None)

    def encode(self, example: Example, *, with_target: bool = True) -> Encoded:
        """An example as arrays: of several references the first is `target`.

        All of them, as text and not as tokens, are `references`: what the vocabulary does not
        know is wrong.
        """
        encoded = {"inputs": self.reading.inputs(example)}
        if not with_target:
            return encoded
        texts = references_of(example)
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
        references = [decode_references(example) for example in examples]
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

    def prediction(self, output: Encoded, example: Encoded) -> dict[str, Any]:
        return {
            "prediction": self.vocabulary.decode(written_tokens(output)),
            "probability": round(float(output["probability"]), 6),
        }

    def pictures(
        self, model: EncoderDecoder, examples: Sequence[Encoded], outputs: Sequence[Encoded]
    ) -> dict[str, Any]:
        """The first example: the beams of the search, where the decoder attends, the input."""
        from seqjax import plots

        figures = {}
        inputs, written = examples[0]["inputs"], np.array(written_tokens(outputs[0]), np.int32)

        def name(token: int) -> str:
            return token_name(self.vocabulary, token)

        if self.beams > 1:
            found = model.search(
                inputs,
                max_length=self.max_length,
                beams=self.beams,
                length_penalty=self.config.decoding.length_penalty,
                allowed=no_special_tokens(len(self.vocabulary)),
            )
            # A sequence that has ended leaves the beams: after its last token it is not there.
            shown = max(1, len(written))
            figures["beams"] = plots.beam_tree(found.trace, name, chosen=written, steps=shown)
        source = self.reading.token_names(inputs)
        if self.config.model.attention != "none" and source is not None:
            weights = np.asarray(model.alignment(inputs, jnp.asarray(written)))
            target = [*map(name, written.tolist()), "end"]
            figures["alignment"] = plots.alignment(weights, source, target)
        return figures | self.reading.pictures(inputs, self.vocabulary.decode(written))


def written_tokens(output: Mapping[str, Any]) -> list[int]:
    """The tokens that a model wrote."""
    return output["tokens"][: int(output["lengths"])].tolist()


def decode_references(example: Encoded) -> list[str]:
    """The references of an encoded example."""
    return example["references"].tobytes().decode().split(SEPARATOR)


def references_of(example: Example) -> Sequence[str]:
    """The references of an example.

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
