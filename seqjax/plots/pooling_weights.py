"""The weights of attention pooling over a series."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, plot_with_gaps, shorten, time_ticks

LONGEST_NAME = 20
LINE = {"color": "black", "linewidth": 1.1}


def attention_over_series(
    values: Any,
    weights: Any,
    channels: Sequence[Any] | None = None,
    times: Any = None,
    *,
    value_label: str = "value",
    time_label: str | None = None,
) -> Any:
    """A series with the weights of attention pooling below.

    The channels are stacked, each scaled to its own range; the background is darker where the
    weight is larger, and the bars below are the weights themselves.

    Args:
      values: `(time, channels)`, or `(time,)` for one channel, which keeps its unit; NaN is a gap.
        Without padding.
      weights: `(time,)`, the weight of each step.
      channels: their names; numbers by default.
      times: `(time,)`, numbers or `datetime64`, ascending; None counts steps.
      value_label: quantity and unit of a single channel.
      time_label: quantity and unit of the times.

    Returns:
      A `matplotlib.figure.Figure`, higher for more channels.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import attention_over_series
      >>> figure = attention_over_series([[1, 5], [2, 5], [4, 6]], [0.1, 0.1, 0.8], ["x", "y"])
      >>> [axes.get_ylabel() for axes in figure.axes]
      ['channels (scaled)', 'attention weight']
    """
    values, weights = np.asarray(values, np.float64), np.asarray(weights, np.float64)
    if values.ndim == 1:
        values = values[:, None]
    if values.ndim != 2 or not values.size or weights.shape != values.shape[:1]:
        raise ValueError(
            "attention_over_series: expected values (time, channels) and a weight for each step; "
            f"got shapes {values.shape} and {weights.shape}."
        )
    time, width = values.shape
    if channels is not None and len(channels) != width:
        raise ValueError(
            f"attention_over_series: expected a name for each of the {width} channels, got "
            f"{len(channels)}."
        )
    if times is not None and np.shape(times) != (time,):
        raise ValueError(
            f"attention_over_series: expected {time} times, got shape {np.shape(times)}."
        )
    x = np.arange(time) if times is None else np.asarray(times)
    edges = _edges(x)

    height = max(1.7, 0.42 * width)
    figure = new_figure(8.0, height + 2.1, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[height, 1.3])
    # The lighter half of the greys, on which lines stay legible.
    darkness = 0.5 * weights / max(weights.max(), np.finfo(float).tiny)
    for start, stop, shade in zip(edges[:-1], edges[1:], darkness, strict=True):
        upper.axvspan(start, stop, color=str(1 - shade), linewidth=0)
    if width == 1:
        plot_with_gaps(upper, x, values[:, 0], **LINE)
        upper.set_ylabel(value_label)
    else:
        _stack(upper, x, values, channels or range(width))
    lower.bar(
        edges[:-1],
        weights,
        np.diff(edges),
        align="edge",
        color="0.35",
        edgecolor="white",
        linewidth=0.3,
    )
    lower.set_ylabel("attention weight")
    lower.set_ylim(bottom=0)
    lower.set_xlim(edges[0], edges[-1])
    time_ticks(lower, x)
    lower.set_xlabel(time_label or ("time (steps)" if times is None else "time"))
    figure.align_ylabels()
    return figure


def _stack(axes: Any, x: np.ndarray, values: np.ndarray, names: Sequence[Any]) -> None:
    """Channels `(time, channels)` above each other, the first on top."""
    width = values.shape[1]
    for row, channel in enumerate(values.T):
        plot_with_gaps(axes, x, width - 1 - row + 0.8 * _to_range(channel), **LINE)
    names = [shorten(name, LONGEST_NAME) for name in names]
    axes.set_yticks(range(width), names[::-1], fontsize=8)
    axes.set_ylim(-0.6, width - 0.4)
    axes.set_ylabel("channels (scaled)")


def _to_range(channel: np.ndarray) -> np.ndarray:
    """Scaled to [-1/2, 1/2]; a constant channel lies in the middle."""
    known = channel[np.isfinite(channel)]
    if not known.size or known.min() == known.max():
        return np.where(np.isfinite(channel), 0.0, np.nan)
    return (channel - known.min()) / (known.max() - known.min()) - 0.5


def _edges(x: np.ndarray) -> np.ndarray:
    """The edges of the bars, halfway between steps."""
    if len(x) == 1:
        half = np.timedelta64(12, "h") if np.issubdtype(x.dtype, np.datetime64) else 0.5
        return np.array([x[0] - half, x[0] + half])
    halves = np.diff(x) / 2
    if np.issubdtype(x.dtype, np.datetime64):
        x = x.astype("datetime64[ns]")
        halves = np.diff(x) // 2
    return np.concatenate([[x[0] - halves[0]], x[:-1] + halves, [x[-1] + halves[-1]]])
