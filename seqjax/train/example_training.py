"""Training on examples: a `Task` for the loop, from any `ExampleTask`."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from seqjax.core.precision import Precision
from seqjax.core.types import DTypeLike, PyTree
from seqjax.data.batching import Batches
from seqjax.data.survey import Survey
from seqjax.train.commands import Log
from seqjax.train.devices import own_rows, put_rows
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.predictor import Predictor, lengths_of, without
from seqjax.train.run_folder import SavedRun
from seqjax.train.short_runs import notes_on_examples
from seqjax.train.task import Criterion


def prepare(
    task: type[ExampleTask], config: Any, log: Log, run: SavedRun | None = None
) -> "ExampleTraining":
    """The task with its data, as the configuration says; its preprocessing follows from the data,
    so that of a `run` is not needed."""
    data = task.load(config, log)
    fitted, split = task.prepare(data, config, log)
    survey = Survey()
    for example in data.train:
        survey.add(example)
    for line in (*survey.lines(), *survey.odd()):
        log(line)
    for line in notes_on_examples(config, len(split.train), len(split.validation)):
        log(line)
    # Hashed with the data: other keys would make older runs look as if their data had changed.
    preprocessing = {"problem": fitted.preprocessing(), "values": data.values}
    if data.roles:
        preprocessing["roles"] = dict(data.roles)
    return ExampleTraining(fitted, split, data.name, preprocessing)


@dataclasses.dataclass
class ExampleTraining:
    """A `Task` that draws batches of examples; of like length, so that little is padding.

    Args:
      task: what is learned.
      split: the examples.
      data_name: which data it is.
      preprocessing: what a trained model needs besides the configuration, as JSON.
    """

    task: ExampleTask
    split: Split
    data_name: str
    preprocessing: dict[str, Any]
    unit = "example"
    begin_with = None
    splits_time = False

    def __post_init__(self):
        self.kind, self.config = self.task.name, self.task.config
        self.batch_size = self.units = self.config.batch
        self.digest = self._digest()
        self.lengths = lengths_of(self.split.train, self.task, self.task.buckets)

    @property
    def criterion(self) -> Criterion:
        return self.task.criterion._replace(baseline=self.task.baseline(self.split))

    def model(self, seed: int) -> nnx.Module:
        return self.task.model(seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        return Precision(compute=dtype).to_compute(model)

    def start(self, model: Any, seed: int) -> PyTree:
        """Nothing flows from one batch into the next."""
        return ()

    def batches(self, first: int, mesh: Mesh) -> Iterator[PyTree]:
        hidden = self.task.evaluation_only
        train = self.split.train
        rows = own_rows(mesh, self.batch_size).tolist()
        batches = Batches(
            [without(example, hidden) for example in train] if hidden else train,
            batch_size=self.batch_size,
            seed=self.config.seed,
            bucket_lengths=self.lengths,
            sequences=self.task.sequences,
            targets=self.task.targets,
            rows=rows,
        )
        for step, batch in enumerate(batches.iterate(first), first):
            batch["progress"] = np.full(len(rows), step / self.config.steps, np.float32)
            yield put_rows(batch, mesh, self.batch_size)

    def loss(self, model, memory, batch, keys):
        return *self.task.loss(model, batch, keys), memory

    def training_metrics(self, loss: float) -> dict[str, float]:
        return {"train_loss": loss}

    def evaluator(self, mesh: Mesh) -> Callable[[Any], dict[str, float]]:
        predict = Predictor(
            self.task,
            mesh,
            batch_size=self.batch_size,
            lengths=self.lengths,
            dtype=self.config.dtype,
        )
        examples = self.split.validation
        return lambda model: self.task.scores(examples, list(predict(model, examples)))

    def verdict(self, scores: dict[str, float]) -> list[str]:
        return self.task.verdict(scores)

    def sample(self, model: Any, step: int) -> str | None:
        return None

    def summary(self) -> list[tuple[str, str]]:
        counts = ", ".join(
            f"{len(part):,} {name}" for name, part in zip(Split._fields, self.split, strict=True)
        )
        return [("data", f"{self.data_name}: {counts}"), *self.task.summary()]

    def _digest(self) -> str:
        """A hash that changes when anything in the data does, its words and labels included."""
        found = hashlib.sha256(json.dumps(self.preprocessing, sort_keys=True).encode())
        for part in self.split:
            found.update(b"part")
            for example in self.task.digested(part):
                for name in sorted(example):
                    value = np.asarray(example[name])
                    found.update(f"{name}{value.dtype.str}{value.shape}".encode() + value.tobytes())
        return found.hexdigest()
