"""The synthetic tasks of the field: what a cell can remember and compute."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from seqjax.core.errors import InputError
from seqjax.core.layers import dense
from seqjax.core.stack import stack
from seqjax.core.trees import cast
from seqjax.core.types import Array
from seqjax.data import synthetic_tasks
from seqjax.losses import cross_entropy, squared_error
from seqjax.nn.rnn import RNN
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.config import CellConfig, OptimizerConfig, RunConfig, parse_options
from seqjax.train.devices import AXIS, make_mesh
from seqjax.train.model import build_cell
from seqjax.train.run import Saved, load_model
from seqjax.train.task import Criterion, EvaluateConfig, Report

DRAW = {
    "adding": synthetic_tasks.adding,
    "copying": synthetic_tasks.copying,
    "selective-copying": synthetic_tasks.selective_copying,
    "recall": synthetic_tasks.associative_recall,
    "parity": synthetic_tasks.parity,
    "arithmetic": synthetic_tasks.modular_arithmetic,
    "dyck": synthetic_tasks.dyck,
    "a5": synthetic_tasks.permutations,
    "s5": partial(synthetic_tasks.permutations, even=False),
}
"""`(random, rows, length, **options) -> Batch` for each task."""

OPTIONS = {"selective-copying": {"length": 8}}
"""Unless told otherwise: half of the usual symbols, so that they are learned in minutes."""

LENGTH = {
    "adding": 200, "copying": 100, "selective-copying": 64, "recall": 32, "parity": 40,
    "arithmetic": 40, "dyck": 64, "a5": 16, "s5": 16,
}  # fmt: skip
"""Steps in training, for copying those of the wait."""

TRAIN, VALIDATION, TEST = range(3)

TEST_ROWS = 512
"""Examples that a model is validated and tested on, for each length."""


@dataclasses.dataclass(frozen=True)
class CellOnTaskConfig(CellConfig):
    """The recurrent layers; a linear layer stands before and one behind them."""

    features: PositiveInt = 64
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.0
    """Probability that an output of a layer is dropped."""


@dataclasses.dataclass(frozen=True)
class SyntheticConfig(RunConfig):
    """Trains a cell on a synthetic task, with new examples in every step.

    `seqjax evaluate` then tries longer sequences than those of the training.
    """

    task: Literal[
        "adding",
        "copying",
        "selective-copying",
        "recall",
        "parity",
        "arithmetic",
        "dyck",
        "a5",
        "s5",
    ] = "parity"
    """The sum of two marked numbers; symbols after a wait, or eight from among blanks; values by
    keys; bits, digits and brackets so far; products of permutations."""
    length: PositiveInt | None = None
    """Steps in training (for copying those of the wait); by default what suits the task."""
    test_lengths: tuple[PositiveInt, ...] = ()
    """Lengths to test at; by default the same, twice, four and eight times the length."""
    task_options: tuple[str, ...] = ()
    """What else the task is told, as name=value: pairs and tokens (recall), length and symbols
    (copying), modulus (arithmetic), kinds and depth (dyck), generators (a5, s5)."""
    model: CellOnTaskConfig = CellOnTaskConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    steps: PositiveInt = 2000
    """Updates of the parameters."""
    validate_every: PositiveInt = 200
    """Steps between validations and checkpoints."""

    @property
    def trained(self) -> int:
        """The length in training."""
        return self.length or LENGTH[self.task]

    @property
    def tested(self) -> tuple[int, ...]:
        """The lengths at the test."""
        return self.test_lengths or tuple(times * self.trained for times in (1, 2, 4, 8))


def draw(
    config: SyntheticConfig, length: int, rows: int, part: int, number: int
) -> synthetic_tasks.Batch:
    """A batch, always the same one for the same arguments.

    Raises:
      InputError: if there is no such batch, of this length or with these options.
    """
    random = np.random.default_rng((config.seed, part, length, number))
    options = parse_options("--task-options", config.task_options)
    try:
        return DRAW[config.task](random, rows, length, **OPTIONS.get(config.task, {}) | options)
    except (TypeError, ValueError) as error:
        said = f" --task-options {' '.join(config.task_options)}" if options else ""
        raise InputError(f"--task {config.task}{said}, length {length}: {error}") from None


def arrays(batch: synthetic_tasks.Batch) -> dict[str, np.ndarray]:
    """What of a batch goes to the devices: tokens as one-hot vectors."""
    inputs = batch.inputs
    if batch.tokens:
        inputs = np.eye(batch.tokens, dtype=np.float32)[inputs]
    return {"inputs": inputs, "targets": batch.targets, "mask": batch.mask}


def build_model(config: SyntheticConfig, seed: int) -> RNN:
    """A new model: a linear layer, the cell, and one more linear layer."""
    batch = draw(config, config.trained, 1, TRAIN, 0)
    cell = build_cell(config.model)
    width = config.model.features
    model = stack(dense(width), cell, dense(batch.classes or 1))
    return RNN(model, batch.tokens or batch.inputs.shape[-1], rngs=nnx.Rngs(seed))


class SyntheticTask:
    """A synthetic task as the loop knows it; a `Task`."""

    kind = "synthetic"
    unit = "step"
    batch_spec = jax.P(AXIS)
    digest = "drawn anew in every step"

    def __init__(self, config: SyntheticConfig, log: Callable[[str], None]):
        self.config = config
        self.first = draw(config, config.trained, config.batch, TRAIN, 0)
        for length in config.tested if config.test_lengths else ():
            # Before hours of training rather than after them.
            draw(config, length, 1, TEST, 0)
        self.data_name = f"{config.task}, {self.first.targets.shape[1]} steps"
        self.rows = config.batch
        self.units = self.first.targets.size
        self.settings: dict[str, Any] = {}

    @property
    def criterion(self) -> Criterion:
        if self.first.classes:
            return Criterion("accuracy", lower_is_better=False)
        return Criterion("mean_squared_error", lower_is_better=True)

    def model(self, seed: int) -> RNN:
        return build_model(self.config, seed)

    def start(self, model: Any, seed: int) -> tuple[()]:
        return ()

    def batches(self, first: int, mesh: Mesh) -> Iterator[dict[str, Array]]:
        by_row = NamedSharding(mesh, jax.P(AXIS))
        step = first
        while True:
            batch = draw(self.config, self.config.trained, self.rows, TRAIN, step)
            yield jax.device_put(arrays(batch), by_row)
            step += 1

    def loss(self, model, memory, batch, keys):
        _, outputs = model(batch["inputs"], key=keys)
        weight = jnp.float32(batch["mask"].sum())
        if self.first.classes:
            return cross_entropy(outputs, batch["targets"], batch["mask"]), weight, memory
        return squared_error(outputs[..., 0], batch["targets"], batch["mask"]), weight, memory

    def training_metrics(self, loss: float) -> dict[str, float]:
        return {"train_loss": loss}

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        score = Scorer(self.config, mesh)
        name = self.criterion.name
        return lambda model: {name: score(model, self.config.trained, VALIDATION)}

    def sample(self, model: Any, step: int) -> str | None:
        return None

    def summary(self) -> list[tuple[str, str]]:
        name = self.criterion.name.replace("_", " ")
        return [
            ("task", self.data_name),
            ("guessing", f"{name} {self.first.chance:.4f}"),
        ]


class Scorer:
    """How good a model is at a length: the share of what it gets right, or the squared error."""

    def __init__(self, config: SyntheticConfig, mesh: Mesh):
        self.config, self.mesh = config, mesh
        run = jax.shard_map(
            lambda model, inputs: cast(model, config.dtype)(inputs)[1],
            mesh=mesh,
            in_specs=(jax.P(), jax.P(AXIS)),
            out_specs=jax.P(AXIS),
        )
        self._run = jax.jit(run)

    def __call__(self, model: Any, length: int, part: int) -> float:
        by_row = NamedSharding(self.mesh, jax.P(AXIS))
        total, count, rows = 0.0, 0, self.config.batch
        for number in range(-(-TEST_ROWS // rows)):
            batch = draw(self.config, length, rows, part, number)
            inputs = jax.device_put(arrays(batch)["inputs"], by_row)
            outputs = np.asarray(self._run(model, inputs), np.float64)
            if batch.classes:
                right = outputs.argmax(-1) == batch.targets
                total += float(right[batch.mask].sum())
            else:
                total += float(np.square(outputs[..., 0] - batch.targets)[batch.mask].sum())
            count += int(batch.mask.sum())
        return total / count


def evaluate(saved: Saved, asked: EvaluateConfig) -> Report:
    """The score at the length of the training and at longer ones, each beside that of guessing."""
    config: Any = saved.config
    if asked.input or asked.pictures:
        raise InputError(
            "--input and --pictures are not for runs of `train synthetic`, which are tested on "
            "examples drawn anew; --test-lengths says how long they are."
        )
    model, step = load_model(asked.run, build_model(config, config.seed), asked.checkpoint)
    mesh = make_mesh(config.batch, None)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    score = Scorer(config, mesh)
    scores = {}
    for length in asked.test_lengths or config.tested:
        batch = draw(config, length, 1, TEST, 0)
        name = "accuracy" if batch.classes else "mean_squared_error"
        scores[f"{name}_at_{length}"] = score(model, length, TEST)
        scores[f"guessing_at_{length}"] = batch.chance
    return Report(
        scores,
        f"{config.task}, trained at length {config.trained}",
        step,
    )
