"""Metrics, as sums that add up over batches and devices.

A metric is computed in two steps. A pure function of predictions, targets and a mask returns a
NamedTuple of sums, also inside `jit`; `add` and `jax.lax.psum` accumulate them. Its properties are
the values: of the whole data, not a mean of means.
"""

from seqjax.metrics.classification import (
    Calibration,
    ConfusionMatrix,
    accuracy,
    calibration,
    confusion_matrix,
)
from seqjax.metrics.forecasting import (
    RootMean,
    ScaledMean,
    interval_coverage,
    mean_absolute_error,
    mean_absolute_scaled_error,
    pinball_loss,
    root_mean_squared_error,
    seasonal_naive_scale,
)
from seqjax.metrics.spans import Span, SpanCounts, find_spans, span_counts, span_types
from seqjax.metrics.sums import Mean, add
from seqjax.metrics.text_scores import (
    bits_per_character,
    compressed_bits_per_character,
    exact_matches,
    token_errors,
    translation_scores,
)

__all__ = [
    "Calibration",
    "ConfusionMatrix",
    "Mean",
    "RootMean",
    "ScaledMean",
    "Span",
    "SpanCounts",
    "accuracy",
    "add",
    "bits_per_character",
    "calibration",
    "compressed_bits_per_character",
    "confusion_matrix",
    "exact_matches",
    "find_spans",
    "interval_coverage",
    "mean_absolute_error",
    "mean_absolute_scaled_error",
    "pinball_loss",
    "root_mean_squared_error",
    "seasonal_naive_scale",
    "span_counts",
    "span_types",
    "token_errors",
    "translation_scores",
]
