"""`seqjax train synthetic`: what a cell can remember and compute."""

import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.layers import dense
from seqjax.core.precision import Precision
from seqjax.core.stack import stack
from seqjax.core.types import Array, DTypeLike
from seqjax.data import synthetic_tasks
from seqjax.losses import cross_entropy, squared_error
from seqjax.nn.model_cells import model_cell
from seqjax.nn.rnn import RNN
from seqjax.train.bounds import PositiveInt, ProbabilityBelowOne
from seqjax.train.commands import EvaluateConfig, Log, Report, TaskCommands
from seqjax.train.config import CellConfig, OptimizerConfig, parse_options
from seqjax.train.devices import AXIS, make_mesh, put_whole, replicated
from seqjax.train.model import build_cell
from seqjax.train.online_task import OnlineConfig, Steps
from seqjax.train.run_folder import SavedRun, load_model
from seqjax.train.task import Criterion

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
"""`(random, batch_size, length, **options) -> Batch` for each task."""

OPTIONS = {"selective-copying": {"length": 8}}
"""Other defaults than the functions have: half of the symbols are learned in minutes."""

LENGTH = {
    "adding": 200, "copying": 100, "selective-copying": 64, "recall": 32, "parity": 40,
    "arithmetic": 40, "dyck": 64, "a5": 16, "s5": 16,
}  # fmt: skip
"""Default steps of a training sequence, for copying those of the wait."""

TRAIN, VALIDATION, TEST = range(3)

TEST_EXAMPLES = 512
"""Sequences for validation, and for the test at each length."""


@dataclasses.dataclass(frozen=True)
class CellOnTaskConfig(CellConfig):
    """The recurrent layers, between two linear layers."""

    features: PositiveInt = 64
    """Width of each layer's state."""
    dropout: ProbabilityBelowOne = 0.0
    """Dropout probability of each layer's outputs."""


@dataclasses.dataclass(frozen=True)
class SyntheticConfig(OnlineConfig):
    """Trains any cell on a synthetic task, such as parity, copying or recall.

    Every step draws new examples. `seqjax evaluate` tests on longer sequences than those of the
    training.
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
    """adding: the sum of two marked numbers; copying: symbols, after a wait; selective-copying:
    eight symbols from among blanks; recall: the value that was paired with a key; parity,
    arithmetic, dyck: the state after the bits, digits or brackets so far; a5, s5: the product of
    the permutations so far."""
    length: PositiveInt | None = None
    """Steps of a training sequence (for copying, of the wait); by default that of the task."""
    test_lengths: tuple[PositiveInt, ...] = ()
    """Lengths to test at; by default once, twice, four and eight times the training length."""
    task_options: tuple[str, ...] = ()
    """Parameters of the task, as name=value: pairs and tokens (recall), length and symbols
    (copying), modulus (arithmetic), kinds and depth (dyck), generators (a5, s5)."""
    model: CellOnTaskConfig = CellOnTaskConfig()
    optimization: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)
    steps: PositiveInt = 2000
    """Training steps: updates of the parameters."""
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
    config: SyntheticConfig, length: int, batch_size: int, part: int, number: int
) -> synthetic_tasks.Batch:
    """A batch, always the same one for the same arguments.

    Raises:
      InputError: if there is no such batch, of this length or with these options.
    """
    random = np.random.default_rng((config.seed, part, length, number))
    options = parse_options("--task-options", config.task_options)
    try:
        return DRAW[config.task](
            random, batch_size, length, **OPTIONS.get(config.task, {}) | options
        )
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
    """A `Task` whose batches are drawn anew in every step."""

    kind = "synthetic"
    unit = "step"
    begin_with = None
    splits_time = False
    goes_on = False
    digest = "drawn anew in every step"

    def __init__(self, config: SyntheticConfig, log: Log, run: SavedRun | None = None):
        self.config = config
        self.first = draw(config, config.trained, config.batch, TRAIN, 0)
        for length in config.tested if config.test_lengths else ():
            # An error now, rather than after hours of training.
            draw(config, length, 1, TEST, 0)
        self.data_name = f"{config.task}, {self.first.targets.shape[1]} steps"
        self.batch_size = config.batch
        self.units = self.first.targets.size
        self.preprocessing: dict[str, Any] = {}

    @property
    def criterion(self) -> Criterion:
        if self.first.classes:
            return Criterion("accuracy", lower_is_better=False)
        return Criterion("mean_squared_error", lower_is_better=True)

    def model(self, seed: int) -> RNN:
        return build_model(self.config, seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        return Precision(compute=dtype).to_compute(model)

    def start(self, model: Any, seed: int) -> tuple[()]:
        return ()

    def batches(self, first: int, mesh: Mesh) -> Iterator[dict[str, Array]]:
        by_row = NamedSharding(mesh, jax.P(AXIS))
        step = first
        while True:
            batch = draw(self.config, self.config.trained, self.batch_size, TRAIN, step)
            yield put_whole(arrays(batch), by_row)
            step += 1

    @property
    def model_as_cell(self) -> Cell:
        return model_cell(self.first.classes or 1)

    def example_input(self) -> Array:
        return jnp.zeros_like(arrays(self.first)["inputs"][:, 0])

    def steps(self, batch: dict[str, Array]) -> Steps:
        targets = batch["targets"], batch["mask"]
        return Steps(batch["inputs"], targets, jnp.float32(batch["mask"].sum()))

    def step_loss(self, y: Array, target: tuple[Array, Array]) -> Array:
        wide = y.astype(jnp.promote_types(y.dtype, jnp.float32))
        right, counts = target
        if self.first.classes:
            terms = optax.softmax_cross_entropy_with_integer_labels(wide, right)
        else:
            terms = optax.squared_error(wide[..., 0], right)
        return jnp.where(counts, terms, 0.0)

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

    def verdict(self, scores: dict[str, float]) -> list[str]:
        return []

    def sample(self, model: Any, step: int) -> str | None:
        return None

    def summary(self) -> list[tuple[str, str]]:
        name = self.criterion.name.replace("_", " ")
        return [
            ("task", self.data_name),
            ("chance", f"{name} {self.first.chance:.4f}"),
        ]


class Scorer:
    """Accuracy of a model at a length, or its mean squared error."""

    def __init__(self, config: SyntheticConfig, mesh: Mesh):
        self.config, self.mesh = config, mesh
        precision = Precision(compute=config.dtype)
        run = jax.shard_map(
            lambda model, inputs: precision.to_compute(model)(inputs)[1],
            mesh=mesh,
            in_specs=(jax.P(), jax.P(AXIS)),
            out_specs=jax.P(AXIS),
        )
        self._run = jax.jit(run)

    def __call__(self, model: Any, length: int, part: int) -> float:
        by_row = NamedSharding(self.mesh, jax.P(AXIS))
        total, count, batch_size = 0.0, 0, self.config.batch
        for number in range(-(-TEST_EXAMPLES // batch_size)):
            batch = draw(self.config, length, batch_size, part, number)
            inputs = put_whole(arrays(batch)["inputs"], by_row)
            outputs = np.asarray(replicated(self._run(model, inputs)), np.float64)
            if batch.classes:
                right = outputs.argmax(-1) == batch.targets
                total += float(right[batch.mask].sum())
            else:
                total += float(np.square(outputs[..., 0] - batch.targets)[batch.mask].sum())
            count += int(batch.mask.sum())
        return total / count


def evaluate(run: SavedRun, config: EvaluateConfig, log: Log) -> Report:
    """The score at the length of the training and at longer ones, each beside that of chance."""
    trained: Any = run.config
    model, step = load_model(run, lambda: build_model(trained, trained.seed), config.checkpoint)
    mesh = make_mesh(trained.batch, None)
    model = put_whole(model, NamedSharding(mesh, jax.P()))
    score = Scorer(trained, mesh)
    scores = {}
    for length in config.test_lengths or trained.tested:
        batch = draw(trained, length, 1, TEST, 0)
        name = "accuracy" if batch.classes else "mean_squared_error"
        scores[f"{name}_at_{length}"] = score(model, length, TEST)
        scores[f"chance_at_{length}"] = batch.chance
    return Report(scores, f"{trained.task}, trained at length {trained.trained}", step)


SYNTHETIC = TaskCommands(
    SyntheticTask.kind,
    SyntheticConfig,
    prepare=SyntheticTask,
    evaluate=evaluate,
    evaluate_options=frozenset({"test_lengths"}),
)
