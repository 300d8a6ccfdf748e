"""Cells inside Flax, Flax inside cells."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import seqjax as sj
from seqjax.nn.parameters import to_arrays

xs = jax.random.normal(jax.random.key(1), (2, 5, 3))


def close(got, wanted, tolerance=1e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got,
        wanted,
    )


def test_rnn_is_a_scan():
    cell = sj.stack(sj.lstm(4), sj.gru(3))
    rnn = sj.nn.RNN(cell, 3, rngs=nnx.Rngs(0))
    lengths = jnp.array([5, 2])
    carry, ys = rnn(xs, lengths=lengths)
    close((carry, ys), sj.scan(cell, rnn.params, xs, lengths=lengths), 0)
    again, _ = rnn(xs, carry)
    close(again, sj.scan(cell, rnn.params, xs, carry)[0], 0)
    close(rnn.step(carry, xs[:, 0]), cell.step(rnn.params, carry, xs[:, 0]), 0)
    assert jax.tree.structure(rnn.params) == jax.tree.structure(cell.init(jax.random.key(0), 3))


def test_rnn_in_bfloat16():
    rnn = sj.nn.RNN(sj.lstm(4), 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    carry, ys = rnn(xs.astype(jnp.bfloat16))
    assert ys.dtype == carry.cell.dtype == jnp.bfloat16


def test_noise_is_on_with_a_key_only():
    rnn = sj.nn.RNN(sj.dropout(sj.gru(32), 0.5), 3, rngs=nnx.Rngs(0))
    assert not (rnn(xs)[1] == 0).any()
    carry, ys = rnn(xs, key=jax.random.key(0))
    assert 0.3 < (ys == 0).mean() < 0.7
    # The carry brings its keys along.
    assert (rnn(xs, carry)[1] == 0).any()


def test_modules_train_with_plain_jax_and_optax():
    class Classifier(nnx.Module):
        def __init__(self, *, rngs):
            self.rnn = sj.nn.RNN(sj.lstm(8), 3, rngs=rngs)
            self.norm = nnx.LayerNorm(8, rngs=rngs)
            self.head = nnx.Linear(8, 2, rngs=rngs)

        def __call__(self, xs):
            carry, _ = self.rnn(xs)
            return self.head(self.norm(carry.hidden))

    model = Classifier(rngs=nnx.Rngs(0))
    optimizer = optax.adam(0.02)
    inputs = jax.random.normal(jax.random.key(1), (32, 6, 3))
    labels = (inputs[:, 0, 0] > 0).astype(int)

    @jax.jit
    def update(model, state):
        def loss(model):
            logits = model(inputs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(model)
        change, state = optimizer.update(gradient, state, model)
        return optax.apply_updates(model, change), state, value

    state = optimizer.init(model)
    for _ in range(60):
        model, state, value = update(model, state)
    assert value < 0.1


@pytest.mark.parametrize("kind", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell])
def test_a_flax_cell_as_a_cell(kind):
    """The same values as `nnx.RNN`, and a working state at length 0 besides."""
    build = functools.partial(kind, hidden_features=4)
    cell = sj.nn.from_flax(build, 4)
    module = cell.init(jax.random.key(0), 3)
    _, ys = sj.scan(cell, module, xs)
    close(ys, nnx.RNN(module)(xs))
    carry, _ = sj.scan(cell, module, xs, lengths=jnp.array([0, 3]))
    assert not any(leaf[0].any() for leaf in jax.tree.leaves(carry))
    rnn = sj.nn.RNN(sj.stack(cell, sj.gru(2)), 3, rngs=nnx.Rngs(0))
    assert jax.grad(lambda rnn: rnn(xs)[1].sum())(rnn) is not None


def test_a_linen_cell_is_refused():
    from flax import linen

    cell = sj.nn.from_flax(lambda n, *, rngs: linen.GRUCell(4), 4)
    with pytest.raises(TypeError, match="Linen"):
        cell.init(jax.random.key(0), 3)


@pytest.mark.parametrize("cell", [sj.lstm(4), sj.stack(sj.gru(4), sj.zoneout(sj.gru(4), 0.1))])
def test_a_cell_inside_flax(cell):
    flax_cell = sj.nn.FlaxCell(cell, 3, rngs=nnx.Rngs(0))
    params = to_arrays(flax_cell.variables)
    carry, ys = nnx.RNN(flax_cell, return_carry=True)(xs)
    close((carry, ys), sj.scan(cell, params, xs))
    with pytest.raises(ValueError, match="carry_init"):
        flax_cell.initialize_carry((2, 3), nnx.Rngs(0), nnx.initializers.ones)


@pytest.mark.parametrize("tied", [False, True])
def test_language_model(tied):
    model = sj.nn.LanguageModel(11, sj.gru(6), embedding_size=6, tied=tied, rngs=nnx.Rngs(0))
    tokens = jax.random.randint(jax.random.key(1), (2, 7), 0, 11)
    carry, logits = model(tokens)
    assert logits.shape == (2, 7, 11)
    state = model.initial_carry((2,))
    for t in range(7):
        state, one = model.step(state, tokens[:, t])
        close(one, logits[:, t], 1e-5)
    close(state, carry, 1e-5)
    shapes = {leaf.shape for leaf in jax.tree.leaves(model)}
    assert ((6, 11) in shapes) is not tied


def test_language_models_that_cannot_be(no_shape_checks):
    with pytest.raises(ValueError, match="sees the future"):
        sj.nn.LanguageModel(5, sj.bidirectional(sj.gru(2)), embedding_size=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="4 and 2"):
        sj.nn.LanguageModel(5, sj.gru(2), embedding_size=4, tied=True, rngs=nnx.Rngs(0))
