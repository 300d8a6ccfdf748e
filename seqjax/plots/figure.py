"""Figures and axes that all plots share."""

import functools
import io
from typing import Any

import numpy as np

from seqjax.core.extras import extra_module


def new_figure(width: float, height: float, **options: Any) -> Any:
    """A `Figure` of `width` by `height` inches, unknown to pyplot, which notebooks display.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    figure: Any = extra_module("matplotlib.figure", "plot").Figure(
        figsize=(width, height), **options
    )
    # Notebooks call this; pyplot's own hook is installed with its first figure only.
    figure._repr_png_ = functools.partial(_as_png, figure)
    return figure


def _as_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def plot_with_gaps(axes: Any, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A line with gaps where `y` is NaN; an isolated value becomes a dot."""
    axes.plot(x, y, **style)
    known = np.isfinite(y)
    beside = np.zeros_like(known)
    beside[1:] |= known[:-1]
    beside[:-1] |= known[1:]
    alone = known & ~beside
    if alone.any():
        axes.plot(x[alone], y[alone], ".", color=style.get("color"))


def shorten(label: Any, most: int) -> str:
    """A label of at most `most` characters, its middle elided.

    Names with a common prefix ("sensor in the kitchen 1") often differ at the end.
    """
    text = str(label)
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return text[: most - 1 - tail] + "…" + text[len(text) - tail :]


def time_ticks(axes: Any, times: np.ndarray) -> None:
    """Integer ticks for integer times, concise date ticks for dates."""
    if np.issubdtype(times.dtype, np.integer):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if np.issubdtype(times.dtype, np.datetime64):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
