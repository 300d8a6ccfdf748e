"""Learning from examples with answers: classifiers, taggers and forecasters alike."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding

from seqjax.core.trees import cast
from seqjax.core.types import Array, BatchKeys, DTypeLike, PyTree
from seqjax.data.batching import Batches, in_order, longest_of, restore_order
from seqjax.data.bucketing import bucket_lengths
from seqjax.data.padding import Encoded
from seqjax.data.windows import Windows
from seqjax.train.config import RunConfig
from seqjax.train.devices import AXIS
from seqjax.train.task import Criterion

Batch = dict[str, Array]


@runtime_checkable
class Problem(Protocol):
    """What is asked of an example, and what a model answers."""

    @property
    def sequences(self) -> tuple[str, ...]:
        """The entries of an encoded example that have a leading time axis."""
        ...

    @property
    def answers(self) -> tuple[str, ...]:
        """The entries with a time axis of their own, that the model learns to give."""
        ...

    @property
    def judged_by(self) -> tuple[str, ...]:
        """The entries that only scores look at."""
        ...

    @property
    def criterion(self) -> Criterion:
        """The score by which checkpoints are compared."""
        ...

    def model(self, seed: int) -> nnx.Module:
        """A new model."""
        ...

    def loss(self, model: Any, batch: Batch, keys: BatchKeys) -> tuple[Array, Array]:
        """`(total, weight)` of a batch.

        Its `lengths` and `weights` say what counts; `progress` `(rows,)` is the share of the
        training that is done.
        """
        ...

    def outputs(self, model: Any, batch: Batch) -> Batch:
        """What the model answers, arrays with one leading row for each example."""
        ...

    def scores(self, examples: Sequence[Encoded], outputs: Sequence[Encoded]) -> dict[str, float]:
        """How good the outputs are, by name; the criterion first."""
        ...


class Split(NamedTuple):
    """Encoded examples to learn from, to choose the best checkpoint by, and to be judged by."""

    train: Sequence[Encoded]
    validation: Sequence[Encoded]
    test: Sequence[Encoded]


class Predictor:
    """Runs a model over any number of examples, in order and in bounded memory.

    Args:
      problem: that the model answers.
      mesh: the devices that share the rows.
      rows: of a batch, a multiple of the mesh's size.
      lengths: to which sequences are padded, rising; see `in_order`.
      dtype: what the model computes in.
    """

    def __init__(
        self,
        problem: Problem,
        mesh: Mesh,
        *,
        rows: int,
        lengths: Sequence[int] | None,
        dtype: DTypeLike,
    ):
        self.problem, self.mesh, self.rows, self.lengths = problem, mesh, rows, lengths
        run = jax.shard_map(
            lambda model, batch: problem.outputs(cast(model, dtype), batch),
            mesh=mesh,
            in_specs=(jax.P(), jax.P(AXIS)),
            out_specs=jax.P(AXIS),
        )
        self._run = jax.jit(run)

    def __call__(self, model: Any, examples: Iterable[Encoded]) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for each example, in the order of the examples."""
        return restore_order(self._unordered(model, examples))

    def _unordered(self, model, examples) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        by_row = NamedSharding(self.mesh, jax.P(AXIS))
        hidden = (*self.problem.answers, *self.problem.judged_by)
        asked = (without(example, hidden) for example in examples)
        batches = in_order(asked, self.rows, self.lengths, sequences=self.problem.sequences)
        for places, batch in batches:
            outputs = jax.device_get(self._run(model, jax.device_put(batch, by_row)))
            for row, place in enumerate(places.tolist()):
                yield place, {name: value[row] for name, value in outputs.items()}


@dataclasses.dataclass
class SupervisedTask:
    """A `Task` that draws batches of examples; of like length, so that little is padding.

    Args:
      kind: the word after `seqjax train`.
      config: the settings.
      problem: what is learned.
      split: the examples.
      data_name: which data it is.
      settings: what a trained model needs besides the configuration, as JSON.
      buckets: at most so many different lengths of batches, and compilations.
      notes: what the user should know, for the summary.
    """

    kind: str
    config: RunConfig
    problem: Problem
    split: Split
    data_name: str
    settings: dict[str, Any]
    buckets: int
    notes: list[tuple[str, str]]
    unit = "example"
    batch_spec = jax.P(AXIS)

    def __post_init__(self):
        self.rows = self.units = self.config.batch
        self.digest = digest(self.split, self.settings)
        self.lengths = lengths_of(self.split.train, self.problem, self.buckets)

    @property
    def criterion(self) -> Criterion:
        return self.problem.criterion

    def model(self, seed: int) -> nnx.Module:
        return self.problem.model(seed)

    def start(self, model: Any, seed: int) -> PyTree:
        """Nothing flows from one batch into the next."""
        return ()

    def batches(self, first: int, mesh: Mesh) -> Iterator[PyTree]:
        hidden = self.problem.judged_by
        train = self.split.train
        batches = Batches(
            [without(example, hidden) for example in train] if hidden else train,
            batch_size=self.rows,
            seed=self.config.seed,
            bucket_lengths=self.lengths,
            sequences=self.problem.sequences,
            targets=self.problem.answers,
        )
        by_row = NamedSharding(mesh, jax.P(AXIS))
        for step, batch in enumerate(batches.iterate(first), first):
            batch["progress"] = np.full(self.rows, step / self.config.steps, np.float32)
            yield jax.device_put(batch, by_row)

    def loss(self, model, memory, batch, keys):
        return *self.problem.loss(model, batch, keys), memory

    def training_metrics(self, loss: float) -> dict[str, float]:
        return {"train_loss": loss}

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        predict = Predictor(
            self.problem, mesh, rows=self.rows, lengths=self.lengths, dtype=self.config.dtype
        )
        examples = self.split.validation
        return lambda model: self.problem.scores(examples, list(predict(model, examples)))

    def sample(self, model: Any, step: int) -> str | None:
        return None

    def summary(self) -> list[tuple[str, str]]:
        counts = ", ".join(
            f"{len(part):,} {name}" for name, part in zip(Split._fields, self.split, strict=True)
        )
        return [("data", f"{self.data_name}: {counts}"), *self.notes]


def without(example: Encoded, names: Sequence[str]) -> Encoded:
    """An example without these entries."""
    return {name: value for name, value in example.items() if name not in names}


def lengths_of(examples: Sequence[Encoded], problem: Problem, buckets: int) -> list[int]:
    """The lengths to which batches of these examples are padded."""
    if not (problem.sequences or problem.answers):
        return [1]
    steps = [longest_of(example, problem.sequences, problem.answers) for example in examples]
    return bucket_lengths(steps, buckets)


def digest(split: Split, settings: dict[str, Any]) -> str:
    """A number that changes when anything in the data does, its words and labels included."""
    found = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for part in split:
        found.update(b"part")
        for example in part.whole if isinstance(part, Windows) else part:
            for name in sorted(example):
                value = np.asarray(example[name])
                found.update(f"{name}{value.dtype.str}{value.shape}".encode() + value.tobytes())
    return found.hexdigest()
