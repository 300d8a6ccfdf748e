"""Tags as they are written, learned and scored."""

import numpy as np
import pytest

from seqjax.decode.tag_conversion import find_written_scheme, from_standard, to_standard
from seqjax.metrics import span_counts
from seqjax.train.tag_set import TagSet

SCHEMES = {
    "BIO": (["B-A", "I-A", "B-A", "O", "B-B"], ["B-A", "I-A", "B-A", "O", "B-B"]),
    "IOB1": (["I-A", "I-A", "B-A", "O", "I-B"], ["B-A", "I-A", "B-A", "O", "B-B"]),
    "BIOES": (["B-A", "E-A", "S-A", "O", "S-B"], ["B-A", "E-A", "S-A", "O", "S-B"]),
    "BILOU": (["B-A", "L-A", "U-A", "O", "U-B"], ["B-A", "E-A", "S-A", "O", "S-B"]),
}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_schemes_are_converted_both_ways(scheme):
    written, learned = SCHEMES[scheme]
    assert find_written_scheme([written]) == scheme
    assert list(to_standard(written, scheme)) == learned
    assert list(from_standard(learned, scheme)) == written
    tags = TagSet.of([written], "auto")
    assert tags.decode(tags.encode(written)) == written
    # All three spans are found again.
    numbers = tags.encode(written)
    counts = span_counts(numbers, numbers, tags=tags.every, scheme=tags.scheme)
    assert counts.true.sum() == 3 and counts.f1 == 1


def test_iob1_spans_of_two_kinds_that_touch():
    assert to_standard(["I-A", "I-B", "I-B"], "IOB1") == ("B-A", "B-B", "I-B")
    assert from_standard(["B-A", "B-B", "I-B"], "IOB1") == ("I-A", "I-B", "I-B")


@pytest.mark.parametrize("tags", [["NOUN", "VERB"], ["O", "O"], ["U-A", "S-A"], ["1", "0"]])
def test_tags_without_a_scheme(tags):
    assert find_written_scheme([tags]) is None
    assert TagSet.of([tags], "auto").scheme is None


def test_a_bio_file_with_a_mistake_is_no_iob1():
    assert find_written_scheme([["B-A", "O"], ["O", "I-A"]]) == "BIO"


def test_unseen_tags_count_as_wrong():
    tags = TagSet.of([["B-A", "I-A", "O"]], "auto")
    true = tags.encode(["B-A", "B-NEW", "I-NEW", "O"])
    assert true.max() < len(tags.every) and tags.unseen(["B-NEW", "O"]) == ["B-NEW"]
    predicted = tags.encode(["B-A", "O", "O", "O"])
    assert (true == predicted).tolist() == [True, False, False, True]
    counts = span_counts(predicted, true, tags=tags.every, scheme="BIO")
    assert (counts.correct.sum(), counts.predicted.sum(), counts.true.sum()) == (1, 1, 2)
    plain = TagSet.of([["X", "Y"]], "auto")
    np.testing.assert_array_equal(plain.encode(["X", "Z"]), [0, 2])
