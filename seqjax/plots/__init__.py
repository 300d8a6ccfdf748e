"""Plots: each function returns a `matplotlib.figure.Figure`.

Nothing is shown and no global state of matplotlib changes: `figure.savefig("picture.png")` writes
a figure, and a notebook shows one that is the last value of a cell. All plots are legible in
greyscale. Arrays may be NumPy's or JAX's.
"""

from seqjax.plots.alignment import alignment
from seqjax.plots.annotated_text import spans_over_text
from seqjax.plots.beams import beam_tree
from seqjax.plots.confusion import confusion_matrix
from seqjax.plots.forecasts import forecast
from seqjax.plots.frames import frames_with_labels
from seqjax.plots.gradients import (
    gates,
    gradient_flow,
    gradient_map,
    gradient_norms,
    influence,
    truncation_cost,
)
from seqjax.plots.label_posteriors import ctc_posteriors
from seqjax.plots.pooling_weights import attention_over_series

__all__ = [
    "alignment",
    "attention_over_series",
    "beam_tree",
    "confusion_matrix",
    "ctc_posteriors",
    "forecast",
    "frames_with_labels",
    "gates",
    "gradient_flow",
    "gradient_map",
    "gradient_norms",
    "influence",
    "spans_over_text",
    "truncation_cost",
]
