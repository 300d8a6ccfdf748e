"""The training loop: progress, validation, samples, checkpoints, exact resume."""

import hashlib
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.streams import check_length
from seqjax.data.vocabulary import BOUNDARY, Vocabulary
from seqjax.decode.sampling import generate
from seqjax.metrics import bits_per_character, compressed_bits_per_character
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import TrainConfig
from seqjax.train.devices import make_mesh
from seqjax.train.evaluation import Evaluator
from seqjax.train.logs import Logs
from seqjax.train.model import build_model, build_optimizer
from seqjax.train.run import load_settings, new_folder, save_settings
from seqjax.train.signals import StopSignals
from seqjax.train.step import StepMetrics, TrainState, make_train_step, place, start
from seqjax.train.texts import find_texts


class Outcome(NamedTuple):
    """How a run ended: at which step, on which signal if any, and its best validation."""

    folder: Path
    step: int
    stopped_by: signal.Signals | None
    bits_per_character: float | None


def train(config: TrainConfig, say: Callable[[str], None] = print) -> Outcome:
    """Trains a language model, or continues to, as the settings say.

    Args:
      config: the settings; with `resume`, those of the run that is continued.
      say: where lines for the user go.

    Returns:
      How it ended. The folder holds `config.json`, `vocabulary.json`, `checkpoints/`,
      `log.jsonl` and `tensorboard/`.

    Raises:
      InputError: if something the user gave cannot be used, or the loss is no number.
      OSError: if something cannot be written.
    """
    texts = find_texts(config.data, say)
    vocabulary = Vocabulary.of(text for _, text in texts.train)
    corpus = vocabulary.corpus(texts.train)
    check_length(corpus, config.data.batch, config.data.time)
    held_out = vocabulary.corpus(texts.held_out)
    digest = hashlib.sha256(corpus.tobytes() + b"|" + held_out.tobytes()).hexdigest()
    mesh = make_mesh(config.data.batch, config.devices)
    model = build_model(config.model, len(vocabulary), config.seed)
    optimizer = build_optimizer(config.optimization, config.steps)
    state = start(
        model,
        optimizer,
        len(corpus),
        config.data.batch,
        seed=config.seed,
        dtype=config.dtype,
        mesh=mesh,
    )

    if config.resume is None:
        folder = new_folder(config.out)
        save_settings(folder, config, vocabulary, {"name": texts.name, "sha256": digest})
    else:
        folder = config.resume
        saved = load_settings(folder)[2]
        if saved["sha256"] != digest:
            raise InputError(
                f"The text has changed since the run in {folder} began ({saved['name']}); an exact "
                "continuation needs the same. Restore it, or start a new run."
            )
    checkpoints = Checkpoints(folder / "checkpoints")
    if config.resume is not None:
        state = place(_latest(checkpoints, state, say), mesh)

    yardstick = compressed_bits_per_character("".join(text for _, text in texts.held_out))
    say(_summary(config, folder, texts, corpus, vocabulary, state, yardstick, mesh))
    evaluator = Evaluator(held_out, mesh, config.dtype)
    logs = Logs(folder, int(state.step))
    loop = _Loop(config, folder, vocabulary, checkpoints, evaluator, logs)
    step = make_train_step(optimizer, mesh, time=config.data.time, dtype=config.dtype)
    everywhere = jax.sharding.NamedSharding(mesh, jax.P())
    try:
        return loop.run(step, state, jax.device_put(corpus, everywhere), say)
    finally:
        logs.close()


def _latest(checkpoints: Checkpoints, state: TrainState, say: Callable) -> TrainState:
    """The newest state that can be read; the one given if nothing was saved yet."""
    problems = []
    for step in reversed(checkpoints.steps):
        try:
            return checkpoints.load(step, state)
        except InputError as error:
            problems.append(str(error))
            say(f"{error} Going back to the one before.")
    if problems:
        raise InputError(f"No checkpoint can be read. {problems[0]} Start a new run.")
    return state


class _Loop:
    def __init__(self, config, folder, vocabulary, checkpoints, evaluator, logs):
        self.config: TrainConfig = config
        self.folder: Path = folder
        self.vocabulary: Vocabulary = vocabulary
        self.checkpoints: Checkpoints = checkpoints
        self.evaluator: Evaluator = evaluator
        self.logs: Logs = logs
        self.best: float | None = None

    def run(self, train_step, state: TrainState, corpus, say) -> Outcome:
        # Imported here: the library works without tqdm.
        from tqdm import tqdm

        config = self.config
        first = int(state.step)
        characters = config.data.batch * config.data.time
        # On a CPU, steps queued up on several devices can each occupy a thread and wait for
        # one another for ever; waiting for every step costs nothing there.
        wait = jax.default_backend() == "cpu"
        pending: list[StepMetrics] = []
        saved_at = first
        step = first
        progress = tqdm(
            total=config.steps * characters,
            initial=first * characters,
            unit="char",
            unit_scale=True,
            dynamic_ncols=True,
            smoothing=0.05,
        )
        with StopSignals() as signals, progress:
            since = time.perf_counter()
            while step < config.steps and signals.received is None:
                state, metrics = train_step(state, corpus)
                if wait:
                    jax.block_until_ready(metrics.loss)
                step += 1
                pending.append(metrics)
                progress.update(characters)
                due = step % config.validate_every == 0 or step == config.steps
                if step % config.log_every == 0 or due:
                    seconds = time.perf_counter() - since
                    loss = self._log(step, state, pending, characters / seconds)
                    progress.set_postfix_str(f"{loss:.3f} bits/char")
                    pending, since = [], time.perf_counter()
                if due:
                    self._validate(step, state, progress.write)
                    saved_at, since = step, time.perf_counter()
            if signals.received is not None and step > saved_at:
                self._require_finite(state)
                self.checkpoints.save(step, state, None)
        if signals.received is not None:
            say(
                f"Stopped by {signals.received.name} after step {step}, and saved. Continue with: "
                f"seqjax train --resume {self.folder}"
            )
        return Outcome(self.folder, step, signals.received, self.best)

    def _log(self, step, state, pending: list[StepMetrics], rate: float) -> float:
        losses, norms = np.array(jax.device_get(pending), np.float64).T
        self._require_finite(state)
        clip = self.config.optimization.clip
        loss = bits_per_character(float(losses.mean()), 1)
        self.logs.write(
            step,
            train_bits_per_character=loss,
            gradient_norm=float(norms.mean()),
            share_clipped=float((norms > clip).mean()),
            characters_per_second=rate * len(pending),
        )
        return loss

    def _validate(self, step: int, state: TrainState, write: Callable[[str], None]) -> None:
        score = self.evaluator(state.model).bits_per_character
        self.best = score if self.best is None else min(self.best, score)
        self.logs.write(step, validation_bits_per_character=score)
        write(f"step {step:,}: {score:.4f} bits per character on held-out text")
        if self.config.sample:
            model = jax.device_put(jax.device_get(state.model), jax.local_devices()[0])
            text = self.vocabulary.decode(
                np.concatenate(
                    list(
                        generate(
                            model,
                            np.zeros(0, np.int32),
                            jax.random.fold_in(jax.random.key(self.config.seed), step),
                            length=self.config.sample,
                            boundary=BOUNDARY,
                            temperature=0.8,
                        )
                    )
                )
            )
            self.logs.write(step, sample=text)
            write("\n".join(f"    {line}" for line in text.strip().splitlines()))
        self._require_finite(state)
        self.checkpoints.save(step, state, score)

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


def _summary(config, folder, texts, corpus, vocabulary, state, yardstick, mesh) -> str:
    parameters = sum(leaf.size for leaf in jax.tree.leaves(state.model))
    held = ", ".join(document.name for document in texts.held_out)
    device = mesh.devices.flat[0]
    return "\n".join(
        [
            f"run         {folder}",
            f"text        {texts.name}: {len(corpus):,} characters in {len(texts.train)} "
            f"documents, {len(vocabulary)} symbols",
            f"held out    {held if len(held) < 200 else f'{len(texts.held_out)} documents'}",
            "yardstick   "
            + ", ".join(f"{name} {bits:.2f}" for name, bits in yardstick.items())
            + " bits per character on the held-out text",
            f"model       {config.model.layers} x {config.model.cell} of {config.model.features}, "
            f"{parameters:,} parameters, {config.dtype}",
            f"devices     {mesh.size} x {device.device_kind}, batch {config.data.batch}, "
            f"{config.data.time} characters each",
            f"steps       {int(state.step):,} of {config.steps:,} done",
        ]
    )
