"""Training by gradients that are made forward in time: `--algorithm`."""

import dataclasses
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import jax

from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.noise import seed_carry
from seqjax.core.trees import tree_bytes
from seqjax.core.types import Array, BatchKeys, Carry, DTypeLike, PyTree
from seqjax.online import Learner, eprop, rtrl, snap
from seqjax.online.expectations import InfluenceSizeError
from seqjax.online.learner import Influence
from seqjax.online.sequence_gradient import Loss, opened_stream, run_steps
from seqjax.train.bounds import PositiveFloat
from seqjax.train.config import RunConfig
from seqjax.train.task import Task


@dataclasses.dataclass(frozen=True)
class OnlineConfig(RunConfig):
    """The options of runs that can learn forward in time."""

    algorithm: Literal["bptt", "rtrl", "snap1", "eprop"] = "bptt"
    """How gradients are made. bptt: backwards through the steps of a window, and no further. The
    others go forward and carry the influence of the parameters on the state from window to window.
    rtrl is exact and for small models; snap1 leaves out what a parameter moves through other
    units, eprop all that goes through recurrent weights. These two go layer by layer."""
    influence_limit: PositiveFloat = 2.0
    """Gigabytes that the influence of a batch may take."""


class Steps(NamedTuple):
    """A batch as steps: arrays `(batch, time, ...)`, and how many terms its loss has."""

    xs: Any
    targets: Any
    weight: Array
    resets: Array | None = None


@runtime_checkable
class StepwiseTask(Protocol):
    """What a task adds to a `Task` to be learned forward in time.

    `goes_on` says whether a batch goes on where the one before it ended.
    """

    goes_on: bool

    @property
    def model_as_cell(self) -> Cell:
        """The model as a cell, see `seqjax.nn.model_cell`."""
        ...

    def example_input(self) -> PyTree:
        """An input of one step of a batch."""
        ...

    def steps(self, batch: PyTree) -> Steps:
        """A batch as steps."""
        ...

    def step_loss(self, y: Array, target: PyTree) -> Array:
        """The loss of one step of each sequence, `(batch,)`."""
        ...


class Memory(NamedTuple):
    """Where the streams stand, and how that depends on the parameters."""

    carry: Carry
    influence: Influence


class OnlineTask:
    """A task whose loss has the gradient of a learner in place of that of backpropagation.

    It is what `start` and `make_train_step` see of a task; all else asks the task itself.
    """

    def __init__(self, task: Any, config: OnlineConfig):
        if config.time_devices > 1:
            raise InputError(
                f"--algorithm {config.algorithm}: the influence goes forward from step to step, so "
                f"devices cannot share the time; leave out --time-devices {config.time_devices}."
            )
        if config.model_devices > 1:
            raise InputError(
                f"--algorithm {config.algorithm}: each device keeps the influence of all "
                "parameters, so devices cannot share these; leave out --model-devices "
                f"{config.model_devices}."
            )
        self.task, self.algorithm = task, config.algorithm
        self.begin_with, self.batch_size = task.begin_with, task.batch_size
        limit = int(config.influence_limit * 1e9)
        cell = task.model_as_cell
        self.learner: Learner = {
            "rtrl": lambda: rtrl(cell, limit=limit),
            "snap1": lambda: snap(cell, 1, layerwise=True, limit=limit),
            "eprop": lambda: eprop(cell, limit=limit),
        }[config.algorithm]()

    def model(self, seed: int) -> Any:
        return self.task.model(seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        return self.task.cast(model, dtype)

    def summary(self, model: Any) -> tuple[str, str]:
        """A line for the user: the algorithm and what it takes."""
        influence = jax.eval_shape(self.learner.init, model, self.task.example_input())
        megabytes = tree_bytes(influence) / 1e6
        return "algorithm", f"{self.algorithm}, an influence of {megabytes:.2g} MB for the batch"

    def start(self, model: Any, seed: int) -> PyTree:
        memory = self.task.start(model, seed)
        try:
            influence = self.learner.init(model, self.task.example_input())
        except InfluenceSizeError as error:
            raise InputError(
                f"--algorithm {self.algorithm}: expected an influence of at most "
                f"{error.limit / 1e9:g} GB, --influence-limit; {error.need}. Use --algorithm snap1 "
                "or eprop, a cell that is linear in its state, fewer --features or a smaller "
                "--batch, or raise --influence-limit."
            ) from None
        except ValueError as error:
            raise InputError(f"--algorithm {self.algorithm}: {error}") from None
        return Memory(memory.carry, influence) if self.task.goes_on else memory

    def loss(
        self, model: Any, memory: PyTree, batch: PyTree, keys: BatchKeys
    ) -> tuple[Array, Array, PyTree]:
        steps, loss = self.task.steps(batch), self.task.step_loss
        rows = jax.tree.leaves(steps.xs)[0].shape[0]
        if self.task.goes_on:
            carry, influence = memory
        else:
            carry = seed_carry(model.initial_carry((rows,)), keys)
            x = jax.tree.map(lambda leaf: leaf[:, 0], steps.xs)
            influence = self.learner.init(model, x)
        total, after = loss_forward(self.learner, model, steps, loss, carry, influence)
        return total, steps.weight, Memory(*after) if self.task.goes_on else memory


def loss_forward(
    learner: Learner, model: Any, steps: Steps, loss: Loss, carry: Carry, influence: Influence
) -> tuple[Array, tuple[Carry, Influence]]:
    """The loss of a batch, whose gradient with respect to the model is that of the learner, and
    carry and influence after the last step."""

    def run(model: Any) -> Any:
        stream = opened_stream(
            learner, model, steps.xs, steps.targets, carry, influence, None, resets=steps.resets
        )
        # The programs of `sequence_gradient` keep the loss, and with it a task and its data.
        return run_steps(learner, model, loss, stream.carry, stream.influence, stream.steps)

    @jax.custom_vjp
    def value(model: Any) -> tuple[Array, tuple[Carry, Influence]]:
        found = run(model)
        return found.loss, (found.carry, found.influence)

    def forward(model: Any) -> tuple[Any, Any]:
        found = run(model)
        return (found.loss, (found.carry, found.influence)), found.gradient

    def backward(gradient: Any, cotangents: tuple) -> tuple[Any]:
        return (jax.tree.map(lambda leaf: (leaf * cotangents[0]).astype(leaf.dtype), gradient),)

    value.defvjp(forward, backward)
    return value(model)


def learned_by(task: Task, config: RunConfig) -> Any:
    """The task as the algorithm of the configuration learns it."""
    if isinstance(config, OnlineConfig) and config.algorithm != "bptt":
        return OnlineTask(task, config)
    return task
