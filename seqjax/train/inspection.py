"""Gradients, states and gates of a trained model, in words and pictures."""

import dataclasses
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.steps import Run
from seqjax.core.trees import cast, floats
from seqjax.gradients import (
    Activation,
    Layer,
    Lyapunov,
    model_first_not_finite,
    model_truncation_cost,
    with_hook,
)
from seqjax.gradients.activations import STUCK
from seqjax.gradients.influence import Influence, layer_influence
from seqjax.gradients.lyapunov import FACTOR, layer_exponents
from seqjax.train.devices import make_mesh
from seqjax.train.diagnosis import Diagnose, Diagnosis, read_flows, sample_of
from seqjax.train.run_folder import SavedRun, load_model
from seqjax.train.task import Task

FRACTION = 0.01
"""An input that moves the output by less than this share of the most is forgotten."""

STUCK_SHARE = 0.5
"""Gates of which more is stuck than this share of their values are named."""


@dataclasses.dataclass(frozen=True)
class InspectConfig:
    """Diagnoses gradients, states and gates of a trained model, in words and pictures."""

    run: Path
    """Folder of the run."""
    checkpoint: str = "best"
    """best, last, or the number of a step."""
    pictures: bool = True
    """Save figures in the folder of the run, below pictures/."""


class LayerReport(NamedTuple):
    """What was found of one layer that has a state."""

    name: str
    steps: int
    lyapunov: Lyapunov
    influence: Influence

    def lines(self) -> list[str]:
        """The verdict in words."""
        exponent = float(jnp.nanmean(self.lyapunov.exponents[..., 0]))
        verdict = self.lyapunov.verdict(self.steps)
        if exponent == 0:
            pace = "a change of the state stays as it is"
        else:
            steps = f"{math.log(FACTOR) / abs(exponent):,.0f} steps"
            does = "fades to a hundredth" if exponent < 0 else "grows a hundredfold"
            pace = f"a change of the state {does} in {steps}"
        reach = int(self.influence.over_batch().steps(FRACTION))
        return [
            f"gradient {verdict} over {self.steps} steps: {pace} (Lyapunov exponent "
            f"{exponent:+.4f})",
            f"memory of {reach} step{'s' * (reach != 1)}: inputs further back move its output by "
            "less than a hundredth of the most",
        ]


class Inspection(NamedTuple):
    """What was found of a run: lines to print, and pictures by name."""

    lines: list[str]
    draw: Callable[[], dict[str, Any]]


def inspect(task: Task, run: SavedRun, config: InspectConfig) -> Inspection:
    """Diagnoses a trained model by some sequences of its training data.

    Args:
      task: of the run, with its data.
      run: that is looked at.
      config: of the command.
    """
    trained: Any = run.config
    model, step = load_model(
        run, lambda: task.cast(task.model(trained.seed), run.stored_as), config.checkpoint
    )
    model = cast(model, jnp.float32)
    memory = task.start(model, trained.seed)
    batch = next(task.batches(0, make_mesh(trained.batch, 1)))
    sample = sample_of(task, memory, batch, 0, trained.seed)

    def loss(model: Any) -> Any:
        total, weight, _ = task.loss(model, sample.memory, sample.batch, sample.keys)
        return total / jnp.maximum(weight, 1)

    lines = [f"{task.data_name}; checkpoint of step {step:,}, {len(sample.keys)} sequences sampled"]
    broken = model_first_not_finite(model, loss)
    if broken is not None:
        lines.append(
            f"a number breaks: NaN or inf first at step {broken.step} of the sequence, in layer "
            f"{broken.layer}, {broken.name}"
        )
        return Inspection(lines, dict)
    found = Diagnose(task, "float32")(model, sample)
    reports = layer_reports(model, loss)
    for report in reports:
        lines.append(f"layer {report.name}")
        own = [gate for gate in found.gates if gate.layer == report.name]
        lines += [f"  {line}" for line in (*report.lines(), *_gates_in_words(own))]
    time = max((report.steps for report in reports), default=1)
    every = [2**power for power in range(10) if 2**power < time]
    cost = model_truncation_cost(model, loss, every) if every else None
    if cost is not None:
        lines += _truncation_in_words(cost, time)
    history = read_history(config.run)
    lines += _clipping_in_words(history, trained.optimization.clip)

    def draw() -> dict[str, Any]:
        return _pictures(config.run, found, reports, cost, history, trained.optimization.clip)

    return Inspection(lines, draw)


def layer_reports(model: Any, loss: Callable[[Any], Any]) -> list[LayerReport]:
    """What each recurrent layer of a model does with its state when the loss is computed."""
    layers: list[Layer] = []

    def hook(layer: Layer) -> Run:
        if floats(layer.carry):
            layers.append(layer)
        return layer.run()

    loss(with_hook(model, hook))
    key = jax.random.key(0)
    return [
        LayerReport(
            layer.name,
            int(layer.counts.sum(0).max()),
            jax.jit(lambda key, layer=layer: layer_exponents(layer, key))(key),
            jax.jit(lambda key, layer=layer: layer_influence(layer, key))(key),
        )
        for layer in layers
    ]


class History(NamedTuple):
    """The gradient norms before clipping that a run has logged, means over `log_every` steps."""

    steps: np.ndarray
    norms: np.ndarray
    clipped: np.ndarray


def read_history(folder: Path) -> History:
    """From the run's `log.jsonl`."""
    entries = []
    path = folder / "log.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            entry = json.loads(line)
        except ValueError:  # Cut short by a kill.
            continue
        if "gradient_norm" in entry:
            entries.append((entry["step"], entry["gradient_norm"], entry["share_clipped"]))
    steps, norms, clipped = np.array(entries, np.float64).reshape(-1, 3).T
    return History(steps.astype(int), norms, clipped)


def _gates_in_words(gates: list[Activation]) -> list[str]:
    lines = []
    for gate in gates:
        stuck = [
            f"{float(share):.0%} stuck {side}"
            for share, side in ((gate.low, "low"), (gate.high, "high"))
            if share > STUCK_SHARE
        ]
        if stuck:
            lines.append(
                f"{gate.name} saturated: {' and '.join(stuck)} (within {STUCK:.0%} of an end of "
                f"its range), mean {float(gate.mean):.2f}"
            )
    return lines or (["no gate saturated"] if gates else [])


def _truncation_in_words(cost: Any, time: int) -> list[str]:
    close = [int(steps) for steps, same in zip(cost.every, cost.cosine, strict=True) if same > 0.99]
    if not close:
        return [
            f"truncation: the gradient needs nearly all of the {time} steps; cut every "
            f"{int(cost.every[-1])} it points elsewhere (cosine {cost.cosine[-1]:.3f}, below 0.99)"
        ]
    return [
        f"truncation: cut every {close[0]} steps, the gradient of the parameters still points the "
        f"same way (cosine above 0.99) as over all {time}"
    ]


def _clipping_in_words(history: History, clip: float) -> list[str]:
    if not len(history.steps):
        return []
    share = float(history.clipped.mean())
    advice = ""
    if share > 0.9:
        advice = "; nearly all: --clip sets the pace, not --learning-rate"
    return [
        f"clipping: {share:.0%} of the steps at --clip {clip:g}; norm before it "
        f"{history.norms[-1]:.3g} at the end, {history.norms.max():.3g} at most{advice}"
    ]


def _pictures(
    folder: Path,
    found: Diagnosis,
    reports: list[LayerReport],
    cost: Any,
    history: History,
    clip: float,
) -> dict[str, Any]:
    from seqjax import plots

    figures = {}
    if found.flows:
        figures["gradient_flow"] = plots.gradient_flow(found.flows)
    if found.gates:
        figures["gates"] = plots.gates(found.gates)
    if reports:
        by_lag = {report.name: report.influence.over_batch().by_lag for report in reports}
        figures["influence"] = plots.influence(by_lag, fraction=FRACTION)
    if cost is not None:
        figures["truncation"] = plots.truncation_cost(cost)
    if len(history.steps):
        figures["gradient_norms"] = plots.gradient_norms(history.steps, history.norms, clip=clip)
    for name, (steps, norms) in read_flows(folder).items():
        figures[f"gradient_map_{name}"] = plots.gradient_map(norms, steps, name=name)
    return figures
