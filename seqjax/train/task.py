"""What a run learns: all in which the commands differ."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jax.sharding import Mesh

from seqjax.core.types import Array, BatchKeys, PyTree
from seqjax.train.bounds import PositiveInt, check_bounds


class Criterion(NamedTuple):
    """The number by which checkpoints are compared, and which of two is better."""

    name: str
    lower_is_better: bool

    def cost(self, value: float) -> float:
        """A number that is lower where the value is better."""
        return value if self.lower_is_better else -value


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How good a trained model is, on data that it has not seen."""

    run: Path
    """Folder of the run."""
    input: tuple[Path, ...] = ()
    """Files or folders; by default the data held out from the run's training."""
    targets: tuple[Path, ...] = ()
    """For translations: text files with the right answers, line by line, beside --input."""
    beams: PositiveInt | None = None
    """Beams of the search, for runs that write; by default as many as the run says."""
    pictures: bool = False
    """Draw what there is to see, below the folder of the run."""
    test_lengths: tuple[PositiveInt, ...] = ()
    """Lengths to test at, for synthetic tasks; by default as the run says."""
    checkpoint: str = "best"
    """best, last, or a step."""
    skip_malformed: bool = False
    """Leave rows out that cannot be read, and count them, instead of stopping there."""

    def __post_init__(self):
        check_bounds(self)


class Report(NamedTuple):
    """How good a trained model is.

    `scores` are numbers by name, the most important first; `what` says on which data, `step`
    which checkpoint, and `notes` what else the user should know. `draw()` makes pictures, by
    name.
    """

    scores: dict[str, float]
    what: str
    step: int
    notes: tuple[str, ...] = ()
    draw: Callable[[], dict[str, Any]] = dict


@runtime_checkable
class Task(Protocol):
    """What the loop asks of a task.

    `kind` is the word after `seqjax train`, `data_name` and `digest` tell which data it is,
    `settings` is all that a trained model needs besides the configuration (vocabularies,
    labels, scales), as JSON. A batch has `rows` rows, and `units` of `unit` are read in a step.

    `memory` is what flows from one step into the next besides parameters, a tree of arrays
    `(rows, ...)`; `batch_spec` says how the batches are split over devices.
    """

    kind: str
    data_name: str
    digest: str
    settings: dict[str, Any]
    rows: int
    unit: str
    units: int
    batch_spec: Any

    @property
    def criterion(self) -> Criterion:
        """What checkpoints are compared by."""
        ...

    def model(self, seed: int) -> nnx.Module:
        """A new model."""
        ...

    def start(self, model: Any, seed: int) -> PyTree:
        """The memory before the first step."""
        ...

    def batches(self, first: int, mesh: Mesh) -> Iterator[PyTree]:
        """The batches of steps `first`, `first + 1`, ... on their devices.

        The batch of a step depends on nothing but the settings and the step, so that a run
        can go on anywhere.
        """
        ...

    def loss(
        self, model: Any, memory: PyTree, batch: PyTree, keys: BatchKeys
    ) -> tuple[Array, Array, PyTree]:
        """`(total, weight, memory)` of the rows of one device: the loss is total / weight.

        `keys` is one key for each row, for noise.
        """
        ...

    def training_metrics(self, loss: float) -> dict[str, float]:
        """The loss under its name in the logs; the first is shown in the progress bar."""
        ...

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        """Scores models on the validation data; the criterion is among the scores."""
        ...

    def sample(self, model: Any, step: int) -> str | None:
        """Something to look at, made by the model."""
        ...

    def summary(self) -> list[tuple[str, str]]:
        """What the user should know of the data before training begins."""
        ...
