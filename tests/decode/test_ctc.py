"""Decoding of CTC against the sum over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax

from seqjax.decode.ctc import ctc_beam_search, ctc_greedy, frames_needed
from tests.jaxprs import loops

FRAMES, SYMBOLS = 5, 3


def draw(*shape):
    return 2 * np.random.default_rng(3).standard_normal(shape).astype(np.float32)


def collapse(path, blank):
    merged = [symbol for symbol, _ in itertools.groupby(path)]
    return tuple(symbol for symbol in merged if symbol != blank)


def all_labellings(known, frames, blank):
    """The log-probability of every labelling, summed over its paths one by one."""
    found = {}
    for path in itertools.product(range(SYMBOLS), repeat=frames):
        value = sum(known[t, symbol] for t, symbol in enumerate(path))
        labels = collapse(path, blank)
        found[labels] = np.logaddexp(found.get(labels, -np.inf), value)
    return found


@pytest.mark.parametrize("blank", [0, 2])
def test_with_enough_beams_nothing_is_lost(blank):
    logits = draw(6, FRAMES, SYMBOLS)
    frames = np.array([5, 4, 5, 1, 0, 3])
    search = jax.jit(lambda x, n: ctc_beam_search(x, n, beams=80, blank=blank))
    found = jax.tree.map(np.asarray, search(logits, frames))
    known = log_softmax(logits, -1)
    for row, count in enumerate(frames):
        wanted = all_labellings(known[row], count, blank)
        alive = int((found.log_probability[row] > -np.inf).sum())
        assert alive == len(wanted)
        order = sorted(wanted.values(), reverse=True)
        np.testing.assert_allclose(found.log_probability[row, :alive], order, rtol=1e-4, atol=1e-5)
        for place in range(alive):
            labels = tuple(found.labels[row, place, : found.lengths[row, place]].tolist())
            np.testing.assert_allclose(
                found.log_probability[row, place], wanted[labels], rtol=1e-4, atol=1e-5
            )


def test_probabilities_agree_with_the_loss():
    logits = draw(1, FRAMES, SYMBOLS)
    search = jax.jit(lambda x, n: ctc_beam_search(x, n, beams=40))
    found = jax.tree.map(np.asarray, search(logits, np.array([FRAMES])))
    ctc_loss = jax.jit(optax.ctc_loss)
    for place in range(5):
        length = int(found.lengths[0, place])
        labels = found.labels[:, place]
        behind = (np.arange(FRAMES) >= length)[None].astype(np.float32)
        loss = ctc_loss(logits, np.zeros((1, FRAMES), np.float32), labels, behind)
        np.testing.assert_allclose(-loss[0], found.log_probability[0, place], rtol=1e-4)


def test_greedy_is_the_likeliest_path():
    logits = draw(2, 4, FRAMES, SYMBOLS)
    frames = np.array([[5, 2, 0, 3], [1, 5, 4, 4]])
    found = jax.tree.map(np.asarray, jax.jit(ctc_greedy)(logits, frames))
    known = log_softmax(logits, -1)
    for place in np.ndindex(2, 4):
        count = int(frames[place])
        path = known[place][:count].argmax(-1)
        labels = collapse(path.tolist(), 0)
        assert tuple(found.labels[place][: len(labels)].tolist()) == labels
        assert int(found.lengths[place]) == len(labels)
        best = known[place][:count].max(-1).sum()
        np.testing.assert_allclose(found.log_probability[place], best, rtol=1e-5, atol=1e-6)


def test_frames_needed():
    labels = jnp.array([[1, 1, 2, 2], [1, 2, 1, 2], [1, 1, 1, 1]])
    assert frames_needed(labels, jnp.array([4, 4, 1])).tolist() == [6, 4, 1]
    assert frames_needed(labels[:, :0], jnp.array([0, 0, 0])).tolist() == [0, 0, 0]


def test_a_frame_costs_the_same_however_many_there_are():
    """What goes from frame to frame are numbers for each beam, and never its labels."""
    jaxpr = jax.make_jaxpr(lambda x: ctc_beam_search(x, jnp.array([77]), beams=4))(
        jnp.zeros((1, 77, SYMBOLS))
    )
    found = loops(jaxpr.jaxpr)
    assert len(found) == 2
    assert not [shape for loop in found for shape in loop.carry if 77 in shape]
