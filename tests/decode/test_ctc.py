"""Decoding of CTC against the sum over all paths."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from seqjax.decode.ctc import ctc_beam_search, ctc_greedy, frames_needed
from tests.jaxprs import loops

FRAMES, SYMBOLS = 5, 3


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
    logits = 2 * jax.random.normal(jax.random.key(3), (6, FRAMES, SYMBOLS))
    frames = np.array([5, 4, 5, 1, 0, 3])
    found = jax.jit(lambda x, n: ctc_beam_search(x, n, beams=80, blank=blank))(logits, frames)
    known = np.asarray(jax.nn.log_softmax(logits, -1), np.float64)
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
    logits = jax.random.normal(jax.random.key(0), (1, FRAMES, SYMBOLS))
    found = ctc_beam_search(logits, jnp.array([FRAMES]), beams=40)
    for place in range(5):
        length = int(found.lengths[0, place])
        labels = found.labels[:, place]
        behind = (jnp.arange(FRAMES) >= length)[None].astype(jnp.float32)
        loss = optax.ctc_loss(logits, jnp.zeros((1, FRAMES)), labels, behind)
        np.testing.assert_allclose(-loss[0], found.log_probability[0, place], rtol=1e-4)


def test_greedy_is_the_likeliest_path():
    logits = 2 * jax.random.normal(jax.random.key(1), (2, 4, FRAMES, SYMBOLS))
    frames = jnp.array([[5, 2, 0, 3], [1, 5, 4, 4]])
    found = ctc_greedy(logits, frames)
    known = np.asarray(jax.nn.log_softmax(logits, -1))
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
