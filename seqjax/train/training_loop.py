"""The training loop: progress, validation, samples, checkpoints, exact resume."""

import hashlib
import json
import signal
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax.training.early_stopping import EarlyStopping

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import RunConfig
from seqjax.train.connection import is_connected
from seqjax.train.devices import AXIS, make_mesh, on_one_device
from seqjax.train.diagnosis import Diagnose, sample_of, scalars, write_flow
from seqjax.train.logs import Logs
from seqjax.train.model import build_optimizer
from seqjax.train.online_task import OnlineTask, learned_by
from seqjax.train.processes import (
    begins,
    from_first,
    is_first,
    require_same,
    say,
    stop_signals,
    together,
)
from seqjax.train.run_folder import SavedRun, load_run, new_folder, save_run
from seqjax.train.short_runs import note_on_outcome, notes_on_steps
from seqjax.train.step import StepMetrics, TrainState, make_train_step, start
from seqjax.train.task import Task


class Outcome(NamedTuple):
    """How a run ended: at which step, on which signal if any."""

    folder: Path
    step: int
    stopped_by: signal.Signals | None


def train(task: Task, config: RunConfig, log: Callable[[str], None] = say) -> Outcome:
    """Trains a model, or continues a run, as the configuration says.

    Args:
      task: what to learn.
      config: the options; with `resume`, those of the run that is continued.
      log: where lines for the user go.

    Returns:
      How it ended. The folder holds `config.json`, `preprocessing.json`, `data.json`,
      `checkpoints/`, `log.jsonl` and `tensorboard/`.

    Raises:
      InputError: if something the user gave cannot be used, or the loss is no number.
      OSError: if something cannot be written.
    """
    preprocessing = json.dumps(task.preprocessing, sort_keys=True)
    content = hashlib.sha256(f"{task.digest}{preprocessing}".encode()).hexdigest()
    require_same({f"the digest of {task.data_name}": content[:12]})
    mesh = _mesh(task, config)
    optimizer = build_optimizer(config.optimization, config.steps)
    learned = learned_by(task, config)
    state = start(
        learned,
        optimizer,
        seed=config.seed,
        dtype=config.dtype,
        mesh=mesh,
        sharded=config.sharded,
    )
    data = {"name": task.data_name, "sha256": task.digest}
    if config.resume is None:
        folder = Path(from_first(lambda: str(new_folder(config.out, task.kind))))
    else:
        folder = config.resume
        saved = load_run(folder, {task.kind: type(config)}).data
        if saved["sha256"] != task.digest:
            raise InputError(
                f"The data has changed since the run in {folder} began ({saved['name']}); an exact "
                "continuation needs the same. Restore it, or start a new run."
            )
    checkpoints = Checkpoints(folder / "checkpoints")
    stopping = EarlyStopping(patience=max(0, config.patience - 1))
    if config.resume is not None:
        state, notes = _latest(checkpoints, state, log)
        stopping = stopping.replace(**notes)
    log(_summary(task, config, folder, state, mesh, learned))
    for line in notes_on_steps(config):
        log(line)
    logs = Logs(folder, int(state.step))
    loop = _Loop(task, config, folder, checkpoints, logs, stopping, task.evaluator(mesh))
    step = make_train_step(
        learned,
        optimizer,
        mesh,
        seed=config.seed,
        dtype=config.dtype,
        accumulate=config.accumulate,
        sharded=config.sharded,
    )
    try:
        if config.resume is None:
            if task.begin_with is not None:
                # Saved before there is a run, and once: what it began with may change, or go.
                loop.validate(0, state, log)
            saved = SavedRun(folder, task.kind, config, task.preprocessing, data)
            from_first(lambda: save_run(saved))
        return loop.run(step, state, mesh, log)
    finally:
        logs.close()


def _mesh(task: Task, config: RunConfig) -> jax.sharding.Mesh:
    """The devices, each of which takes its share of the batch in equal parts."""
    batch, parts = config.batch, config.accumulate
    rows = batch // parts if batch % parts == 0 and config.devices is None else batch
    mesh = make_mesh(rows, config.devices, time=config.time_devices, model=config.model_devices)
    if config.time_devices > 1 and not task.splits_time:
        raise InputError(
            f"--time-devices {config.time_devices}: `{task.kind}` splits batches and models, and "
            "only `lm` time."
        )
    share = batch // mesh.shape[AXIS]
    if share % parts:
        raise InputError(
            f"--accumulate {parts} does not divide the {share} sequences that each of "
            f"{mesh.shape[AXIS]} devices takes of --batch {batch}. Change one of them or --devices."
        )
    return mesh


def _latest(
    checkpoints: Checkpoints, state: TrainState, log: Callable
) -> tuple[TrainState, dict[str, float]]:
    """The newest state that can be read and the notes on it; the one given if there is none."""
    problems = []
    for step in reversed(checkpoints.steps):
        try:
            found = together(partial(checkpoints.load, step, state))
            return found, checkpoints.notes(step)
        except InputError as error:
            problems.append(str(error))
            log(f"{error} Going back to the one before.")
    if problems:
        raise InputError(f"No checkpoint can be read. {problems[0]} Start a new run.")
    return state, {}


class _Loop:
    def __init__(self, task, config, folder, checkpoints, logs, stopping, evaluate):
        self.task: Task = task
        self.config: RunConfig = config
        self.folder: Path = folder
        self.checkpoints: Checkpoints = checkpoints
        self.logs: Logs = logs
        self.stopping: EarlyStopping = stopping
        self.evaluate: Callable = evaluate
        self.diagnose = Diagnose(task, config.dtype)

    def run(self, train_step, state: TrainState, mesh, log) -> Outcome:
        tqdm: Any = extra_module("tqdm", "train").tqdm
        config, units = self.config, self.task.units
        # On a CPU, steps queued up on several devices can each occupy a thread and wait for
        # one another for ever; waiting for every step costs nothing there.
        wait = jax.default_backend() == "cpu"
        pending: list[StepMetrics] = []
        saved_at = step = int(state.step)
        progress = tqdm(
            total=config.steps * units,
            initial=step * units,
            unit=self.task.unit,
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.05,
            disable=not is_first(),
        )
        write = progress.write if is_first() else lambda line: None
        with stop_signals() as signals, progress:
            batches = self.task.batches(step, mesh)
            batch, since = next(batches), time.perf_counter()
            while step < config.steps and not self._tired and signals.goes_on(step + 1):
                begins(step + 1)
                state, metrics = train_step(state, batch)
                # The next batch is made while the devices work on this one.
                batch = next(batches)
                if wait:
                    jax.block_until_ready(metrics.loss)
                step += 1
                if config.diagnose and step % config.diagnose == 0:
                    self._diagnose(step, state, batch)
                pending.append(metrics)
                progress.update(units)
                due = step % config.validate_every == 0 or step == config.steps
                if step % config.log_every == 0 or due:
                    rate = len(pending) * units / (time.perf_counter() - since)
                    progress.set_postfix_str(self._log(step, state, pending, rate))
                    pending, since = [], time.perf_counter()
                if due:
                    self.validate(step, state, write)
                    saved_at, since = step, time.perf_counter()
            if signals.received is not None and step > saved_at:
                self._require_finite(state)
                self._save(step, state, None)
        if signals.received is not None:
            log(
                f"Stopped by {signals.received.name} after step {step}, and saved. Continue with: "
                f"seqjax train --resume {self.folder}"
            )
        elif step < config.steps:
            log(
                f"Stopped after step {step:,}: --patience {config.patience} validations in a row "
                "were no better than the one before them."
            )
        outcome = note_on_outcome(self.task.criterion, self.stopping.best_metric, step)
        if signals.received is None and outcome:
            log(outcome)
        return Outcome(self.folder, step, signals.received)

    @property
    def _tired(self) -> bool:
        return bool(self.config.patience) and self.stopping.should_stop

    def _log(self, step, state, pending: list[StepMetrics], rate: float) -> str:
        losses, norms = np.array(jax.device_get(pending), np.float64).T
        self._require_finite(state)
        clip = self.config.optimization.clip
        metrics = self.task.training_metrics(float(losses.mean()))
        speed = {f"{self.task.unit}s_per_second": rate}
        self.logs.write(
            step,
            **metrics,
            gradient_norm=float(norms.mean()),
            share_clipped=float((norms > clip).mean()),
            **speed,
        )
        name, value = next(iter(metrics.items()))
        return f"{name.removeprefix('train_').replace('_', ' ')} {value:.3f}"

    def _diagnose(self, step: int, state, batch) -> None:
        model, memory, batch = on_one_device((state.model, state.memory, batch))
        if not is_first():
            return
        sample = sample_of(self.task, memory, batch, step, self.config.seed)
        found = self.diagnose(model, sample)
        self.logs.write(step, **scalars(found))
        write_flow(self.folder, step, found)

    def validate(self, step: int, state: TrainState, write: Callable[[str], None]) -> None:
        """Scores a state, logs and saves it."""
        # Processors that round differently must not disagree on which step is the best.
        found = self.evaluate(state.model)
        scores = from_first(lambda: {name: float(value) for name, value in found.items()})
        criterion = self.task.criterion
        cost = criterion.cost(scores[criterion.name])
        self.logs.write(step, **{f"validation_{name}": value for name, value in scores.items()})
        words = ", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in scores.items())
        write(f"step {step:,}: {words} in validation")
        if step == self.config.steps:
            for line in self.task.verdict(scores):
                write(line)
        model = on_one_device(state.model)
        sample = self.task.sample(model, step) if is_first() else None
        if sample is not None:
            self.logs.write(step, sample=sample)
            write("\n".join(f"    {line}" for line in sample.strip().splitlines()))
        self._require_finite(state)
        self.stopping = self.stopping.update(cost)
        self._save(step, state, cost)

    def _save(self, step: int, state: TrainState, cost: float | None) -> None:
        fields = ("best_metric", "patience_count", "should_stop", "has_improved")
        notes = {field: getattr(self.stopping, field) for field in fields}
        self.checkpoints.save(step, state, cost, notes)

    def _require_finite(self, state: TrainState) -> None:
        broken = int(state.broken_at)
        if broken < 0:
            return
        steps = self.checkpoints.steps
        kept = (
            f"The last good checkpoint is that of step {steps[-1]}."
            if steps
            else ("No checkpoint was written before it.")
        )
        raise InputError(
            f"The loss or its gradient became NaN or inf at step {broken}, so training stopped. "
            f"{kept} Start again with a smaller --learning-rate (now "
            f"{self.config.optimization.learning_rate}) or --clip (now "
            f"{self.config.optimization.clip}), or with --dtype float32."
        )


def _summary(task: Task, config: RunConfig, folder, state: TrainState, mesh, learned: Any) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.model))
    device = mesh.devices.flat[0]
    hosts = f" of {jax.process_count()} processes" if is_connected() else ""
    lines = [
        ("run", folder),
        *task.summary(),
        ("model", f"{parameters:,} parameters, {config.dtype}"),
        *([learned.summary(state.model)] if isinstance(learned, OnlineTask) else []),
        ("devices", f"{mesh.size} x {device.device_kind}{hosts}, batch {config.batch}"),
        ("steps", f"{int(state.step):,} of {config.steps:,} done"),
    ]
    return "\n".join(f"{name:11} {value}" for name, value in lines)
