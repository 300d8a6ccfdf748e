"""The same run with several seeds."""

import dataclasses
import json
import signal
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.train.commands import EvaluateConfig, TaskCommands
from seqjax.train.processes import from_first, say
from seqjax.train.run_folder import SavedRun, new_folder, write_whole
from seqjax.train.training_loop import train

Scores = dict[str, float]


def repeat(
    task: TaskCommands, config: Any, load_run: Callable[[Path], SavedRun]
) -> signal.Signals | None:
    """A run for each of several seeds, and the mean and spread of their scores.

    Args:
      task: what to learn.
      config: the options, with the number of runs.
      load_run: reads what a run has written down of itself.

    Returns:
      The signal that stopped it, if any.
    """
    if config.resume is not None:
        raise InputError("--resume continues one run; leave --repeat out.")
    if not task.has_test_data(config):
        raise InputError("--repeat reports scores on test data: name files with --test.")
    folder = Path(from_first(lambda: str(new_folder(config.out, task.name))))
    found = []
    for seed in range(config.seed, config.seed + config.repeat):
        own = dataclasses.replace(config, seed=seed, repeat=1, out=folder / f"seed-{seed}")
        outcome = train(task.prepare(own, say, None), own)
        if outcome.stopped_by is not None:
            return outcome.stopped_by
        run = load_run(outcome.folder)
        found.append(task.evaluate(run, EvaluateConfig(outcome.folder), say).scores)
    from_first(lambda: save_results(folder, found))
    say(f"{config.repeat} seeds, mean and standard deviation:")
    for name, words in mean_and_spread(found).items():
        say(f"  {name.replace('_', ' '):28} {words}")
    return None


def mean_and_spread(found: Sequence[Scores]) -> dict[str, str]:
    """`"mean ± standard deviation (all values)"` of every score.

    Example:
      >>> from seqjax.train.repeat import mean_and_spread
      >>> mean_and_spread([{"accuracy": 0.5}, {"accuracy": 0.7}])
      {'accuracy': '0.6000 ± 0.1414 (0.5000, 0.7000)'}
    """
    words = {}
    for name in found[0]:
        values = [scores[name] for scores in found]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        each = ", ".join(f"{value:.4f}" for value in values)
        words[name] = f"{statistics.mean(values):.4f} ± {spread:.4f} ({each})"
    return words


def save_results(folder: Path, found: Sequence[Scores]) -> None:
    """Writes the scores of all runs to `results.json`."""
    write_whole(folder / "results.json", json.dumps(list(found), indent=2))
