"""A model's outputs for any number of examples, in order and in bounded memory."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from seqjax.core.precision import Precision
from seqjax.core.types import DTypeLike
from seqjax.data.batching import in_order, restore_order
from seqjax.data.bucketing import bucket_lengths
from seqjax.data.on_demand import Lengths, OnDemand, without
from seqjax.data.padding import Encoded
from seqjax.train.devices import AXIS, own_rows, put_rows, replicated
from seqjax.train.example_task import ExampleTask


class Predictor:
    """Runs a model over examples; each process over its share, and each has all outputs.

    Args:
      task: whose `outputs` are computed.
      mesh: the devices that share a batch.
      batch_size: a multiple of the mesh's size.
      lengths: to which sequences are padded, rising; see `in_order`.
      dtype: of the computation.
    """

    def __init__(
        self,
        task: ExampleTask,
        mesh: Mesh,
        *,
        batch_size: int,
        lengths: Sequence[int] | None,
        dtype: DTypeLike,
    ):
        self.task, self.mesh, self.batch_size, self.lengths = task, mesh, batch_size, lengths
        run = jax.shard_map(
            lambda model, batch: task.outputs(Precision(compute=dtype).to_compute(model), batch),
            mesh=mesh,
            in_specs=(jax.P(), jax.P(AXIS)),
            out_specs=jax.P(AXIS),
        )
        self._run = jax.jit(run)

    def __call__(self, model: Any, examples: Iterable[Encoded]) -> Iterator[dict[str, np.ndarray]]:
        """The outputs for each example, in the order of the examples."""
        return restore_order(self._unordered(model, examples))

    def _unordered(self, model, examples) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        size, rows = self.batch_size, own_rows(self.mesh, self.batch_size).tolist()
        hidden = (*self.task.targets, *self.task.evaluation_only)
        if isinstance(examples, OnDemand):
            inputs = without(examples, hidden)
        else:
            inputs = (without([example], hidden)[0] for example in examples)
        batches = in_order(inputs, size, self.lengths, sequences=self.task.sequences, rows=rows)
        for places, batch in batches:
            outputs = self._run(model, put_rows(batch, self.mesh, size))
            outputs = jax.device_get(replicated(outputs))
            for row, place in enumerate(places.tolist()):
                yield place, {name: value[row] for name, value in outputs.items()}


def lengths_of(examples: Sequence[Encoded], task: ExampleTask, buckets: int) -> list[int]:
    """The lengths to which batches of these examples are padded, at most `buckets`."""
    if not (task.sequences or task.targets):
        return [1]
    return bucket_lengths(Lengths.of(examples, task.sequences, task.targets).longest, buckets)
