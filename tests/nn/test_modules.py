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
from tests.nn.drawn import drawn, normal

xs = normal(2, 5, 3)


def close(got, wanted, tolerance=1e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got,
        wanted,
    )


def test_rnn_is_a_scan():
    cell = sj.stack(sj.lstm(4), sj.gru(3))
    rnn = drawn(lambda rngs: sj.nn.RNN(cell, 3, rngs=rngs))
    lengths = jnp.array([5, 2])

    @functools.partial(jax.jit, static_argnums=(1, 2))
    def run(given, scan, step):
        carry, ys = scan(given, xs, lengths=lengths)
        return carry, ys, scan(given, xs, carry)[0], step(given, carry, xs[:, 0])

    close(
        run(rnn, sj.nn.RNN.__call__, sj.nn.RNN.step),
        run(rnn.params, functools.partial(sj.scan, cell), cell.step),
        0,
    )
    init = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    assert jax.tree.structure(rnn.params) == jax.tree.structure(init)


def test_rnn_in_bfloat16():
    rnn = sj.nn.RNN(sj.lstm(4), 3, dtype=jnp.bfloat16, rngs=nnx.Rngs(0))
    carry, ys = jax.jit(lambda rnn: rnn(xs.astype(jnp.bfloat16)))(rnn)
    assert ys.dtype == carry.cell.dtype == jnp.bfloat16


def test_parameters_are_put_into_a_module():
    cell = sj.stack(sj.lstm(2), sj.bidirectional(sj.gru(2)))
    rnn = drawn(lambda rngs: sj.nn.RNN(cell, 3, rngs=rngs))
    half = jax.tree.map(lambda leaf: leaf.astype(jnp.bfloat16) / 2, rnn.params)
    tree = jax.tree.structure(rnn)
    rnn.set_params(half)
    close(rnn.params, half, 0)
    assert jax.tree.structure(rnn) == tree
    backward = half["bidirectional_1"].backward
    for params, message in (
        (half["lstm_0"], r"params\['bias'\] of shape None, got \(4, 2\)"),
        (
            {**half, "lstm_0": backward},
            r"params\['lstm_0'\]\['bias'\] of shape \(4, 2\), got \(3, 2\)",
        ),
        ({**half, "more": jnp.ones(2)}, r"params\['more'\] of shape None, got \(2,\)"),
    ):
        with pytest.raises(ValueError, match=rf"RNN\(stack.*\)\).set_params: expected {message}"):
            rnn.set_params(params)
    close(rnn.params, half, 0)


def test_noise_is_on_with_a_key_only():
    rnn = drawn(lambda rngs: sj.nn.RNN(sj.dropout(sj.gru(32), 0.5), 3, rngs=rngs))

    @jax.jit
    def run(rnn, key):
        carry, ys = rnn(xs, key=key)
        # The carry brings its keys along.
        return rnn(xs)[1], ys, rnn(xs, carry)[1]

    quiet, loud, again = map(np.asarray, run(rnn, jax.random.key(0)))
    assert not (quiet == 0).any()
    assert 0.3 < (loud == 0).mean() < 0.7
    assert (again == 0).any()


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
    inputs = normal(32, 6, 3)
    labels = jnp.asarray(np.asarray(inputs)[:, 0, 0] > 0, int)

    @jax.jit
    def update(model, state):
        def loss(model):
            logits = model(inputs)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, gradient = jax.value_and_grad(loss)(model)
        change, state = optimizer.update(gradient, state, model)
        return optax.apply_updates(model, change), state, value

    state = jax.jit(optimizer.init)(model)
    for _ in range(60):
        model, state, value = update(model, state)
    assert value < 0.1


@pytest.mark.parametrize("kind", [nnx.LSTMCell, nnx.OptimizedLSTMCell, nnx.GRUCell, nnx.SimpleCell])
def test_a_flax_cell_as_a_cell(kind):
    """The same values as `nnx.RNN`, and a working state at length 0 besides."""
    build = functools.partial(kind, hidden_features=4)
    cell = sj.nn.from_flax(build, 4)
    module = drawn(lambda rngs: build(3, rngs=rngs))
    rnn = drawn(lambda rngs: sj.nn.RNN(sj.stack(cell, sj.gru(2)), 3, rngs=rngs))

    @jax.jit
    def run(module, rnn):
        carry, _ = sj.scan(cell, module, xs, lengths=jnp.array([0, 3]))
        gradient = jax.grad(lambda rnn: rnn(xs)[1].sum())(rnn)
        return sj.scan(cell, module, xs)[1], nnx.RNN(module)(xs), carry, gradient

    ys, wanted, carry, gradient = run(module, rnn)
    close(ys, wanted)
    assert not any(leaf[0].any() for leaf in jax.tree.leaves(carry))
    assert all(np.any(leaf) for leaf in jax.tree.leaves(gradient))


def test_a_linen_cell_is_refused():
    from flax import linen

    cell = sj.nn.from_flax(lambda n, *, rngs: linen.GRUCell(4), 4)
    with pytest.raises(TypeError, match="Linen"):
        cell.init(jax.random.key(0), 3)


@pytest.mark.parametrize("cell", [sj.lstm(4), sj.stack(sj.gru(4), sj.zoneout(sj.gru(4), 0.1))])
def test_a_cell_inside_flax(cell):
    flax_cell = drawn(lambda rngs: sj.nn.FlaxCell(cell, 3, rngs=rngs))

    @jax.jit
    def run(flax_cell):
        params = to_arrays(flax_cell.variables)
        return nnx.RNN(flax_cell, return_carry=True)(xs), sj.scan(cell, params, xs)

    close(*run(flax_cell))
    with pytest.raises(ValueError, match="carry_init"):
        flax_cell.initialize_carry((2, 3), nnx.Rngs(0), nnx.initializers.ones)


@pytest.mark.parametrize("tied", [False, True])
def test_language_model(tied):
    model = drawn(
        lambda rngs: sj.nn.LanguageModel(11, sj.gru(6), embedding_size=6, tied=tied, rngs=rngs)
    )
    tokens = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 7)))

    @jax.jit
    def run(model):
        state, stepwise = jax.lax.scan(model.step, model.initial_carry((2,)), tokens.T)
        return model(tokens), (state, jnp.moveaxis(stepwise, 0, 1))

    (carry, logits), wanted = run(model)
    assert logits.shape == (2, 7, 11)
    close((carry, logits), wanted, 1e-5)
    if tied:
        model.bias.set_value(model.bias.get_value() + 1)
        close(run(model)[0][1], logits + 1, 1e-5)
    shapes = {leaf.shape for leaf in jax.tree.leaves(model)}
    assert ((6, 11) in shapes) is not tied


def test_language_models_that_cannot_be():
    with pytest.raises(ValueError, match="sees the future"):
        sj.nn.LanguageModel(5, sj.bidirectional(sj.gru(2)), embedding_size=4, rngs=nnx.Rngs(0))
    with pytest.raises(ValueError, match="4 and 2"):
        sj.nn.LanguageModel(5, sj.gru(2), embedding_size=4, tied=True, rngs=nnx.Rngs(0))


def test_flax_makes_a_table_of_a_model():
    model = sj.nn.LanguageModel(9, sj.gru(4), embedding_size=4, rngs=nnx.Rngs(0))
    table = nnx.tabulate(model, jnp.ones((2, 5), int), console_kwargs={"force_terminal": False})
    assert "rnn" in table and "LanguageModel" in table


class Dropping(nnx.GRUCell):
    """A cell whose dropout counts its draws."""

    def __init__(self, in_features, *, rngs):
        super().__init__(in_features, 4, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, carry, inputs):
        return super().__call__(carry, self.dropout(inputs))


def test_a_flax_cell_that_changes_itself_is_refused():
    """In a scan of ours and in a loop of the user's, where Flax would not say what to do."""
    cell = sj.nn.from_flax(Dropping, 4)
    params, xs = cell.init(jax.random.key(0), 3), jnp.ones((5, 3))
    with pytest.raises(ValueError, match="an nnx.Dropout does.*put sj.dropout around"):
        sj.scan(cell, params, xs)
    with pytest.raises(ValueError, match="an nnx.Dropout does.*put sj.dropout around"):
        jax.lax.scan(functools.partial(cell.step, params), cell.initial_carry(params), xs)
    params.dropout.deterministic = True
    assert sj.scan(cell, params, xs)[1].shape == (5, 4)


def test_lists_of_numbers_with_noise():
    rnn = sj.nn.RNN(sj.dropout(sj.elman(2), 0.5), 1, rngs=nnx.Rngs(0))
    _, ys = rnn([[1.0], [2.0]], key=jax.random.key(0))
    assert ys.shape == (2, 2)


def test_a_flax_cell_of_another_width_than_it_says():
    cell = sj.nn.from_flax(functools.partial(nnx.SimpleCell, hidden_features=3), 2)
    with pytest.raises(ValueError, match=r"^from_flax\(.*outputs of width 2.*; got 3"):
        jax.eval_shape(lambda: sj.scan(cell, cell.init(jax.random.key(0), 1), jnp.ones((2, 1))))


def test_a_number_of_tags_for_a_crf():
    with pytest.raises(TypeError, match="names of the tags.*; got 3.*sj.nn.Tagger"):
        sj.nn.CRFTagger(sj.gru(2), 2, 3, rngs=nnx.Rngs(0))  # pyright: ignore[reportArgumentType]
