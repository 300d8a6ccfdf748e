"""Where a decoder looked while it wrote."""

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
    source_label: str = "read",
    target_label: str = "written",
) -> Any:
    """The weights of attention: a row for each token written, a column for each one read.

    Args:
      weights: `(target, source)`, each row adding up to 1, as from `EncoderDecoder.alignment`.
      source: the tokens read, one for each column.
      target: the tokens written, one for each row.
      source_label: what was read.
      target_label: what was written.

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
            f"alignment: expected weights ({len(target)}, {len(source)}), a row for each token "
            f"written and a column for each one read; got {weights.shape}."
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
