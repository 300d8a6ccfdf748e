"""The label posteriors of a CTC model over its input."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure

STYLES = ("-", "--", ":", "-.")


def ctc_posteriors(
    probability: Any,
    values: Any,
    names: Sequence[Any],
    *,
    blank: int = 0,
    least: float = 0.3,
    time_label: str = "time (steps)",
) -> Any:
    """The posterior probabilities of labels below the input.

    Above is the input, below a curve for each label whose probability ever exceeds `least`, named
    at its peaks, and the blank token in light grey.

    Args:
      probability: `(time, symbols)`, each row summing to 1.
      values: `(time, channels)`, the input; drawn as an image, channels downwards.
      names: of the labels and the blank token.
      blank: the blank token.
      least: labels that stay below this probability are not drawn.
      time_label: label of the time axis.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import ctc_posteriors
      >>> figure = ctc_posteriors([[0.9, 0.1], [0.2, 0.8]], [[0.0], [1.0]], ["", "a"])
      >>> [text.get_text() for text in figure.axes[1].texts]
      ['a']
    """
    probability, values = np.asarray(probability, np.float64), np.asarray(values, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if probability.ndim != 2 or values.ndim != 2 or len(probability) != len(values):
        raise ValueError(
            "ctc_posteriors: expected probabilities (time, symbols) and values (time, channels); "
            f"got {probability.shape} and {values.shape}."
        )
    if len(names) != probability.shape[1]:
        raise ValueError(
            f"ctc_posteriors: expected a name for each of the {probability.shape[1]} symbols, got "
            f"{len(names)}."
        )
    time, channels = values.shape
    figure = new_figure(max(6.0, 0.11 * time + 1.5), 3.6, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1.0, 1.6])
    x = np.arange(time)
    if channels == 1:
        upper.plot(x, values[:, 0], color="black", linewidth=1.1)
    else:
        upper.imshow(values.T, cmap="Greys", aspect="auto", interpolation="nearest")
        upper.set_yticks([])
    upper.set_ylabel("input")
    lower.fill_between(x, probability[:, blank], color="0.88", step="mid", label="blank")
    for number, name in enumerate(names):
        curve = probability[:, number]
        if number == blank or curve.max() < least:
            continue
        style = STYLES[number % len(STYLES)]
        lower.plot(x, curve, color="black", linewidth=1.1, linestyle=style)
        for start, stop in _stretches(curve >= least):
            peak = start + int(curve[start:stop].argmax())
            lower.text(peak, curve[peak] + 0.03, str(name), ha="center", va="bottom", fontsize=9)
    lower.set_ylim(0, 1.18)
    lower.set_xlim(-0.5, time - 0.5)
    lower.set_yticks([0, 0.5, 1])
    lower.set_ylabel("probability")
    lower.set_xlabel(f"{time_label}; grey: blank")
    figure.align_ylabels()
    return figure


def _stretches(flags: np.ndarray) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(int), [0]])))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
