"""The alignment of target and source tokens by attention."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, shorten

LONGEST_TOKEN = 14


def alignment(
    weights: Any,
    source: Sequence[Any],
    target: Sequence[Any],
    *,
    source_label: str = "source",
    target_label: str = "target",
) -> Any:
    """The attention weights: a row per target token, a column per source token.

    Args:
      weights: `(target, source)`, each row summing to 1, as from `EncoderDecoder.alignment`.
      source: the source tokens, one per column.
      target: the target tokens, one per row.
      source_label: label of the source axis.
      target_label: label of the target axis.

    Returns:
      A `matplotlib.figure.Figure`, larger for more tokens.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import alignment
      >>> figure = alignment([[0.9, 0.1], [0.2, 0.8]], ["le", "chat"], ["the", "cat"])
      >>> [label.get_text() for label in figure.axes[0].get_yticklabels()]
      ['the', 'cat']
    """
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(target), len(source)) or not weights.size:
        raise ValueError(
            f"alignment: expected weights ({len(target)}, {len(source)}), a row per target token "
            f"and a column per source token; got {weights.shape}."
        )
    columns, rows = [[shorten(t, LONGEST_TOKEN) for t in tokens] for tokens in (source, target)]
    turned = max(map(len, columns)) > 2
    letters = 0.085
    left, top = letters * max(map(len, rows)), letters * max(map(len, columns)) if turned else 0.2
    cell = 0.26
    figure = new_figure(
        max(3.4, cell * len(columns) + left + 1.6),
        max(2.4, cell * len(rows) + top + 1.0),
        layout="constrained",
    )
    axes = figure.subplots()
    image = axes.imshow(weights, cmap="Greys", vmin=0, vmax=1, aspect="equal")
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(columns)), columns, rotation=90 if turned else 0, fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    axes.tick_params(length=0)
    axes.set_xlabel(source_label)
    axes.set_ylabel(target_label)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, ticks=[0, 0.5, 1])
    bar.set_label("attention weight")
    return figure
