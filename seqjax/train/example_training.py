"""Training on examples: a `Task` for the loop, from any `ExampleTask`."""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from flax import nnx
from jax.sharding import Mesh

from seqjax.core.precision import Precision
from seqjax.core.types import DTypeLike, PyTree
from seqjax.data.batching import Batches
from seqjax.data.examples import digest_of
from seqjax.data.on_demand import answers_of, without
from seqjax.data.survey import Survey
from seqjax.train.commands import Log
from seqjax.train.devices import own_rows, put_rows
from seqjax.train.example_files import Data
from seqjax.train.example_task import ExampleTask, Split
from seqjax.train.predictor import Predictor, lengths_of
from seqjax.train.processes import from_first, is_first, require_same
from seqjax.train.run_folder import SavedRun
from seqjax.train.short_runs import notes_on_examples
from seqjax.train.task import Criterion


def prepare(
    task: type[ExampleTask], config: Any, log: Log, run: SavedRun | None = None
) -> "ExampleTraining":
    """The task with its data, as the configuration says; its preprocessing follows from the data,
    so that of a `run` is not needed."""
    data = task.load(config, log)
    content = _content_of(data)
    require_same({f"the digest of {data.name}": content[:12]})
    fitted, split = task.prepare(data, config, log)
    if is_first():
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
    found = ExampleTraining(fitted, split, data.name, preprocessing, f"{FORM}{content}")
    if run is not None and not run.data["sha256"].startswith(FORM):
        found.digest = _older_digest(found, data, run.data["sha256"])
    return found


@dataclasses.dataclass
class ExampleTraining:
    """A `Task` that draws batches of examples; of like length, so that little is padding.

    Args:
      task: what is learned.
      split: the examples.
      data_name: which data it is.
      preprocessing: what a trained model needs besides the configuration, as JSON.
      digest: of the data.
    """

    task: ExampleTask
    split: Split
    data_name: str
    preprocessing: dict[str, Any]
    digest: str
    unit = "example"
    begin_with = None
    splits_time = False

    def __post_init__(self):
        self.kind, self.config = self.task.name, self.task.config
        self.batch_size = self.units = self.config.batch
        self.lengths = lengths_of(self.split.train, self.task, self.task.buckets)
        self.criterion: Criterion = self.task.criterion._replace(
            baseline=self.task.baseline(self.split)
        )

    def model(self, seed: int) -> nnx.Module:
        return self.task.model(seed)

    def cast(self, model: Any, dtype: DTypeLike) -> Any:
        return Precision(compute=dtype).to_compute(model)

    def start(self, model: Any, seed: int) -> PyTree:
        """Nothing flows from one batch into the next."""
        return ()

    def batches(self, first: int, mesh: Mesh) -> Iterator[PyTree]:
        rows = own_rows(mesh, self.batch_size).tolist()
        for step, batch in enumerate(self.own_batches(rows).iterate(first), first):
            batch["progress"] = np.full(len(rows), step / self.config.steps, np.float32)
            yield put_rows(batch, mesh, self.batch_size)

    def own_batches(self, rows: Sequence[int]) -> Batches:
        """These rows of every batch."""
        return Batches(
            without(self.split.train, self.task.evaluation_only),
            batch_size=self.batch_size,
            seed=self.config.seed,
            bucket_lengths=self.lengths,
            sequences=self.task.sequences,
            targets=self.task.targets,
            rows=rows,
        )

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

        def score(model: Any) -> dict[str, float]:
            outputs = list(predict(model, examples))
            return from_first(lambda: self.task.scores(answers_of(examples), outputs))

        return score

    def verdict(self, scores: dict[str, float]) -> list[str]:
        return self.task.verdict(scores)

    def sample(self, model: Any, step: int) -> str | None:
        return None

    def summary(self) -> list[tuple[str, str]]:
        counts = ", ".join(
            f"{len(part):,} {name}" for name, part in zip(Split._fields, self.split, strict=True)
        )
        return [("data", f"{self.data_name}: {counts}"), *self.task.summary()]


FORM, WHOLE = "inputs ", "content "
"""How digests begin that are made of what was read, now and before; still older runs made theirs
of all arrays."""


def _content_of(data: Data, form: str = FORM) -> str:
    """A hash that changes when any input or target does."""
    found = hashlib.sha256()
    for part in (data.train, data.validation or (), data.test):
        found.update(b"part")
        for example in part:
            about = example.stored and example.stored.about
            if form == WHOLE:
                found.update(_bytes_of(example.inputs))
            else:
                found.update((about.digest if about else digest_of(example.inputs)).encode())
            found.update(_bytes_of(example.target))
    return found.hexdigest()


def _bytes_of(value: Any) -> bytes:
    if isinstance(value, np.ndarray):
        return f"{value.dtype.str}{value.shape}".encode() + value.tobytes()
    return repr(value).encode()


def _older_digest(training: ExampleTraining, data: Data, digest: str) -> str:
    """That of older runs: every process reads all examples for it, or even encodes them."""
    if digest.startswith(WHOLE):
        return f"{WHOLE}{_content_of(data, WHOLE)}"
    found = hashlib.sha256(json.dumps(training.preprocessing, sort_keys=True).encode())
    for part in training.split:
        found.update(b"part")
        for example in training.task.digested(part):
            for name in sorted(example):
                value = np.asarray(example[name])
                found.update(f"{name}{value.dtype.str}{value.shape}".encode() + value.tobytes())
    return found.hexdigest()
