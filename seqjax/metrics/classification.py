"""Metrics of classifiers: accuracy, confusion matrix, calibration.

`mask` has leading dimensions of the targets; it is bool, or weights. Entries of weight 0 never
count, NaN included.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.types import Array
from seqjax.losses import check_shapes
from seqjax.metrics.sums import Mean, clean, mean_of, ratio, weights_like


def accuracy(predictions: Array, targets: Array, mask: Array | None = None) -> Mean:
    """The share of correct predictions.

    Args:
      predictions: `(*shape)` ints, the predicted classes: `logits.argmax(-1)`.
      targets: `(*shape)` ints.
      mask: what counts; everything if None.

    Returns:
      A `Mean`; its `.value` is in [0, 1].

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import accuracy
      >>> float(accuracy(jnp.array([1, 2, 3, 0]), jnp.array([1, 2, 0, 0])).value)
      0.75
    """
    check_shapes("accuracy", predictions=predictions, targets=targets)
    return mean_of(predictions == targets, mask)


class ConfusionMatrix(NamedTuple):
    """Counts of predictions by target class and predicted class.

    Fields:
      counts: `(classes, classes)`, row = target, column = prediction.
    """

    counts: Any

    @property
    def accuracy(self) -> Array:
        """The share of correct predictions, 0 if nothing counted."""
        return ratio(jnp.trace(self.counts), self.counts.sum())

    @property
    def precision(self) -> Array:
        """`(classes,)`: the share of correct ones among the predictions of a class; 0 for none."""
        return ratio(jnp.diagonal(self.counts), self.counts.sum(axis=0))

    @property
    def recall(self) -> Array:
        """`(classes,)`: the share of correct ones among the targets of a class; 0 for none."""
        return ratio(jnp.diagonal(self.counts), self.counts.sum(axis=1))

    @property
    def f1(self) -> Array:
        """`(classes,)`: the harmonic mean of precision and recall."""
        return ratio(2 * jnp.diagonal(self.counts), self._either)

    @property
    def macro_f1(self) -> Array:
        """The mean F1 of the classes that occur, as targets or as predictions."""
        return ratio(self.f1.sum(), (self._either > 0).sum())

    @property
    def _either(self) -> Array:
        return self.counts.sum(axis=0) + self.counts.sum(axis=1)


def confusion_matrix(
    predictions: Array, targets: Array, mask: Array | None = None, *, classes: int
) -> ConfusionMatrix:
    """The confusion matrix, from which macro F1, precision and recall follow.

    Args:
      predictions: `(*shape)` ints in [0, classes).
      targets: `(*shape)` ints in [0, classes).
      mask: what counts; everything if None.
      classes: number of classes.

    Returns:
      A `ConfusionMatrix`.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import confusion_matrix
      >>> matrix = confusion_matrix(jnp.array([1, 0, 1]), jnp.array([1, 0, 0]), classes=2)
      >>> matrix.counts
      Array([[1., 1.],
             [0., 1.]], dtype=float32)
      >>> round(float(matrix.macro_f1), 3)
      0.667
    """
    check_shapes("confusion_matrix", predictions=predictions, targets=targets)
    weights = weights_like(targets, mask).reshape(-1, 1)
    rows = jax.nn.one_hot(targets.reshape(-1), classes) * weights
    columns = jax.nn.one_hot(predictions.reshape(-1), classes)
    return ConfusionMatrix(jnp.dot(rows.T, columns, precision=jax.lax.Precision.HIGHEST))


class Calibration(NamedTuple):
    """Confidence and accuracy in bins of confidence.

    Fields:
      confidence: `(bins,)`, the sum of the confidences in each bin.
      correct: `(bins,)`, the number of correct predictions.
      count: `(bins,)`, the number of predictions.
    """

    confidence: Any
    correct: Any
    count: Any

    @property
    def expected_error(self) -> Array:
        """The expected calibration error, in [0, 1]; NaN if nothing counted."""
        return jnp.abs(self.correct - self.confidence).sum() / self.count.sum()

    @property
    def mean_confidence(self) -> Array:
        """`(bins,)`, 0 for an empty bin: the x axis of a reliability diagram."""
        return ratio(self.confidence, self.count)

    @property
    def accuracy(self) -> Array:
        """`(bins,)`, 0 for an empty bin: the y axis of a reliability diagram."""
        return ratio(self.correct, self.count)


def calibration(
    probabilities: Array, targets: Array, mask: Array | None = None, *, bins: int = 15
) -> Calibration:
    """Calibration: whether the accuracy of predictions equals their confidence.

        confidence = max over classes of the probability
        bin b holds confidences in (b / bins, (b + 1) / bins]
        expected error = sum over bins of count / total * |accuracy - mean confidence|

    Args:
      probabilities: `(*shape, classes)`, such as `jax.nn.softmax(logits)` or the marginals
        of a CRF.
      targets: `(*shape)` ints.
      mask: what counts; everything if None.
      bins: number of bins of equal width.

    Returns:
      A `Calibration`.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.metrics import calibration
      >>> sure = jnp.array([[0.9, 0.1], [0.9, 0.1]])
      >>> round(float(calibration(sure, jnp.array([0, 1])).expected_error), 3)
      0.4

    Source: Guo et al. 2017, arXiv:1706.04599.
    """
    probabilities = clean(probabilities, mask)
    confidence = probabilities.max(axis=-1)
    correct = probabilities.argmax(axis=-1) == targets
    index = jnp.clip(jnp.ceil(confidence * bins) - 1, 0, bins - 1).astype(jnp.int32)
    weights = weights_like(confidence, mask).reshape(-1, 1)
    belongs = jax.nn.one_hot(index.reshape(-1), bins) * weights
    return Calibration(
        (belongs * confidence.reshape(-1, 1)).sum(axis=0),
        (belongs * correct.reshape(-1, 1)).sum(axis=0),
        belongs.sum(axis=0),
    )
