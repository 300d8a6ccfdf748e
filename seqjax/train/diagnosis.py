"""Gradient flow and gate saturation during a run, every few steps."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.types import Array, PyTree
from seqjax.gradients import Activation, LayerFlow, model_activations, model_flow
from seqjax.train.task import Task

SAMPLED = 8
"""At most this many sequences of a batch are sampled: enough for a mean, and cheap."""

FILE = "gradients.jsonl"


class Sample(NamedTuple):
    """Some sequences of a batch on one device, with all that their loss needs."""

    memory: PyTree
    batch: PyTree
    keys: Array


def sample_of(task: Task, memory: PyTree, batch: PyTree, step: int, seed: int) -> Sample:
    """The first sequences of a batch, with the noise that they get in this step."""
    count = min(SAMPLED, task.batch_size)
    device = jax.local_devices()[0]
    key = jax.random.fold_in(jax.random.fold_in(jax.random.key(seed), 2), step)
    keys = jax.random.split(key, task.batch_size)
    memory, batch, keys = jax.device_put((memory, batch, keys), device)
    return Sample(*jax.tree.map(lambda leaf: leaf[:count], (memory, batch, keys)))


class Diagnosis(NamedTuple):
    """The gradient flow and the gates in a step.

    `flows` are the layers' gradients of the mean loss, root mean squares over sequences, `(time,)`;
    `gates` their sigmoids and tanhs.
    """

    flows: tuple[LayerFlow, ...]
    gates: tuple[Activation, ...]


class Diagnose:
    """Diagnoses a model by the loss of a few sequences, compiled once for each shape.

    Args:
      task: whose loss.
      dtype: what the model computes in.
    """

    def __init__(self, task: Task, dtype: Any):
        self.names: Any = None

        def numbers(model: Any, sample: Sample) -> Any:
            def loss(model: Any) -> Array:
                total, weight, _ = task.loss(
                    task.cast(model, dtype), sample.memory, sample.batch, sample.keys
                )
                return total / jnp.maximum(weight, 1)

            flows, gates = model_flow(model, loss), model_activations(model, loss)
            # Names are no arrays: they are the same at every call.
            self.names = (
                [flow.name for flow in flows],
                [(gate.layer, gate.name, gate.kind) for gate in gates],
            )
            return [(_over_rows(flow.carry), _over_rows(flow.inputs)) for flow in flows], [
                (gate.mean, gate.low, gate.high) for gate in gates
            ]

        self._numbers = jax.jit(numbers)

    def __call__(self, model: Any, sample: Sample) -> Diagnosis:
        """The diagnosis of a model on the first device."""
        flows, gates = jax.device_get(self._numbers(model, sample))
        layers, marks = self.names
        return Diagnosis(
            tuple(LayerFlow(name, *norms) for name, norms in zip(layers, flows, strict=True)),
            tuple(Activation(*mark, *shares) for mark, shares in zip(marks, gates, strict=True)),
        )


def _over_rows(norms: Array) -> Array:
    return jnp.sqrt(jnp.square(norms.reshape(-1, norms.shape[-1])).mean(0))


def scalars(found: Diagnosis) -> dict[str, float]:
    """For the logs: by layer the gradient by the state at the first and at the last step, and
    of each gate the mean and the share that is stuck."""
    values = {}
    for flow in found.flows:
        values[f"gradient/{flow.name}/first_step"] = float(flow.carry[0])
        values[f"gradient/{flow.name}/last_step"] = float(flow.carry[-1])
    for gate in found.gates:
        values[f"gates/{gate.layer}/{gate.name}/mean"] = float(gate.mean)
        values[f"gates/{gate.layer}/{gate.name}/stuck"] = float(gate.low + gate.high)
    return values


def write_flow(folder: Path, step: int, found: Diagnosis) -> None:
    """Adds a line with the flow of a step to the file that `read_flows` reads."""
    layers = {flow.name: [float(norm) for norm in flow.carry] for flow in found.flows}
    with (folder / FILE).open("a", encoding="utf-8") as file:
        file.write(json.dumps({"step": step, "carry": layers}) + "\n")


def read_flows(folder: Path) -> dict[str, tuple[list[int], np.ndarray]]:
    """By layer the training steps, and the norms `(training times, time)`, NaN behind the end.

    Of a step that was done twice, after a stop, the later one counts.
    """
    path = folder / FILE
    lines: dict[int, dict[str, list[float]]] = {}
    if path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                entry = json.loads(line)
            except ValueError:  # Cut short by a kill.
                continue
            lines[entry["step"]] = entry["carry"]
    found = {}
    for name in dict.fromkeys(name for layers in lines.values() for name in layers):
        steps = sorted(step for step, layers in lines.items() if name in layers)
        time = max(len(lines[step][name]) for step in steps)
        norms = np.full((len(steps), time), np.nan)
        for row, step in enumerate(steps):
            norms[row, : len(lines[step][name])] = lines[step][name]
        found[name] = (steps, norms)
    return found
