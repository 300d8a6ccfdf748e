"""What is drawn is what is said of it."""

import numpy as np
import pytest

from seqjax.data.drawn import COLOURS, MOTIONS, SHAPES, clips, digit_strings, draw_shape, scenes


@pytest.fixture(scope="module")
def drawn():
    return scenes(count=400, seed=3)


def test_no_combination_of_the_test_is_trained_on(drawn):
    train, validation, test = ({example.target for example in part} for part in drawn)
    assert not train & test and not train & validation and not validation & test
    # But every word of it is.
    assert {word for text in test for word in text.split()} <= {
        word for text in train for word in text.split()
    }


def test_a_scene_shows_its_sentence(drawn):
    for example in drawn[0][:80]:
        words = example.target.split()
        first, second = words[1], words[-2]
        relation = " ".join(words[3:-3])
        places, sizes = {}, {}
        for colour in {first, second}:
            distance = np.abs(example.inputs - np.array(COLOURS[colour])).max(-1)
            rows, columns = np.nonzero(distance < 0.2)
            places[colour], sizes[colour] = (rows.mean(), columns.mean()), len(rows)
        if first == second:
            continue
        down, right = np.subtract(places[first], places[second])
        seen = (
            ("below" if down > 0 else "above")
            if abs(down) > abs(right)
            else ("right of" if right > 0 else "left of")
        )
        assert seen == relation, example.target


def test_shapes_differ_and_stay_inside():
    masks = {name: draw_shape(name, 24, (12.0, 12.0), 5.0) for name in SHAPES}
    for name, mask in masks.items():
        rows, columns = np.nonzero(mask)
        assert 20 < mask.sum() < 100, name
        assert rows.min() >= 6 and rows.max() <= 17 and columns.min() >= 6 and columns.max() <= 17
    for name in SHAPES:
        for other in SHAPES:
            assert name == other or (masks[name] != masks[other]).sum() >= 10


def test_clips_move_as_they_say():
    every = clips(count=60, seed=1)
    for part in range(3):
        rows = zip(*(every[name][part] for name in ("frames", "action", "sentence")), strict=True)
        for frames, action, sentence in rows:
            assert frames.inputs is action.inputs is sentence.inputs
            time = len(frames.inputs)
            assert 8 <= time <= 12 and frames.inputs.shape[1:] == (16, 16, 1)
            order = list(dict.fromkeys(frames.target))
            assert action.target == ", ".join(order)
            assert sentence.target.split()[2:] == ["moves", order[0], "and", "then", order[1]]
            centres = []
            for frame in frames.inputs[..., 0]:
                rows_, columns = np.nonzero(frame > 0.5)
                assert rows_.min() >= 0 and len(rows_)
                centres.append((rows_.mean(), columns.mean()))
            moves = np.diff(np.array(centres), axis=0)
            for move, tag in zip(moves, frames.target[1:], strict=True):
                np.testing.assert_allclose(move, MOTIONS[tag], atol=0.6)


def test_digit_strings_are_made_of_images_apart():
    train, validation, test = digit_strings(count=120, seed=0)
    assert (len(train), len(validation), len(test)) == (120, 10, 20)
    for example in (*train, *test):
        assert 3 <= len(example.target) <= 8 and example.inputs.shape[1] == 8
        assert 8 * len(example.target) <= len(example.inputs) <= 10 * len(example.target)

    def images(part):
        found = set()
        for example in part:
            for start in range(len(example.inputs) - 7):
                found.add(example.inputs[start : start + 8].tobytes())
        return found

    blank = np.zeros((8, 8), np.float32).tobytes()
    first = {example.inputs[:8].tobytes() for example in test} - {blank}
    assert not first & images(train)
