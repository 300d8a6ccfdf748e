"""Gradient flow, against a loop in Python that is differentiated from every step on."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.gradients import gradient_flow, model_flow, reach, run_layers, watched

TIME = 5
MASK = np.array([True, False, True, True, True])
RESETS = np.array([False, False, True, False, False])


def loop(cell, params, xs, carry, steps, mask, resets):
    """The outputs and the carry after `steps`, by `cell.step` alone."""
    initial = cell.initial_carry(params)
    ys = {}
    for t in steps:
        if mask[t]:
            start = initial if resets[t] else carry
            carry, ys[t] = cell.step(params, start, xs[t])
        else:
            ys[t] = jnp.zeros(cell.features, xs.dtype)
    return carry, ys


def norm(tree):
    return np.sqrt(sum(float(jnp.square(leaf).sum()) for leaf in jax.tree.leaves(tree)))


CELLS = [
    sj.elman(3),
    sj.lstm(2),
    sj.minimal_gru(2),
    sj.mlstm(2, heads=1),
    sj.gated_linear_attention(2, heads=1),
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("mask", "resets", "reverse"),
    [(None, None, False), (MASK, None, False), (None, RESETS, True), (MASK, RESETS, False)],
)
def test_against_a_loop(cell, mask, resets, reverse, x64):
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (TIME, 2))
    weights = jax.random.normal(jax.random.key(2), (TIME, cell.features))
    (flow,) = gradient_flow(
        cell, params, xs, lambda _, ys: (weights * ys).sum(), mask=mask, resets=resets,
        reverse=reverse,
    )  # fmt: skip
    mask = np.ones(TIME, bool) if mask is None else mask
    resets = np.zeros(TIME, bool) if resets is None else resets
    order = list(range(TIME))[:: -1 if reverse else 1]
    carry = cell.initial_carry(params)

    def rest(carry, place, xs):
        _, ys = loop(cell, params, xs, carry, order[place:], mask, resets)
        return sum((weights[t] * y).sum() for t, y in ys.items())

    for place, t in enumerate(order):
        # What enters at a reset is the initial state.
        start = cell.initial_carry(params) if resets[t] else carry
        fresh = resets.copy()
        fresh[t] = False

        def from_here(carry, place=place, fresh=fresh):
            _, ys = loop(cell, params, xs, carry, order[place:], mask, fresh)
            return sum((weights[t] * y).sum() for t, y in ys.items())

        expected = norm(jax.grad(from_here)(start)) if mask[t] else 0.0
        assert float(flow.carry[t]) == pytest.approx(expected, rel=1e-10)
        carry, _ = loop(cell, params, xs, carry, [t], mask, resets)
    gradient = jax.grad(lambda xs: rest(cell.initial_carry(params), 0, xs))(xs)
    np.testing.assert_allclose(flow.inputs, jnp.linalg.norm(gradient, axis=-1), rtol=1e-10)


def test_composites_are_taken_apart():
    cell = sj.stack(sj.bidirectional(sj.gru(3)), sj.dense(4), sj.residual(sj.lstm(4)))
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (2, 6, 2))
    lengths = jnp.array([6, 0])
    flows = gradient_flow(cell, params, xs, lambda _, ys: ys.sum(), lengths=lengths)
    assert [flow.name for flow in flows] == ["1 gru(3)", "2 gru(3)", "3 lstm(4)"]
    for flow in flows:
        assert flow.carry.shape == flow.inputs.shape == (2, 6)
        assert float(jnp.abs(flow.inputs[1]).max()) == 0
    # The same numbers as without a look.
    _, ys = run_layers(lambda layer: layer.run(), cell, params, xs, lengths=lengths)
    np.testing.assert_allclose(ys, sj.scan(cell, params, xs, lengths=lengths)[1], rtol=1e-5)


def test_a_model_is_its_cell():
    cell = sj.stack(sj.gru(3), sj.lstm(3))
    model = sj.nn.RNN(cell, 2, rngs=nnx.Rngs(0))
    xs = jax.random.normal(jax.random.key(1), (2, 6, 2))
    ours = model_flow(model, lambda model: model(xs)[1].sum())
    theirs = gradient_flow(cell, model.params, xs, lambda _, ys: ys.sum())
    for one, other in zip(ours, theirs, strict=True):
        assert one.name == other.name
        np.testing.assert_allclose(one.carry, other.carry, rtol=1e-6)
    # The model itself is as before.
    assert model.scan is sj.scan
    names = []

    def look(layer):
        names.append(layer.name)
        return layer.run()

    copy = watched(model, look)
    np.testing.assert_allclose(copy(xs)[1], model(xs)[1], rtol=1e-5)
    assert names == ["1 gru(3)", "2 lstm(3)"]


def test_a_truncation_stops_it():
    cell = sj.gru(3)
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (9, 2))
    (flow,) = gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum(), truncate=4)
    # The last cut is before step 8: of what is older nothing is seen.
    assert float(flow.inputs[:8].max()) == 0 < float(flow.inputs[8])


def test_elman_fades_at_the_rate_of_its_lyapunov_exponent():
    """The gradient by the state of a step back is that of the next, times exp(exponent)."""
    cell = sj.elman(32, recurrent_init=sj.initializers.Orthogonal(0.8))
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.zeros((60, 2))
    (flow,) = gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum())
    rate = jnp.log(flow.carry[-1] / flow.carry[0]) / 59
    found = sj.gradients.lyapunov_exponents(cell, params, xs, jax.random.key(1))
    assert -float(found.exponents[0]) == pytest.approx(float(rate), rel=0.02)


def test_lstm_reaches_back_where_elman_loses_it_in_twenty_steps():
    xs = jax.random.normal(jax.random.key(1), (400, 4))
    steps = {}
    cells = {
        "elman": sj.elman(32),
        "lstm": sj.lstm(32, forget_bias=1.0),
        "open lstm": sj.lstm(32, forget_bias=5.0),
    }
    for name, cell in cells.items():
        params = cell.init(jax.random.key(0), 4)
        (flow,) = gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum())
        steps[name] = int(reach(flow.carry, 0.01))
    assert steps["elman"] <= 20
    # With random weights, a forget gate near sigmoid(1) = 0.73 forgets as well, if later: hundreds
    # of steps need gates that are more open, by training or by their start.
    assert 2 * steps["elman"] < steps["lstm"] < 100
    assert steps["open lstm"] >= 200
