"""A figure to draw on."""

import functools
import io
from typing import Any

import numpy as np

from seqjax.core.errors import InputError


def new_figure(width: float, height: float, **options: Any) -> Any:
    """A `Figure` of `width` by `height` inches that pyplot does not know of; notebooks show it.

    Raises:
      ImportError: if matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        raise InputError(
            "Pictures need matplotlib, which is not installed: pip install 'seqjax[plot]'."
        ) from None

    figure: Any = Figure(figsize=(width, height), **options)
    # Notebooks ask for this; pyplot's own way works after its first figure only.
    figure._repr_png_ = functools.partial(_as_png, figure)
    return figure


def _as_png(figure: Any) -> bytes:
    stream = io.BytesIO()
    figure.savefig(stream, format="png")
    return stream.getvalue()


def plot_with_gaps(axes: Any, x: np.ndarray, y: np.ndarray, **style: Any) -> None:
    """A line that breaks where `y` is NaN; a value alone between two gaps becomes a dot."""
    axes.plot(x, y, **style)
    known = np.isfinite(y)
    beside = np.zeros_like(known)
    beside[1:] |= known[:-1]
    beside[:-1] |= known[1:]
    alone = known & ~beside
    if alone.any():
        axes.plot(x[alone], y[alone], ".", color=style.get("color"))


def shorten(label: Any, most: int) -> str:
    """At most `most` characters of a label, an ellipsis in place of its middle.

    Names that begin alike ("sensor in the kitchen 1") often differ at the end.
    """
    text = str(label)
    if len(text) <= most:
        return text
    tail = (most - 1) // 2
    return text[: most - 1 - tail] + "…" + text[len(text) - tail :]


def time_ticks(axes: Any, times: np.ndarray) -> None:
    """Whole steps where `times` are; where they are dates, ticks that say no more than they
    must."""
    if np.issubdtype(times.dtype, np.integer):
        axes.xaxis.get_major_locator().set_params(integer=True)
    if np.issubdtype(times.dtype, np.datetime64):
        from matplotlib.dates import AutoDateLocator, ConciseDateFormatter

        locator = AutoDateLocator()
        axes.xaxis.set_major_locator(locator)
        axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
