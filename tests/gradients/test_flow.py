"""Gradient flow, against backpropagation step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.gradients import gradient_flow, model_flow, reach, run_layers, with_hook
from tests.nn.drawn import drawn, drawn_params, normal

TIME = 5
MASK = np.array([True, False, True, True, True])
RESETS = np.array([False, False, True, False, False])


CELLS = [
    sj.elman(3),
    sj.lstm(2),
    sj.minimal_gru(2),
    sj.mlstm(2, heads=1),
    sj.gated_linear_attention(2, heads=1),
]


CASES = {
    "mask": (MASK, np.zeros(TIME, bool), False),
    "resets": (np.ones(TIME, bool), RESETS, False),
    "mask and resets": (MASK, RESETS, False),
    "reverse": (None, RESETS, True),
}


def norm(tree):
    return np.sqrt(sum(float(np.square(leaf).sum()) for leaf in jax.tree.leaves(tree)))


def backpropagated(step, initial, xs, weights, mask, resets, order):
    """The norms of the gradients by the state and by the input of each step, one by one.

    `step` gives the next carry, and the gradients by its own carry and input.
    """
    carry, starts = initial, {}
    nothing = jax.tree.map(jnp.zeros_like, initial)
    for t in order:
        if mask[t]:
            # What enters at a reset is the initial state.
            starts[t] = initial if resets[t] else carry
            carry, _, _ = step(starts[t], xs[t], nothing, weights[t])
    by_carry, by_input, gradient = np.zeros(TIME), np.zeros(TIME), nothing
    for t in reversed(order):
        if mask[t]:
            _, gradient, by_x = step(starts[t], xs[t], gradient, weights[t])
            by_carry[t], by_input[t] = norm(gradient), norm(by_x)
            gradient = nothing if resets[t] else gradient
    return by_carry, by_input


@pytest.mark.parametrize("cell", CELLS)
def test_against_backpropagation_by_hand(cell, x64):
    params = drawn_params(cell, 2)
    xs, weights = (normal(TIME, n, seed=n, dtype=np.float64) for n in (2, cell.features))
    initial = cell.initial_carry(params)

    @jax.jit
    def step(carry, x, by_carry, by_y):
        (carry, _), pull = jax.vjp(lambda *given: cell.step(params, *given), carry, x)
        return carry, *pull((by_carry, by_y))

    @functools.partial(jax.jit, static_argnames="reverse")
    def flow_of(mask, resets, reverse):
        (flow,) = gradient_flow(
            cell, params, xs, lambda _, ys: (weights * ys).sum(), mask=mask, resets=resets,
            reverse=reverse,
        )  # fmt: skip
        return flow.carry, flow.inputs

    for name, (mask, resets, reverse) in CASES.items():
        order = list(range(TIME))[:: -1 if reverse else 1]
        every = np.ones(TIME, bool) if mask is None else mask
        wanted = backpropagated(step, initial, xs, weights, every, resets, order)
        for got, norms in zip(flow_of(mask, resets, reverse=reverse), wanted, strict=True):
            np.testing.assert_allclose(got, norms, rtol=1e-10, err_msg=name)


def test_composites_are_taken_apart():
    cell = sj.stack(sj.bidirectional(sj.gru(3)), sj.dense(4), sj.residual(sj.lstm(4)))
    params, xs, lengths, names = drawn_params(cell, 2), normal(2, 6, 2), jnp.array([6, 0]), []

    @jax.jit
    def run(params):
        flows = gradient_flow(cell, params, xs, lambda _, ys: ys.sum(), lengths=lengths)
        names.extend(flow.name for flow in flows)
        _, ys = run_layers(lambda layer: layer.run(), cell, params, xs, lengths=lengths)
        return [flow[1:] for flow in flows], ys, sj.scan(cell, params, xs, lengths=lengths)[1]

    flows, ys, wanted = run(params)
    assert names == ["1 gru(3)", "2 gru(3)", "3 lstm(4)"]
    for carry, inputs in flows:
        assert carry.shape == inputs.shape == (2, 6)
        assert not inputs[1].any() and inputs[0].all()
    # The same numbers as without a hook.
    np.testing.assert_allclose(ys, wanted, rtol=1e-5)


def test_a_model_is_its_cell():
    cell = sj.stack(sj.gru(3), sj.lstm(3))
    model = drawn(lambda rngs: sj.nn.RNN(cell, 2, rngs=rngs))
    xs, names, seen = normal(2, 6, 2), [], []

    def hook(layer):
        seen.append(layer.name)
        return layer.run()

    @jax.jit
    def run(model):
        ours = model_flow(model, lambda model: model(xs)[1].sum())
        theirs = gradient_flow(cell, model.params, xs, lambda _, ys: ys.sum())
        names.extend([flow.name for flow in flows] for flows in (ours, theirs))
        # The model itself is as before.
        assert model._scan is sj.scan
        outputs = with_hook(model, hook)(xs)[1], model(xs)[1]
        return [flow.carry for flow in ours], [flow.carry for flow in theirs], outputs

    ours, theirs, (copied, plain) = run(model)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)
    np.testing.assert_allclose(copied, plain, rtol=1e-5)
    assert names[0] == names[1] == seen == ["1 gru(3)", "2 lstm(3)"]


def test_a_truncation_stops_it():
    cell = sj.gru(3)
    params, xs = drawn_params(cell, 2), normal(9, 2)

    @jax.jit
    def inputs_flow(params):
        return gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum(), truncate=4)[0].inputs

    # The last cut is before step 8: of what is older nothing is seen.
    inputs = inputs_flow(params)
    assert float(inputs[:8].max()) == 0 < float(inputs[8])


def test_elman_fades_at_the_rate_of_its_lyapunov_exponent():
    """The gradient by the state of a step back is that of the next, times exp(exponent)."""
    cell = sj.elman(32, recurrent_init=sj.initializers.Orthogonal(0.8))
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.zeros((60, 2))

    @jax.jit
    def run(params):
        (flow,) = gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum())
        return flow.carry, sj.gradients.lyapunov_exponents(cell, params, xs, jax.random.key(1))

    carry, found = run(params)
    rate = np.log(carry[-1] / carry[0]) / 59
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

        @jax.jit
        def run(cell=cell):
            params = cell.init(jax.random.key(0), 4)
            (flow,) = gradient_flow(cell, params, xs, lambda _, ys: ys[-1].sum())
            return reach(flow.carry, 0.01)

        steps[name] = int(run())
    assert steps["elman"] <= 20
    # With random weights, a forget gate near sigmoid(1) = 0.73 forgets as well, if later: hundreds
    # of steps need gates that are more open, by training or by their start.
    assert 2 * steps["elman"] < steps["lstm"] < 100
    assert steps["open lstm"] >= 200
