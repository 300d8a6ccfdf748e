"""Precision, recall and F1 of spans, such as named entities, on the host."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from seqjax.decode.tag_schemes import Scheme, split_tag
from seqjax.losses import check_shapes


class Span(NamedTuple):
    """The steps from `start` to `stop`, exclusive, are of a kind."""

    kind: str
    start: int
    stop: int


class SpanCounts(NamedTuple):
    """Numbers of spans of each kind.

    Fields:
      correct: `(kinds,)`, predicted with the correct kind and boundaries.
      predicted: `(kinds,)`.
      true: `(kinds,)`.
    """

    correct: Any
    predicted: Any
    true: Any

    @property
    def precision(self) -> float:
        """The share of correct ones among all predicted spans; 0 if there are none."""
        return _ratio(self.correct.sum(), self.predicted.sum())

    @property
    def recall(self) -> float:
        """The share of found ones among all true spans; 0 if there are none."""
        return _ratio(self.correct.sum(), self.true.sum())

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall over all spans (micro F1)."""
        return _ratio(2 * self.correct.sum(), self.predicted.sum() + self.true.sum())

    @property
    def f1_of_kinds(self) -> list[float]:
        """F1 of each kind, in the order of `span_types`."""
        return [
            SpanCounts(*(np.asarray(field)[i] for field in self)).f1 for i in range(len(self.true))
        ]


def span_types(tags: Sequence[str], scheme: Scheme) -> list[str]:
    """The kinds of spans that tags name, sorted.

    Example:
      >>> from seqjax.metrics import span_types
      >>> span_types(["O", "B-PER", "I-PER", "B-LOC", "I-LOC"], "BIO")
      ['LOC', 'PER']
    """
    return sorted({split_tag(tag, scheme)[1] for tag in tags} - {""})


def find_spans(tags: Sequence[str], scheme: Scheme) -> list[Span]:
    """The spans of a sequence of tags; strictly: invalid runs of tags are no spans.

    BIO: B-X and every I-X that follows without a gap. BIOES: S-X, or B-X, any number of I-X,
    and E-X. Tags outside such a run are ignored.

    Args:
      tags: the tags of one sequence.
      scheme: "BIO" or "BIOES".

    Raises:
      InputError: if a tag does not fit the scheme.

    Example:
      >>> from seqjax.metrics import find_spans
      >>> find_spans(["B-PER", "I-PER", "O", "I-LOC"], "BIO")
      [Span(kind='PER', start=0, stop=2)]

    Source: what seqeval 1.2.2 counts with `mode="strict"`.
    """
    parts = [split_tag(tag, scheme) for tag in tags]
    spans = []
    for start, (position, kind) in enumerate(parts):
        if position not in ("B", "S"):
            continue
        stop = start + 1
        if position == "B":
            while stop < len(parts) and parts[stop] == ("I", kind):
                stop += 1
            if scheme == "BIOES":
                if stop == len(parts) or parts[stop] != ("E", kind):
                    continue
                stop += 1
        spans.append(Span(kind, start, stop))
    return spans


def span_counts(
    predictions: Any, targets: Any, mask: Any = None, *, tags: Sequence[str], scheme: Scheme
) -> SpanCounts:
    """Counts the predicted spans, the true spans, and those in both.

    Args:
      predictions: `(*batch, time)` ints, the numbers of tags.
      targets: `(*batch, time)` ints.
      mask: `(*batch, time)` bool, the valid steps; all of them if None. Others are removed.
      tags: the names of the tags, in the order of their numbers.
      scheme: "BIO" or "BIOES".

    Returns:
      `SpanCounts`, for the kinds of `span_types(tags, scheme)`.

    Raises:
      InputError: if a tag does not fit the scheme.

    Example:
      >>> from seqjax.metrics import span_counts
      >>> tags = ["O", "B-PER", "I-PER"]
      >>> counts = span_counts([[1, 2, 0, 1]], [[1, 2, 0, 0]], tags=tags, scheme="BIO")
      >>> counts.precision, counts.recall, round(counts.f1, 3)
      (0.5, 1.0, 0.667)
    """
    kinds = {kind: number for number, kind in enumerate(span_types(tags, scheme))}
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    check_shapes("span_counts", predictions=predictions, targets=targets)
    valid = np.ones(targets.shape, bool) if mask is None else np.asarray(mask, bool)
    counts = np.zeros((3, len(kinds)), np.int64)
    for row in np.ndindex(targets.shape[:-1]):
        predicted, true = (
            set(find_spans([tags[int(number)] for number in numbers[row][valid[row]]], scheme))
            for numbers in (predictions, targets)
        )
        for field, spans in enumerate((predicted & true, predicted, true)):
            for span in spans:
                counts[field, kinds[span.kind]] += 1
    return SpanCounts(*counts)


def _ratio(numerator: Any, denominator: Any) -> float:
    return float(numerator / denominator) if denominator else 0.0
