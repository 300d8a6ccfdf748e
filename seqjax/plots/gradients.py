"""Plots of the diagnostics of `seqjax.gradients`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, shorten

STYLES = ("-", "--", ":", "-.")
LONGEST_NAME = 34


def gradient_flow(flows: Sequence[Any], *, what: str = "carry", every: int | None = None) -> Any:
    """The norm of the loss's gradient at every step, a line per layer.

    The norm is the root mean square over the batch. A line that falls towards the left is a
    vanishing gradient, one that rises an exploding gradient.

    Args:
      flows: from `seqjax.gradients.gradient_flow` or `model_flow`.
      what: `"carry"` or `"inputs"`.
      every: the truncation length, drawn as vertical lines.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is nothing to draw.
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.gradients import LayerFlow
      >>> from seqjax.plots import gradient_flow
      >>> norms = 0.9 ** np.arange(20)[::-1]
      >>> figure = gradient_flow([LayerFlow("1 elman(8)", norms, norms)])
      >>> figure.axes[0].get_yscale()
      'log'
    """
    if not flows:
        raise ValueError("gradient_flow: there is no layer with a state.")
    if what not in ("carry", "inputs"):
        raise ValueError(f"gradient_flow: `what` must be 'carry' or 'inputs', got {what!r}.")
    figure = new_figure(7.0, 3.4, layout="constrained")
    axes = figure.subplots()
    most = 1
    for number, flow in enumerate(flows):
        norms = over_batch(getattr(flow, what))
        most = max(most, len(norms))
        shade = str(0.6 * number / max(1, len(flows) - 1))
        axes.plot(
            np.arange(len(norms)),
            np.where(norms > 0, norms, np.nan),
            color=shade,
            linestyle=STYLES[number % len(STYLES)],
            label=shorten(flow.name, LONGEST_NAME),
        )
    if every is not None:
        for step in range(every, most, every):
            axes.axvline(step - 0.5, color="0.8", linewidth=0.8, zorder=0)
    axes.set_yscale("log")
    axes.set_xlabel("step")
    state = {"carry": "the state before it", "inputs": "its input"}[what]
    axes.set_ylabel(f"gradient of the loss\nby {state} (norm)")
    axes.get_xaxis().get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return figure


def gradient_map(norms: Any, steps: Sequence[int], *, name: str = "") -> Any:
    """The gradient flow during training: steps of the sequence by steps of training.

    Args:
      norms: `(training times, time)`, each row from `LayerFlow.carry`; NaN beyond the end of
        shorter sequences.
      steps: of training, one per row, ascending.
      name: of the layer.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.plots import gradient_map
      >>> gradient_map(np.ones((3, 20)), [100, 200, 300], name="lstm(8)").axes[0].get_title()
      'lstm(8)'
    """
    norms = np.asarray(norms, np.float64)
    if norms.ndim != 2 or len(steps) != len(norms) or not norms.size:
        raise ValueError(
            "gradient_map: expected norms (training times, time) and a step for each time; got "
            f"{norms.shape} and {len(steps)} steps."
        )
    figure = new_figure(7.0, 3.4, layout="constrained")
    from matplotlib.colors import LogNorm

    axes = figure.subplots()
    known = norms[np.isfinite(norms) & (norms > 0)]
    high = known.max() if known.size else 1.0
    low = max(known.min() if known.size else 1.0, 1e-8 * high)
    image = axes.imshow(
        np.where(norms > 0, norms, np.nan).clip(min=low),
        cmap="Greys",
        aspect="auto",
        interpolation="nearest",
        norm=LogNorm(low, max(high, 1.01 * low)),
    )
    shown = np.unique(np.linspace(0, len(steps) - 1, min(8, len(steps))).round().astype(int))
    axes.set_yticks(shown, [f"{steps[row]:,}" for row in shown])
    axes.get_xaxis().get_major_locator().set_params(integer=True)
    axes.set_xlabel("step of the sequence")
    axes.set_ylabel("step of the training")
    axes.set_title(shorten(name, 2 * LONGEST_NAME), fontsize=10)
    figure.colorbar(image, label="gradient by the state (norm)")
    return figure


def gates(found: Sequence[Any]) -> Any:
    """The mean and the saturation of each gate.

    The length of a bar is the range of a gate: black is the share saturated at the lower end, grey
    the share saturated at the upper end; a white line with a black edge is the mean.

    Args:
      found: from `seqjax.gradients.activations` or `model_activations`.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is nothing to draw.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.gradients import Activation
      >>> from seqjax.plots import gates
      >>> figure = gates([Activation("1 gru(4)", "reset", "sigmoid", 0.5, 0.1, 0.2)])
      >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
      ['reset']
    """
    if not found:
        raise ValueError("gates: there is no sigmoid and no tanh to draw.")
    layers = list(dict.fromkeys(gate.layer for gate in found))
    by_layer = [[gate for gate in found if gate.layer == layer] for layer in layers]
    sizes = [len(group) for group in by_layer]
    figure = new_figure(6.4, 0.34 * sum(sizes) + 0.5 * len(sizes) + 0.6, layout="constrained")
    every = figure.subplots(len(layers), 1, sharex=True, height_ratios=sizes, squeeze=False)[:, 0]
    for axes, layer, group in zip(every, layers, by_layer, strict=True):
        for row, gate in enumerate(group):
            low, high = float(gate.low), float(gate.high)
            axes.barh(-row, 1.0, height=0.7, color="0.93")
            axes.barh(-row, low, height=0.7, color="0.15")
            axes.barh(-row, high, left=1 - high, height=0.7, color="0.55")
            start = {"sigmoid": 0.0, "tanh": -1.0}[gate.kind]
            mean = (float(gate.mean) - start) / (1 - start)
            axes.plot([mean] * 2, [-row - 0.35, -row + 0.35], color="black", linewidth=3.4)
            axes.plot([mean] * 2, [-row - 0.35, -row + 0.35], color="white", linewidth=1.4)
        axes.set_yticks([-row for row in range(len(group))], [gate.name for gate in group])
        axes.set_title(shorten(layer, 2 * LONGEST_NAME), fontsize=9, loc="left")
        axes.set_xlim(0, 1)
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
    every[-1].set_xlabel(
        "share of values saturated low (black, from the left), high (grey, from the right);\n"
        "line: mean, from the lowest value on the left to the highest on the right",
        fontsize=8,
    )
    return figure


def influence(by_lag: Mapping[str, Any], *, fraction: float = 0.01) -> Any:
    """The influence of an input on the output by lag, a line per layer or cell.

    Args:
      by_lag: names and `(*batch, time)` each, `by_lag` of `seqjax.gradients.effective_memory`.
      fraction: of the largest influence, drawn as a horizontal line.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if there is nothing to draw.
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.plots import influence
      >>> influence({"elman(8)": 0.5 ** np.arange(9)}).axes[0].get_xlabel()
      'steps ago'
    """
    if not by_lag:
        raise ValueError("influence: there is nothing to draw.")
    figure = new_figure(7.0, 3.2, layout="constrained")
    axes = figure.subplots()
    for number, (name, values) in enumerate(by_lag.items()):
        line = over_batch(values)
        line = line / max(line.max(), np.finfo(float).tiny)
        axes.plot(
            np.arange(len(line)),
            np.where(line > 0, line, np.nan),
            color=str(0.6 * number / max(1, len(by_lag) - 1)),
            linestyle=STYLES[number % len(STYLES)],
            label=shorten(name, LONGEST_NAME),
        )
    axes.axhline(fraction, color="0.7", linewidth=0.8, zorder=0)
    axes.set_yscale("log")
    axes.set_ylim(bottom=1e-3 * fraction)
    axes.set_xlabel("steps ago")
    axes.set_ylabel("influence on the last output\n(share of the largest)")
    axes.get_xaxis().get_major_locator().set_params(integer=True)
    axes.legend(frameon=False, fontsize=8)
    return figure


def truncation_cost(cost: Any) -> Any:
    """The angle and the ratio of norms between truncated and full gradient, by truncation length.

    Args:
      cost: from `seqjax.gradients.truncation_cost`.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.gradients import TruncationCost
      >>> from seqjax.plots import truncation_cost
      >>> cost = TruncationCost(np.array([1, 8]), np.array([0.4, 0.9]), np.array([0.2, 0.8]))
      >>> truncation_cost(cost).axes[0].get_xlabel()
      'truncation length (steps)'
    """
    figure = new_figure(5.6, 3.2, layout="constrained")
    axes = figure.subplots()
    axes.plot(cost.every, cost.cosine, "o-", color="black", label="cosine of the angle")
    axes.plot(
        cost.every, cost.norm_ratio, "s--", color="0.5", label="norm over that of the full one"
    )
    axes.axhline(1.0, color="0.8", linewidth=0.8, zorder=0)
    axes.set_xscale("log", base=2)
    axes.set_xticks(cost.every, [str(steps) for steps in cost.every])
    axes.minorticks_off()
    axes.set_ylim(bottom=min(0.0, *cost.cosine))
    axes.set_xlabel("truncation length (steps)")
    axes.legend(frameon=False, fontsize=8)
    return figure


def gradient_norms(steps: Any, norms: Any, *, clip: float | None = None) -> Any:
    """The norm of the gradient before clipping during training.

    Args:
      steps: of training.
      norms: one per step.
      clip: the maximum norm, drawn as a horizontal line.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import gradient_norms
      >>> gradient_norms([50, 100], [3.0, 0.7], clip=1.0).axes[0].get_xlabel()
      'step of the training'
    """
    steps, norms = np.asarray(steps), np.asarray(norms, np.float64)
    if steps.shape != norms.shape or steps.ndim != 1:
        raise ValueError(
            "gradient_norms: expected as many norms as steps; got shapes "
            f"{norms.shape} and {steps.shape}."
        )
    figure = new_figure(7.0, 2.8, layout="constrained")
    axes = figure.subplots()
    axes.plot(steps, norms, color="black", linewidth=1.1)
    if clip is not None:
        axes.axhline(clip, color="0.5", linestyle="--", label=f"clipped at {clip:g}")
        axes.legend(frameon=False, fontsize=8)
    axes.set_yscale("log")
    axes.set_xlabel("step of the training")
    axes.set_ylabel("norm of the gradient")
    return figure


def over_batch(values: Any) -> np.ndarray:
    """The root mean square over the batch of `(*batch, time)`: `(time,)`."""
    values = np.asarray(values, np.float64)
    return np.sqrt(np.square(values.reshape(-1, values.shape[-1])).mean(0))
