"""Scores of written sequences, against the libraries that others use."""

import jiwer
import numpy as np
import pytest
import sacrebleu

from seqjax import metrics

RIGHT = ["the cat sat on the mat", "a dog", "no", "one two three four"]
WRITTEN = ["the cat sat on mat", "a big dog", "", "one three two four"]


def test_token_errors_are_word_errors():
    found = metrics.token_errors(
        [text.split() for text in WRITTEN], [[text.split()] for text in RIGHT]
    )
    np.testing.assert_allclose(found.value, jiwer.wer(RIGHT, WRITTEN), rtol=1e-6)
    characters = metrics.token_errors(WRITTEN, [[text] for text in RIGHT])
    np.testing.assert_allclose(characters.value, jiwer.cer(RIGHT, WRITTEN), rtol=1e-6)


def test_of_several_right_answers_the_nearest_counts():
    found = metrics.token_errors(["abc"], [["xyz", "abcd", "ab"]])
    assert (float(found.total), float(found.count)) == (1.0, 4.0)
    assert metrics.exact_matches(["ab", "ba"], [["x", "ab"], ["ab"]]).value == 0.5


def test_sums_add_up_over_batches():
    whole = metrics.token_errors(WRITTEN, [[text] for text in RIGHT])
    parts = [metrics.token_errors([w], [[r]]) for w, r in zip(WRITTEN, RIGHT, strict=True)]
    assert metrics.add(*parts).value == whole.value


def test_translation_scores_are_those_of_sacrebleu():
    one = metrics.translation_scores(WRITTEN, [[text] for text in RIGHT])
    assert one["bleu"] == pytest.approx(sacrebleu.corpus_bleu(WRITTEN, [RIGHT]).score)
    assert one["chrf"] == pytest.approx(sacrebleu.corpus_chrf(WRITTEN, [RIGHT]).score)
    several = metrics.translation_scores(
        WRITTEN, [[text, text + " !"][: 1 + i % 2] for i, text in enumerate(RIGHT)]
    )
    again = [text + " !" if i % 2 else text for i, text in enumerate(RIGHT)]
    assert several["bleu"] == pytest.approx(sacrebleu.corpus_bleu(WRITTEN, [RIGHT, again]).score)
    assert metrics.translation_scores(RIGHT[:1], [RIGHT[:1]])["bleu"] == pytest.approx(100)
