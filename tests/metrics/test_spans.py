"""Spans and their F1 against seqeval, in its strict mode, on tag sequences of any kind."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score, precision_score, recall_score
from seqeval.scheme import IOB2, IOBES, Entities

from seqjax.core.errors import InputError
from seqjax.metrics import add, find_spans, span_counts, span_types

KINDS = ("PER", "GPE-LOC")
SCHEMES = {"BIO": ("BI", IOB2), "BIOES": ("BIES", IOBES)}
TAGS = {
    scheme: ["O", *(f"{letter}-{kind}" for letter in letters for kind in KINDS)]
    for scheme, (letters, _) in SCHEMES.items()
}
BATCH, TIME = 3, 8


@st.composite
def batches(draw):
    scheme = draw(st.sampled_from(sorted(SCHEMES)))
    numbers = st.integers(0, len(TAGS[scheme]) - 1)
    rows = st.lists(numbers, min_size=BATCH * TIME, max_size=BATCH * TIME)
    target = np.reshape(draw(rows), (BATCH, TIME))
    # Half of it agrees, so that there is something to find.
    prediction = np.where(np.reshape(draw(rows), (BATCH, TIME)) % 2, target, draw(numbers))
    mask = np.arange(TIME) < np.reshape(
        draw(st.lists(st.integers(0, TIME), min_size=BATCH, max_size=BATCH)), (BATCH, 1)
    )
    return scheme, prediction, target, mask


@given(batches())
def test_seqeval_agrees(batch):
    scheme, prediction, target, mask = batch
    tags, (_, theirs) = TAGS[scheme], SCHEMES[scheme]
    predicted, true = (
        [[tags[i] for i in row[valid]] for row, valid in zip(numbers, mask, strict=True)]
        for numbers in (prediction, target)
    )
    for ours, entities in zip(predicted, Entities(predicted, theirs).entities, strict=True):
        assert [tuple(span) for span in find_spans(ours, scheme)] == [
            (entity.tag, entity.start, entity.end) for entity in entities
        ]
    counts = span_counts(prediction, target, mask, tags=tags, scheme=scheme)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # seqeval says where it divides by zero
        for got, function in (
            (counts.f1, f1_score), (counts.precision, precision_score),
            (counts.recall, recall_score),
        ):  # fmt: skip
            wanted = function(true, predicted, mode="strict", scheme=theirs)
            assert got == pytest.approx(wanted)
        each = f1_score(true, predicted, mode="strict", scheme=theirs, average=None)
        present = sorted(
            {span.kind for row in (*true, *predicted) for span in find_spans(row, scheme)}
        )
    by_kind = dict(zip(span_types(tags, scheme), counts.f1_of_kinds, strict=True))
    assert [by_kind[kind] for kind in present] == pytest.approx(list(each))


def test_batches_add_up():
    tags = TAGS["BIO"]
    numbers = np.random.default_rng(0).integers(0, len(tags), (2, 6, 9))

    def count(rows):
        return span_counts(*(x[rows] for x in numbers), tags=tags, scheme="BIO")

    whole = count(slice(None))
    np.testing.assert_array_equal(add(count(slice(2)), count(slice(2, 6))), whole)
    assert whole.predicted.sum() > 0


def test_a_masked_step_is_as_if_it_were_not_there():
    tags = TAGS["BIO"]
    begin, inside = tags.index("B-PER"), tags.index("I-PER")
    row = [begin, 99, inside]
    counts = span_counts(row, row, [True, False, True], tags=tags, scheme="BIO")
    assert counts.true.sum() == counts.correct.sum() == 1


def test_nothing_to_find():
    counts = span_counts(np.zeros((2, 0), int), np.zeros((2, 0), int), tags=["O"], scheme="BIO")
    assert counts.f1 == counts.precision == counts.recall == 0 and counts.f1_of_kinds == []


def test_a_tag_of_another_scheme():
    with pytest.raises(InputError, match="'E-PER' does not fit the scheme BIO"):
        span_counts([0], [0], tags=["O", "E-PER"], scheme="BIO")
