"""`seqjax train lm`: the next character, from streams of text."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from seqjax.core.errors import InputError
from seqjax.core.noise import seed_carry
from seqjax.core.types import Array
from seqjax.data.examples import Example
from seqjax.data.streams import check_length, start_positions, window
from seqjax.data.vocabulary import BOUNDARY, Vocabulary
from seqjax.decode.sampling import check_sampling, generate
from seqjax.losses import cross_entropy
from seqjax.metrics import bits_per_character, compressed_bits_per_character
from seqjax.nn.language_model import LanguageModel
from seqjax.train.bounds import NonNegativeInt, PositiveInt
from seqjax.train.commands import EvaluateConfig, GenerateConfig, Log, Report, TaskCommands
from seqjax.train.config import CellConfig, RunConfig
from seqjax.train.devices import make_mesh
from seqjax.train.example_files import Data
from seqjax.train.model import build_cell
from seqjax.train.run_folder import SavedRun, load_model
from seqjax.train.task import Criterion
from seqjax.train.text_evaluator import BATCH, Evaluator
from seqjax.train.texts import TextConfig, documents_in, find_texts
from seqjax.train.tokens import restore_vocabulary, save_vocabulary


@dataclasses.dataclass(frozen=True)
class LanguageModelConfig(CellConfig):
    """The language model."""

    embedding: PositiveInt = 64
    """Width of the character embedding."""
    tied: bool = False
    """Tie the output weights to the embedding; needs --embedding equal to --features."""


@dataclasses.dataclass(frozen=True)
class LanguageConfig(RunConfig):
    """Trains a character language model by truncated backpropagation through time.

    Each sequence of a batch is a stream through a part of the text of its own.
    """

    model: LanguageModelConfig = LanguageModelConfig()
    data: TextConfig = TextConfig()
    steps: PositiveInt = 3600
    """Training steps: updates of the parameters."""
    sample: NonNegativeInt = 300
    """Characters that the model writes at every validation, as a sample; 0 for none."""


class Streams(NamedTuple):
    """The state of the model at the current position of each stream, and the positions."""

    carry: Any
    positions: Any


def build_model(config: LanguageModelConfig, vocabulary_size: int, seed: int) -> LanguageModel:
    """A new language model."""
    cell = build_cell(config)
    if not cell.causal:
        raise InputError(f"--cell {config.cell}: {cell} sees the future, so it cannot predict it.")
    if config.tied and config.embedding != cell.features:
        raise InputError(
            f"--tied needs --embedding equal to the cell's width {cell.features}, got "
            f"{config.embedding}."
        )
    return LanguageModel(
        vocabulary_size,
        cell,
        embedding_size=config.embedding,
        tied=config.tied,
        rngs=nnx.Rngs(seed),
    )


class LanguageTask:
    """Predicts the next character of streams through a corpus; a `Task`.

    The carry flows on from step to step, gradients stop there, and the state is reset
    where a document begins.
    """

    kind = "lm"
    unit = "character"
    batch_spec = jax.P()

    def __init__(self, config: LanguageConfig, log: Log):
        self.config = config
        self.texts = find_texts(config.data, log)
        self.data_name = self.texts.name
        self.vocabulary = Vocabulary.of(text for _, text in self.texts.train)
        self.corpus = self.vocabulary.corpus(self.texts.train)
        check_length(self.corpus, config.batch, config.data.time)
        self.held_out = self.vocabulary.corpus(self.texts.held_out)
        content = self.corpus.tobytes() + b"|" + self.held_out.tobytes()
        self.digest = hashlib.sha256(content).hexdigest()
        self.preprocessing = {"vocabulary": save_vocabulary(self.vocabulary)}
        self.criterion = Criterion("bits_per_character", True, self._entropy())
        self.batch_size = config.batch
        self.units = config.batch * config.data.time

    def _entropy(self) -> float:
        """Bits per character of the held-out text by how often characters come in training."""
        counts = np.bincount(self.corpus, minlength=len(self.vocabulary)) + 1.0
        return float(
            -np.log2(counts / counts.sum())[self.held_out[self.held_out != BOUNDARY]].mean()
        )

    def model(self, seed: int) -> LanguageModel:
        return build_model(self.config.model, len(self.vocabulary), seed)

    def start(self, model: Any, seed: int) -> Streams:
        carry = model.initial_carry((self.batch_size,))
        return Streams(
            seed_carry(carry, jax.random.fold_in(jax.random.key(seed), 1)),
            jnp.asarray(start_positions(len(self.corpus), self.batch_size)),
        )

    def batches(self, first: int, mesh: Mesh) -> Iterator[Array]:
        """The corpus, again and again: the streams carry their positions."""
        corpus = jax.device_put(self.corpus, NamedSharding(mesh, jax.P()))
        while True:
            yield corpus

    def loss(self, model, memory, batch, keys):
        time = self.config.data.time
        inputs, targets = window(batch, memory.positions, time)
        carry, logits = model(inputs, memory.carry, resets=inputs == BOUNDARY)
        positions = (memory.positions + time) % batch.shape[0]
        weight = jnp.float32(targets.size)
        return cross_entropy(logits, targets), weight, Streams(carry, positions)

    def training_metrics(self, loss: float) -> dict[str, float]:
        return {"train_bits_per_character": bits_per_character(loss, 1)}

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        evaluate = Evaluator(self.held_out, mesh, self.config.dtype)
        return lambda model: {"bits_per_character": evaluate(model).bits_per_character}

    def verdict(self, scores: dict[str, float]) -> list[str]:
        return []

    def sample(self, model: Any, step: int) -> str | None:
        if not self.config.sample:
            return None
        pieces = generate(
            model,
            np.zeros(0, np.int32),
            jax.random.fold_in(jax.random.key(self.config.seed), step),
            length=self.config.sample,
            boundary=BOUNDARY,
            temperature=0.8,
        )
        return self.vocabulary.decode(np.concatenate(list(pieces)))

    def summary(self) -> list[tuple[str, str]]:
        held = ", ".join(document.name for document in self.texts.held_out)
        text = "".join(text for _, text in self.texts.held_out)
        yardstick = compressed_bits_per_character(text)
        return [
            (
                "text",
                f"{self.texts.name}: {len(self.corpus):,} characters in "
                f"{len(self.texts.train)} documents, {len(self.vocabulary)} symbols",
            ),
            (
                "held out",
                held if len(held) < 200 else f"{len(self.texts.held_out)} documents",
            ),
            (
                "yardstick",
                ", ".join(f"{name} {bits:.2f}" for name, bits in yardstick.items())
                + " bits per character on the held-out text",
            ),
            ("streams", f"{self.config.batch}, {self.config.data.time} characters a step"),
        ]


def load(run: SavedRun, checkpoint: str) -> tuple[LanguageModel, Vocabulary, int]:
    """The trained model of a run, its vocabulary and the step of the checkpoint."""
    config: Any = run.config
    vocabulary = restore_vocabulary(run.preprocessing["vocabulary"])
    model, step = load_model(
        run, lambda: build_model(config.model, len(vocabulary), config.seed), checkpoint
    )
    return model, vocabulary, step


def evaluate(run: SavedRun, config: EvaluateConfig, log: Log) -> Report:
    """Bits per character of texts, by default those held out, beside compressors."""
    trained: Any = run.config
    model, vocabulary, step = load(run, config.checkpoint)
    documents = (
        documents_in(config.input, trained.data.suffixes)
        if config.input
        else find_texts(trained.data, log).held_out
    )
    text = "".join(text for _, text in documents)
    unknown = vocabulary.unknown(text)
    notes = ()
    if unknown:
        count = sum(map(text.count, unknown))
        notes = (
            f"note: {count:,} of the {len(text):,} characters ({len(unknown)} different: "
            f"{''.join(unknown)[:40]!r}) were not in the training text; they cost what the model "
            "gives to an unknown character.",
        )
    mesh = make_mesh(BATCH, None)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    score = Evaluator(vocabulary.corpus(documents), mesh, trained.dtype)(model)
    return Report(
        {"bits_per_character": score.bits_per_character} | compressed_bits_per_character(text),
        f"{score.characters:,} characters in {len(documents)} documents",
        step,
        notes,
    )


def write(run: SavedRun, config: GenerateConfig) -> Iterator[str]:
    """The prompt and what the model writes after it, piece by piece.

    Raises:
      InputError: if the prompt has characters that the model does not know, or the options make
        no sense.
    """
    check_sampling(config.temperature, config.top_k, config.top_p)
    model, vocabulary, _ = load(run, config.checkpoint)
    unknown = vocabulary.unknown(config.prompt)
    if unknown:
        raise InputError(
            f"The model has never seen {', '.join(map(repr, unknown))}. It knows: "
            f"{''.join(vocabulary.tokens).strip()[:200]}"
        )
    yield config.prompt
    pieces = generate(
        model,
        vocabulary.encode(config.prompt),
        jax.random.key(config.seed),
        length=config.length,
        boundary=BOUNDARY,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    for piece in pieces:
        yield vocabulary.decode(piece)


def examples(config: LanguageConfig, log: Log) -> Data:
    """The documents of the user's files, each as an example."""
    documents = documents_in(config.data.text, config.data.suffixes)
    found = [Example(text, None, name) for name, text in documents]
    return Data(", ".join(map(str, config.data.text)), found, None, [])


LM = TaskCommands(
    LanguageTask.kind,
    LanguageConfig,
    prepare=LanguageTask,
    load=examples,
    evaluate=evaluate,
    evaluate_options=frozenset({"input"}),
    generate=write,
)
