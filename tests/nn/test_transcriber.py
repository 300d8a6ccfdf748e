"""Transcribers: the loss against paths, rows that are too short."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import seqjax as sj


def test_rows_too_short_for_their_labels_are_left_out():
    model = sj.nn.Transcriber(sj.gru(4), 2, 3, rngs=nnx.Rngs(0))
    xs = jax.random.normal(jax.random.key(0), (4, 4, 2))
    lengths, counts = jnp.array([4, 2, 4, 0]), jnp.array([2, 2, 0, 0])
    labels = jnp.array([[1, 2], [2, 2], [1, 1], [1, 1]])

    def loss(model, rows):
        logits = model(xs, lengths=lengths)
        nats, used = model.loss(logits, lengths, labels, counts)
        return jnp.where(rows, nats, 0).sum(), (nats, used)

    every = jnp.ones(4, bool)
    (_, (nats, used)), gradient = jax.value_and_grad(loss, has_aux=True)(model, every)
    assert used.tolist() == [True, False, True, True]
    assert nats[1] == 0 and nats[3] == 0 and (nats[jnp.array([0, 2])] > 0).all()
    # The row left out adds nothing to the gradient, not even something small.
    without, _ = jax.grad(loss, has_aux=True)(model, jnp.array([True, False, True, True]))
    for a, b in zip(jax.tree.leaves(gradient), jax.tree.leaves(without), strict=True):
        assert np.isfinite(a).all()
        np.testing.assert_array_equal(a, b)


def test_the_loss_is_the_sum_over_paths():
    model = sj.nn.Transcriber(sj.gru(4), 2, 3, rngs=nnx.Rngs(0))
    logits = jax.random.normal(jax.random.key(1), (1, 4, 3))
    nats, _ = model.loss(logits, jnp.array([3]), jnp.array([[2, 1, 0]]), jnp.array([2]))
    known = np.asarray(jax.nn.log_softmax(logits[0], -1))
    total = 0.0
    for path in itertools.product(range(3), repeat=3):
        merged = [symbol for symbol, _ in itertools.groupby(path) if symbol]
        if merged == [2, 1]:
            total += np.exp(sum(known[t, symbol] for t, symbol in enumerate(path)))
    np.testing.assert_allclose(nats[0], -np.log(total), rtol=1e-5)


def test_beams_and_the_likeliest_path():
    model = sj.nn.Transcriber(sj.gru(4), 2, 3, rngs=nnx.Rngs(0))
    logits = jnp.log(jnp.array([[[0.6, 0.4, 0.0], [0.6, 0.4, 0.0]]]) + 1e-9)
    lengths = jnp.array([2])
    assert model.transcribe(logits, lengths).lengths.tolist() == [0]
    found = model.transcribe(logits, lengths, beams=4)
    assert found.lengths.tolist() == [1] and found.labels[0, 0] == 1
