"""Pictures of what a trained model does with its test data."""

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax import metrics
from seqjax.core.extras import extra_module
from seqjax.train.classification import Classification
from seqjax.train.forecasting import Forecasting
from seqjax.train.tagging import Tagging


def pictures(problem: Any, model: Any, encoded: Any, outputs: Any) -> dict[str, Any]:
    """Matplotlib figures by name: those that suit the problem.

    Args:
      problem: what was asked.
      model: the trained model.
      encoded: the examples.
      outputs: what the model answered to them.
    """
    extra_module("matplotlib", "plot")
    if isinstance(problem, Classification):
        return _of_classification(problem, model, encoded, outputs)
    if isinstance(problem, Tagging):
        return _of_tagging(problem, encoded, outputs)
    return _of_forecasting(problem, encoded, outputs)


def save_pictures(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Writes each figure as `NAME.png` below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        paths.append(folder / f"{name}.png")
        figure.savefig(paths[-1], dpi=150)
    return paths


def _of_classification(problem: Classification, model, encoded, outputs) -> dict[str, Any]:
    from seqjax import plots

    figures = {}
    if problem.target == "class":
        matrix = metrics.confusion_matrix(
            jnp.stack([output["prediction"] for output in outputs]),
            jnp.stack([example["target"] for example in encoded]),
            classes=len(problem.labels),
        )
        figures["confusion"] = plots.confusion_matrix(matrix.counts, problem.labels)
    if model.attention is not None and problem.vocabulary is None:
        values = encoded[0]["inputs"]
        weights = np.asarray(model.weights(values[None]))[0]
        figures["attention"] = plots.attention_over_series(values, weights)
    return figures


def _of_tagging(problem: Tagging, encoded, outputs) -> dict[str, Any]:
    from seqjax import plots

    if problem.scheme is None or problem.characters is None:
        return {}
    # The sentence with the most tags that mark a span has most to show.
    outside = problem.numbers.get("O", -1)
    place = max(range(len(encoded)), key=lambda i: int((encoded[i]["tags"] != outside).sum()))
    steps = len(encoded[place]["tags"])

    def names(numbers):
        return [problem.tags[number] for number in numbers[:steps].tolist()]

    written = encoded[place]["characters"]
    tokens = [problem.characters.decode(word[word > 0]) for word in written]
    spans = [
        metrics.find_spans(names(tags), problem.scheme)
        for tags in (outputs[place]["prediction"], encoded[place]["tags"])
    ]
    return {"spans": plots.spans_over_text(tokens, *spans)}


def _of_forecasting(problem: Forecasting, encoded, outputs) -> dict[str, Any]:
    from seqjax import plots

    figures = {}
    example, output = encoded[len(encoded) // 2], outputs[len(encoded) // 2]
    shown = min(problem.history, 8 * problem.horizon)
    for target, name in enumerate(problem.names):
        figures[f"forecast_{name}"] = plots.forecast(
            example["history"][-shown:, target],
            output["quantiles"][:, target],
            problem.config.model.levels,
            truth=example["future"][:, target],
            value_label=name,
        )
    return figures
