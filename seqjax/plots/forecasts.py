"""A probabilistic forecast after its history."""

from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, plot_with_gaps, time_ticks


def forecast(
    history: Any,
    quantiles: Any,
    levels: Any,
    truth: Any = None,
    times: Any = None,
    *,
    value_label: str = "value",
    time_label: str | None = None,
) -> Any:
    """A forecast as bands between its quantiles, after the end of the history.

    The outermost quantiles bound the lightest band, the next ones a darker one inside it, and the
    middle one, if their number is odd, is a dashed line. A single quantile, or a point forecast, is
    that line alone.

    Args:
      history: `(time,)`, the part to show; NaN is a gap.
      quantiles: `(horizon, quantiles)`.
      levels: `(quantiles,)` in (0, 1).
      truth: `(horizon,)`, the observed values; NaN where missing.
      times: `(time + horizon,)`, numbers or `datetime64`; None counts steps from the last
        one of the history.
      value_label: quantity and unit of the values: "demand (MW)".
      time_label: quantity and unit of the times.

    Returns:
      A `matplotlib.figure.Figure`.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import forecast
      >>> figure = forecast([1, 2, 3], [[3, 4, 5], [3, 5, 7]], [0.1, 0.5, 0.9])
      >>> [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
      ['history', '10 % to 90 %', 'median']
    """
    history, quantiles = np.asarray(history, np.float64), np.asarray(quantiles, np.float64)
    levels = np.asarray(levels, np.float64)
    known = len(history)
    if quantiles.ndim != 2 or levels.shape != quantiles.shape[1:] or not quantiles.size:
        raise ValueError(
            "forecast: expected quantiles of shape (horizon, quantiles) and a level for each; "
            f"got {quantiles.shape} and {levels.shape}."
        )
    horizon = len(quantiles)
    if truth is not None and np.shape(truth) != (horizon,):
        raise ValueError(f"forecast: the truth must be {(horizon,)}, got {np.shape(truth)}.")
    if times is not None and np.shape(times) != (known + horizon,):
        raise ValueError(
            f"forecast: expected {known + horizon} times, of the history and of the forecast "
            f"after it; got shape {np.shape(times)}."
        )
    x = np.arange(1 - known, horizon + 1) if times is None else np.asarray(times)
    before, after = x[:known], x[known:]

    figure = new_figure(8.0, 3.6, layout="constrained")
    axes = figure.subplots()
    if known:
        plot_with_gaps(axes, before, history, color="black", linewidth=1.2, label="history")
        axes.axvline(before[-1], color="black", linewidth=0.8, linestyle=":")
    order = np.argsort(levels)
    levels, quantiles = levels[order], quantiles[:, order]
    bands = len(levels) // 2
    for band in range(bands):
        low, high = quantiles[:, band], quantiles[:, -1 - band]
        label = f"{100 * levels[band]:g} % to {100 * levels[-1 - band]:g} %"
        shade = {"color": str(0.88 - 0.36 * band / max(1, bands)), "label": label, "linewidth": 0}
        if horizon > 1:
            axes.fill_between(after, low, high, **shade)
        else:
            axes.vlines(after, low, high, **(shade | {"linewidth": 6}))
    style: dict[str, Any] = {"marker": "_"} if horizon == 1 else {}
    if len(levels) % 2:
        level = levels[bands]
        label = "median" if level == 0.5 else f"{100 * level:g} % quantile"
        style |= {"color": "tab:blue", "linestyle": "--", "linewidth": 1.8, "label": label}
        axes.plot(after, quantiles[:, bands], **style)
    if truth is not None:
        # Dots without a line leave the median visible.
        axes.plot(after, np.asarray(truth, np.float64), "k.", markersize=5, label="observed")
    time_ticks(axes, x)
    axes.set_xlabel(time_label or ("time (steps from the forecast)" if times is None else "time"))
    axes.set_ylabel(value_label)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8, frameon=False)
    return figure
