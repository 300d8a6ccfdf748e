"""The frames of a clip with their labels."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.plots.figure import new_figure, shorten

COLUMNS = 6
LONGEST_LABEL = 16
CHARACTERS_PER_INCH = 11
"""Width of the title."""


def frames_with_labels(
    frames: Any,
    labels: Sequence[Any] | None = None,
    targets: Sequence[Any] | None = None,
    *,
    title: str | None = None,
) -> Any:
    """The frames of a clip, in rows, each with its label; wrong labels are highlighted.

    Args:
      frames: `(time, height, width)` or `(time, height, width, channels)` with 1 or 3 channels,
        in [0, 1].
      labels: one for each frame.
      targets: the true labels. Where they differ, both are written and the frame has a thick edge.
      title: above the frames, such as a caption of the clip.

    Returns:
      A `matplotlib.figure.Figure`, higher for more frames.

    Raises:
      ValueError: if the shapes do not fit together.
      ImportError: if matplotlib is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.plots import frames_with_labels
      >>> figure = frames_with_labels(np.zeros((2, 4, 4)), ["up", "up"], ["up", "left"])
      >>> [axes.get_title() for axes in figure.axes]
      ['1: up', '2: up, not left']
    """
    frames = np.asarray(frames, np.float64)
    if frames.ndim == 4 and frames.shape[-1] == 1:
        frames = frames[..., 0]
    if frames.ndim not in (3, 4) or not len(frames) or (frames.ndim == 4 and frames.shape[-1] != 3):
        raise ValueError(
            "frames_with_labels: expected frames (time, height, width[, 1 or 3 channels]), got "
            f"{frames.shape}."
        )
    for name, given in (("labels", labels), ("targets", targets)):
        if given is not None and len(given) != len(frames):
            raise ValueError(
                f"frames_with_labels: expected {len(frames)} {name}, one a frame; got {len(given)}."
            )
    columns = min(COLUMNS, len(frames))
    rows = -(-len(frames) // columns)
    width = 1.7 * columns + 0.2
    lines = textwrap.wrap(title or "", int(CHARACTERS_PER_INCH * width))
    height = 1.95 * rows + 0.2 + 0.2 * len(lines)
    figure = new_figure(width, height, layout="constrained")
    for number, axes in enumerate(figure.subplots(rows, columns, squeeze=False).ravel()):
        if number >= len(frames):
            axes.remove()
            continue
        axes.imshow(frames[number].clip(0, 1), cmap="gray", vmin=0, vmax=1)
        axes.set_xticks([])
        axes.set_yticks([])
        text = str(number + 1) if len(frames) > 1 or labels is not None else ""
        if labels is not None:
            text += f": {shorten(labels[number], LONGEST_LABEL)}"
            if targets is not None and labels[number] != targets[number]:
                text += f", not {shorten(targets[number], LONGEST_LABEL)}"
                for spine in axes.spines.values():
                    spine.set_linewidth(4)
        axes.set_title(text, fontsize=8)
    if lines:
        figure.suptitle("\n".join(lines), fontsize=10)
    return figure
