"""Pictures of what a trained model does with its test data."""

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax import metrics
from seqjax.core.extras import extra_module
from seqjax.train.classification import Classification
from seqjax.train.forecasting import Forecasting
from seqjax.train.tagging import LETTERS, Tagging
from seqjax.train.transcription import Transcription
from seqjax.train.translation import TextReading
from seqjax.train.writing import Writing, no_special_tokens, written_tokens


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
    if isinstance(problem, Writing):
        return _of_writing(problem, model, encoded, outputs)
    if isinstance(problem, Transcription):
        return _of_transcription(problem, model, encoded)
    return _of_forecasting(problem, encoded, outputs)


def save_pictures(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Writes each figure as `NAME.png` below a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for name, figure in figures.items():
        # Columns may be called anything.
        paths.append(folder / (re.sub(r"[^\w.-]", "_", name) + ".png"))
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

    if problem.space:
        steps = len(encoded[0]["tags"])
        labels = [
            [problem.tags[number] for number in numbers[:steps].tolist()]
            for numbers in (outputs[0]["prediction"], encoded[0]["tags"])
        ]
        return {"frames": plots.frames_with_labels(_to_range(encoded[0]["inputs"]), *labels)}
    if problem.scheme is None or problem.characters is None:
        return {}
    # The sentence with the most tags that mark a span has most to show.
    outside = problem.numbers.get("O", -1)
    place = max(range(len(encoded)), key=lambda i: int((encoded[i]["tags"] != outside).sum()))
    steps = len(encoded[place]["tags"])

    def names(numbers):
        return [problem.tags[number] for number in numbers[:steps].tolist()]

    tokens = [_word(problem.characters, word) for word in encoded[place]["characters"]]
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


def _of_writing(problem: Writing, model, encoded, outputs) -> dict[str, Any]:
    from seqjax import plots

    figures = {}
    written = np.array(written_tokens(outputs[0]), np.int32)
    name = lambda token: _name(problem.vocabulary, token)  # noqa: E731
    inputs, says = encoded[0]["inputs"], problem.vocabulary.decode(written)
    if problem.beams > 1:
        found = model.search(
            inputs,
            max_length=problem.max_length,
            beams=problem.beams,
            length_penalty=problem.config.decoding.length_penalty,
            allowed=no_special_tokens(len(problem.vocabulary)),
        )
        # A sequence that has ended leaves the beams: after its last token it is not there.
        shown = max(1, len(written))
        figures["beams"] = plots.beam_tree(found.trace, name, chosen=written, steps=shown)
    if problem.config.model.attention != "none" and isinstance(problem.reading, TextReading):
        weights = np.asarray(model.alignment(inputs, written))
        source = [_name(problem.reading.vocabulary, token) for token in inputs.tolist()]
        target = [*map(name, written.tolist()), "end"]
        figures["alignment"] = plots.alignment(weights, source, target)
    if inputs.ndim == 4:
        figures["frames"] = plots.frames_with_labels(_to_range(inputs), title=says)
    if inputs.ndim == 3:
        figures["picture"] = plots.frames_with_labels(_to_range(inputs[None]), title=says)
    return figures


def _of_transcription(problem: Transcription, model, encoded) -> dict[str, Any]:
    from seqjax import plots

    inputs = encoded[0]["inputs"]
    probability = np.asarray(jax.nn.softmax(model(inputs[None])[0], -1))
    names = [_name(problem.vocabulary, token) for token in range(probability.shape[1])]
    return {"posteriors": plots.ctc_posteriors(probability, inputs, names)}


def _word(characters: Any, letters: np.ndarray) -> str:
    """A word from what the tagger reads of it: of long words, both ends."""
    known = letters[letters > 0]
    text = characters.decode(known).replace("\N{REPLACEMENT CHARACTER}", "?")
    half = len(text) // 2
    return text if len(known) < LETTERS else f"{text[:half]}…{text[half:]}"


def _name(vocabulary: Any, token: int) -> str:
    text: str = vocabulary.decode([token])
    return {" ": "\N{OPEN BOX}", "\n": "\N{RETURN SYMBOL}"}.get(text, text)


def _to_range(images: np.ndarray) -> np.ndarray:
    """Images of any range in 0..1, three channels or one."""
    images = images if images.shape[-1] in (1, 3) else images[..., :1]
    low, high = images.min(), images.max()
    return (images - low) / max(high - low, 1e-9)
