"""Transcribers: the loss against paths, rows that are too short."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from tests.nn.drawn import drawn, normal

MODEL = drawn(lambda rngs: sj.nn.Transcriber(sj.gru(4), 2, 3, rngs=rngs))


def test_rows_too_short_for_their_labels_are_left_out():
    xs = normal(4, 4, 2)
    lengths, counts = jnp.array([4, 2, 4, 0]), jnp.array([2, 2, 0, 0])
    labels = jnp.array([[1, 2], [2, 2], [1, 1], [1, 1]])

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(model, rows):
        logits = model(xs, lengths=lengths)
        nats, used = model.loss(logits, lengths, labels, counts)
        return jnp.where(rows, nats, 0).sum(), (nats, used)

    (_, (nats, used)), gradient = loss(MODEL, jnp.ones(4, bool))
    assert used.tolist() == [True, False, True, True]
    assert nats[1] == 0 and nats[3] == 0 and (nats[jnp.array([0, 2])] > 0).all()
    # The row left out adds nothing to the gradient, not even something small.
    _, without = loss(MODEL, jnp.array([True, False, True, True]))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(without), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


def test_the_loss_is_the_sum_over_paths():
    logits = normal(1, 4, 3, seed=1)
    nats, _ = jax.jit(MODEL.loss)(logits, *map(jnp.array, ([3], [[2, 1, 0]], [2])))
    known = np.asarray(jax.nn.log_softmax(logits[0], -1))
    total = 0.0
    for path in itertools.product(range(3), repeat=3):
        merged = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if merged == [2, 1]:
            total += np.exp(sum(known[t, symbol] for t, symbol in enumerate(path)))
    np.testing.assert_allclose(nats[0], -np.log(total), rtol=1e-5)


def test_beams_and_the_likeliest_path():
    logits = jnp.asarray(np.log(np.array([[[0.6, 0.4, 0.0]] * 2], np.float32) + 1e-9))
    transcribe = jax.jit(MODEL.transcribe, static_argnames="beams")
    lengths = jnp.array([2])
    assert transcribe(logits, lengths, beams=1).lengths.tolist() == [0]
    found = transcribe(logits, lengths, beams=4)
    assert found.lengths.tolist() == [1] and found.labels[0, 0] == 1
