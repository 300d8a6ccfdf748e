"""`seqjax train lm`: the next character or token, from streams of text."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding

from seqjax.core.cell import Cell
from seqjax.core.device_axis import is_bound
from seqjax.core.errors import InputError
from seqjax.core.noise import seed_carry
from seqjax.core.types import Array, DTypeLike
from seqjax.data.documents import text_files
from seqjax.data.held_out import NamedPieces
from seqjax.data.streams import check_length, start_positions, window
from seqjax.data.tokenizer import Tokenizer, decoded
from seqjax.decode.sampling import check_sampling, generate
from seqjax.engines.methods import SequenceParallel
from seqjax.losses import cross_entropy
from seqjax.metrics import bits_per_character, compressed_bits_per_character
from seqjax.nn.language_model import LanguageModel
from seqjax.nn.model_cells import model_cell
from seqjax.train.bounds import NonNegativeInt, PositiveInt
from seqjax.train.commands import EvaluateConfig, GenerateConfig, Log, Report, TaskCommands
from seqjax.train.config import option
from seqjax.train.devices import (
    TIME_AXIS,
    make_mesh,
    multiple_of_processes,
    own_rows,
    put_rows,
    put_whole,
)
from seqjax.train.online_task import OnlineConfig, Steps
from seqjax.train.recipe import LanguageModelConfig, Recipe
from seqjax.train.run_folder import SavedRun, load_model, load_run
from seqjax.train.saved_config import differences
from seqjax.train.task import Criterion
from seqjax.train.text_evaluator import BATCH, Evaluator, is_scored
from seqjax.train.texts import TextConfig, find_texts, named_pieces, texts_to_score


@dataclasses.dataclass(frozen=True)
class LanguageConfig(OnlineConfig):
    """Trains a character language model by truncated backpropagation through time, or online.

    Each sequence of a batch is a stream through a part of the text of its own.
    """

    from_: "Annotated[Path | None, option('from')]" = None
    """Folder of a run, of yours or imported: trains its model further on other text, with its
    tokenizer and a new optimizer. Other options are those of the run, unless given; the learning
    rate is 1e-4."""
    model: LanguageModelConfig = LanguageModelConfig()
    data: TextConfig = TextConfig()
    steps: PositiveInt = 3600
    """Training steps: updates of the parameters."""
    sample: NonNegativeInt = 300
    """Characters, or tokens, that the model writes at every validation, as a sample; 0 for none."""


class Streams(NamedTuple):
    """The state of the model at the current position of each stream."""

    carry: Any


class LanguageTask:
    """Predicts the next token of streams through a corpus; a `Task`.

    The carry flows on from step to step, gradients stop there, and the state is reset
    where a document begins.
    """

    kind = "lm"
    splits_time = True
    goes_on = True

    def __init__(self, config: LanguageConfig, log: Log, run: SavedRun | None = None):
        self.config = config
        self.texts = find_texts(config.data, log)
        self.data_name = self.texts.name
        self.recipe, self.begin_with = self._beginning(run)
        self.tokenizer = self.recipe.tokenizer
        self.unit = {"characters": "character"}.get(self.tokenizer.kind, "token")
        self.train, self.held_out, self.digest = self.texts.corpora(self.tokenizer)
        check_length(self.train.tokens, config.batch, config.data.time, self.unit)
        self.preprocessing = self.recipe.preprocessing()
        self.criterion = Criterion("bits_per_character", True, self._entropy())
        self.batch_size = config.batch
        self.units = config.batch * config.data.time
        scored = is_scored(np.arange(len(self.tokenizer)), self.tokenizer)
        self.tokens_per_character = int(self.train.counts[scored].sum()) / self.train.characters
        if self.begin_with is not None:
            known = f"the training text of {config.from_}"
            for line in unknown_characters(self.tokenizer, self.texts.pieces(False), known):
                log(line)

    def _beginning(self, run: SavedRun | None) -> tuple[Recipe, LanguageModel | None]:
        """How the model is made, and with which weights training begins."""
        if run is not None:
            # Those are in a checkpoint.
            return Recipe.restore(run.preprocessing), None
        if self.config.from_ is None:
            return Recipe(self.texts.vocabulary()), None
        run = load_run(self.config.from_, {self.kind: LanguageConfig})
        recipe, free = Recipe.restore(run.preprocessing), frozenset({"dropout", "variational"})
        own: Any = run.config
        other = differences(own.model, self.config.model, frozenset() if recipe.published else free)
        if other:
            raise InputError(
                f"The model of {run.folder} has {'; '.join(other)}: leave the option out, or train "
                "a new model, without --from."
            )
        return recipe, load(run, "best")[0]

    def _entropy(self) -> float:
        """Bits per character of the held-out text by how often tokens come in training."""
        counts = self.train.counts + 1.0
        scored = is_scored(np.arange(counts.size), self.tokenizer)
        bits = -np.log2(counts / counts.sum()) * self.held_out.counts
        return float(bits[scored].sum() / self.held_out.characters)

    def model(self, seed: int) -> LanguageModel:
        return self.recipe.build(self.config.model, seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        return self.recipe.cast(model, dtype)

    def start(self, model: Any, seed: int) -> Streams:
        carry = model.initial_carry((self.batch_size,))
        return Streams(seed_carry(carry, jax.random.fold_in(jax.random.key(seed), 1)))

    def batches(self, first: int, mesh: Mesh) -> Iterator[Array]:
        """The next window of every stream, `(streams, time + 1)` tokens."""
        streams = start_positions(len(self.train.tokens), self.batch_size)
        own = streams[own_rows(mesh, self.batch_size)]
        for step in itertools.count(first):
            tokens = window(self.train.tokens, own, self.config.data.time, step)
            yield put_rows(tokens, mesh, self.batch_size)

    @property
    def model_as_cell(self) -> Cell:
        return model_cell(len(self.tokenizer), input_ndim=0)

    def example_input(self) -> Array:
        return jnp.zeros((self.batch_size,), jnp.int32)

    def steps(self, batch: Array) -> Steps:
        inputs, targets = batch[:, :-1].astype(jnp.int32), batch[:, 1:].astype(jnp.int32)
        resets = inputs == self.tokenizer.boundary
        return Steps(inputs, targets, jnp.float32(targets.size), resets)

    def step_loss(self, y: Array, target: Array) -> Array:
        wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
        return optax.softmax_cross_entropy_with_integer_labels(wide, target)

    def loss(self, model, memory, batch, keys):
        split = is_bound(TIME_AXIS)
        inputs, targets, weight, resets = self.steps(_stretch(batch) if split else batch)
        options = {"method": SequenceParallel(TIME_AXIS)} if split else {}
        try:
            carry, logits = model(inputs, memory.carry, resets=resets, **options)
        except ValueError as error:
            if split and "stretches of time compose" in str(error):
                raise InputError(f"--time-devices: {error}") from None
            raise
        return cross_entropy(logits, targets), weight, Streams(carry)

    def training_metrics(self, loss: float) -> dict[str, float]:
        bits = bits_per_character(loss, 1) * self.tokens_per_character
        return {"train_bits_per_character": bits}

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        evaluate = Evaluator(self.held_out.tokens, mesh, self.recipe, self.config.dtype)
        characters = self.held_out.characters
        return lambda model: {
            "bits_per_character": bits_per_character(evaluate(model).nats, characters)
        }

    def verdict(self, scores: dict[str, float]) -> list[str]:
        return []

    def sample(self, model: Any, step: int) -> str | None:
        if not self.config.sample:
            return None
        pieces = generate(
            model,
            self.tokenizer.prompt(""),
            jax.random.fold_in(jax.random.key(self.config.seed), step),
            length=self.config.sample,
            boundary=self.tokenizer.boundary,
            stop=self.tokenizer.stop,
            suppressed=self.tokenizer.suppressed,
            begin=False,
            temperature=0.8,
        )
        return self.tokenizer.decode(np.concatenate(list(pieces)))

    def summary(self) -> list[tuple[str, str]]:
        train, held_out = self.train, self.held_out
        held = ", ".join(held_out.names)
        yardstick = compressed_bits_per_character(held_out.excerpt)
        part = "" if len(held_out.excerpt) == held_out.characters else "the first part of "
        return [
            (
                "text",
                f"{self.texts.name}: {len(train.tokens):,} {self.unit}s in "
                f"{_documents(train)}, {len(self.tokenizer)} symbols",
            ),
            (
                "held out",
                held if len(held) < 200 else _documents(held_out),
            ),
            (
                "yardstick",
                ", ".join(f"{name} {bits:.2f}" for name, bits in yardstick.items())
                + f" bits per character on {part}the held-out text",
            ),
            ("streams", f"{self.config.batch}, {self.config.data.time} {self.unit}s a step"),
        ]


def load(run: SavedRun, checkpoint: str) -> tuple[LanguageModel, Tokenizer, int]:
    """The trained model of a run, its tokenizer and the step of the checkpoint."""
    config: Any = run.config
    recipe = Recipe.restore(run.preprocessing)
    model, step = load_model(
        run, lambda: recipe.cast(recipe.build(config.model, 0), run.stored_as), checkpoint
    )
    return model, recipe.tokenizer, step


def evaluate(run: SavedRun, config: EvaluateConfig, log: Log) -> Report:
    """Bits per character of texts, by default those held out, beside compressors."""
    trained: Any = run.config
    model, tokenizer, step = load(run, config.checkpoint)
    if config.text:
        texts, where = texts_to_score(config.text, trained.data, log), ""
    else:
        texts = find_texts(trained.data, log)
        where = f" of {texts.name}"
    corpus = texts.corpora(tokenizer).held_out
    mesh = make_mesh(multiple_of_processes(BATCH), None)
    model = put_whole(model, NamedSharding(mesh, jax.P()))
    recipe = Recipe.restore(run.preprocessing)
    score = Evaluator(corpus.tokens, mesh, recipe, trained.dtype)(model)
    characters = corpus.characters
    scores = {"bits_per_character": bits_per_character(score.nats, characters)}
    if score.tokens != characters:
        scores["nats_per_token"] = score.nats / score.tokens
    return Report(
        scores | compressed_bits_per_character(corpus.excerpt),
        f"{characters:,} characters in {_documents(corpus)}{where}",
        step,
        tuple(unknown_characters(tokenizer, texts.pieces(held_out=True), "the training text")),
    )


def _documents(corpus: Any) -> str:
    return f"{corpus.documents:,} document{'s' * (corpus.documents != 1)}"


def unknown_characters(tokenizer: Tokenizer, pieces: Iterable[str], known: str) -> Iterator[str]:
    """A line for the user if a text has characters that the tokenizer does not know."""
    counts: Counter[str] = Counter()
    characters = 0
    for text in pieces:
        characters += len(text)
        counts.update({part: text.count(part) for part in tokenizer.unknown(text)})
    if counts:
        yield (
            f"note: {counts.total():,} of the {characters:,} characters ({len(counts)} different: "
            f"{''.join(sorted(counts))[:40]!r}) were not in {known}; they cost what the model "
            "gives to an unknown character."
        )


def write(run: SavedRun, config: GenerateConfig) -> Iterator[str]:
    """The prompt and what the model writes after it, piece by piece.

    Raises:
      InputError: if the prompt has characters that the model does not know, or the options make
        no sense.
    """
    check_sampling(config.temperature, config.top_k, config.top_p)
    model, tokenizer, _ = load(run, config.checkpoint)
    # Moved once, and not for every piece of the text.
    model = jax.device_put(model)
    unknown = tokenizer.unknown(config.prompt)
    if unknown:
        known = getattr(tokenizer, "tokens", ())
        raise InputError(
            f"The model has never seen {', '.join(map(repr, unknown))}."
            + (f" It knows: {''.join(known).strip()[:200]}" if known else "")
        )
    yield config.prompt
    prompt = tokenizer.prompt(config.prompt)
    pieces = generate(
        model,
        prompt,
        jax.random.key(config.seed),
        length=config.length,
        boundary=tokenizer.boundary,
        stop=tokenizer.stop,
        suppressed=tokenizer.suppressed,
        begin=False,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    yield from decoded(tokenizer, pieces, after=prompt)


def continued(run: SavedRun) -> LanguageConfig:
    """The options with which the model of a run is trained further, unless others are given."""
    config: Any = run.config
    return dataclasses.replace(
        config,
        from_=run.folder,
        out=None,
        data=dataclasses.replace(config.data, text=()),
        optimization=dataclasses.replace(config.optimization, learning_rate=1e-4),
    )


def documents(config: LanguageConfig) -> NamedPieces:
    """The documents of the user's files, in pieces."""
    return named_pieces(text_files(config.data.text, config.data.suffixes))


LM = TaskCommands(
    LanguageTask.kind,
    LanguageConfig,
    prepare=LanguageTask,
    documents=documents,
    evaluate=evaluate,
    evaluate_options=frozenset({"text"}),
    generate=write,
    continued=continued,
)


def _stretch(tokens: Array) -> Array:
    """The steps of this device, and the one after them, of all steps of a window."""
    devices, steps = jax.lax.axis_size(TIME_AXIS), tokens.shape[1] - 1
    if steps % devices:
        raise InputError(
            f"--time-devices {devices} does not divide --time {steps}; every device takes the same "
            "number of steps."
        )
    own = steps // devices
    first = jax.lax.axis_index(TIME_AXIS) * own
    return jax.lax.dynamic_slice_in_dim(tokens, first, own + 1, axis=1)
