"""What the training loop asks of a task."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol, runtime_checkable

from flax import nnx
from jax.sharding import Mesh

from seqjax.core.types import Array, BatchKeys, DTypeLike, PyTree


class Criterion(NamedTuple):
    """The score by which checkpoints are compared, and which of two is better.

    `baseline` is the score, in validation, of one answer for all inputs, if that is known.
    """

    name: str
    lower_is_better: bool
    baseline: float | None = None

    def cost(self, value: float) -> float:
        """A number that is lower where the score is better."""
        return value if self.lower_is_better else -value


@runtime_checkable
class Task(Protocol):
    """A task with its data, as the training loop sees it.

    `kind` is the word after `seqjax train`. `data_name` and `digest` identify the data;
    `preprocessing` is all that a trained model needs besides the configuration (vocabularies,
    labels, means and scales), as JSON. A batch holds `batch_size` sequences, and a step reads
    `units` of `unit`.

    `begin_with` is the model that training begins with, None for a new one. `splits_time` says
    whether the loss of a sequence can be computed by several devices, each with a stretch of it.

    `memory` is the state that flows from one step into the next besides the parameters. It and
    batches are trees of arrays `(batch, ...)`, split over devices by their first axis.
    """

    kind: str
    data_name: str
    digest: str
    preprocessing: dict[str, Any]
    batch_size: int
    unit: str
    units: int
    begin_with: Any
    splits_time: bool

    @property
    def criterion(self) -> Criterion:
        """The score by which checkpoints are compared."""
        ...

    def model(self, seed: int) -> nnx.Module:
        """A new model."""
        ...

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        """The model in the dtype of the computation."""
        ...

    def start(self, model: Any, seed: int) -> PyTree:
        """The memory before the first step."""
        ...

    def batches(self, first: int, mesh: Mesh) -> Iterator[PyTree]:
        """The batches of steps `first`, `first + 1`, ... on their devices.

        The batch of a step depends on the configuration and the step alone, so that a run can be
        continued from any step.
        """
        ...

    def loss(
        self, model: Any, memory: PyTree, batch: PyTree, keys: BatchKeys
    ) -> tuple[Array, Array, PyTree]:
        """`(total, weight, memory)` of the sequences of one device: the loss is total / weight.

        `keys` is one key for each sequence, for noise. Where the mesh has an axis for time, a task
        that splits it sums up the stretch of this device.
        """
        ...

    def training_metrics(self, loss: float) -> dict[str, float]:
        """The loss under its name in the logs; the first is shown in the progress bar."""
        ...

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        """Scores models on the validation data; the criterion is among the scores."""
        ...

    def verdict(self, scores: dict[str, float]) -> list[str]:
        """What the last scores mean for the user, where the model is of no use."""
        ...

    def sample(self, model: Any, step: int) -> str | None:
        """A sample of what the model generates, None if it generates nothing."""
        ...

    def summary(self) -> list[tuple[str, str]]:
        """Facts about the data, `(name, value)`, printed before training begins."""
        ...
