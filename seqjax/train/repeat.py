"""The same run with several seeds."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path

from seqjax.train.run_folder import write_whole

Scores = dict[str, float]


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
