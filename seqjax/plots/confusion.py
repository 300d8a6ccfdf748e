"""Confusion matrices."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, shorten

LONGEST_LABEL = 24
MOST_NUMBERS = 30


def confusion_matrix(matrix: Any, labels: Sequence[Any]) -> Any:
    """A confusion matrix: numbers are counts, colours are shares of the row.

    So the diagonal shows the recall of each class, however rare the class is. The middle of labels
    longer than 24 characters is elided. Beyond 30 classes there are no numbers.

    Args:
      matrix: `(classes, classes)` counts, row = target and column = prediction, such as
        `seqjax.metrics.ConfusionMatrix.counts`.
      labels: the names of the classes.

    Returns:
      A `matplotlib.figure.Figure`, larger for more classes.

    Raises:
      ValueError: if the matrix is not square or there is not one label for each class.
      ImportError: if matplotlib is not installed.

    Example:
      >>> from seqjax.plots import confusion_matrix
      >>> figure = confusion_matrix([[8, 2], [1, 9]], ["no", "yes"])
      >>> figure.axes[0].get_xlabel()
      'predicted class'
    """
    counts = np.asarray(matrix, np.float64)
    classes = len(labels)
    if counts.shape != (classes, classes) or not classes:
        raise ValueError(
            "confusion_matrix: expected a row and a column for each of the labels, "
            f"{(classes, classes)}; got a matrix of shape {counts.shape}."
        )
    rows = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, rows, out=np.zeros_like(counts), where=rows > 0)
    names = [shorten(label, LONGEST_LABEL) for label in labels]
    numbers = [[_spell(count) for count in row] for row in counts]
    digits = max(len(number) for row in numbers for number in row)
    numbered = classes <= MOST_NUMBERS
    # In inches: a cell holds its digits, the margin the longest label, and the minimum side the
    # axis labels.
    cell = max(0.32, 0.085 * digits) if numbered else 0.2
    margin = 0.6 + 0.08 * max(map(len, names))
    side = max(cell * classes, 1.8)
    figure = new_figure(side + margin + 1.4, side + margin + 0.6, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Greys", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("share of the target class")
    ticks = range(classes)
    upright = sum(map(len, names)) * 0.085 > side
    axes.set_xticks(ticks, names, rotation=90 if upright else 0, fontsize=9)
    axes.set_yticks(ticks, names, fontsize=9)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("target class")
    if numbered:
        for row, column in np.argwhere(counts != 0):
            axes.text(
                column, row, numbers[row][column], ha="center", va="center", fontsize=8,
                color="white" if shares[row, column] > 0.5 else "black",
            )  # fmt: skip
    return figure


def _spell(count: float) -> str:
    """Counts as they are, sums of weights with three digits."""
    return str(int(count)) if count == int(count) else f"{count:.3g}"
