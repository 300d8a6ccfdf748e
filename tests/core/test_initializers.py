"""Where parameters start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax import initializers


def test_recurrent_weights_are_orthogonal_gate_by_gate():
    params = sj.lstm(16).init(jax.random.key(0), 3)
    gates = jnp.moveaxis(params["recurrent"], 1, 0)
    for gate in gates:
        np.testing.assert_allclose(gate @ gate.T, np.eye(16), atol=1e-5)
    assert not np.allclose(gates[0], gates[1])


def test_blocks_are_orthogonal_one_by_one():
    recurrent = sj.gru(8, blocks=2).init(jax.random.key(0), 3)["recurrent"]
    for block in recurrent:
        for gate in jnp.moveaxis(block, 1, 0):
            np.testing.assert_allclose(gate @ gate.T, np.eye(4), atol=1e-5)


def test_input_weights_know_the_fan_of_one_gate():
    weights = sj.lstm(200).init(jax.random.key(0), 100)["input"]
    bound = np.sqrt(6 / 300)
    assert 0.99 * bound < np.abs(weights).max() <= bound


def test_forget_bias():
    assert (sj.lstm(3).init(jax.random.key(0), 2)["bias"] == jnp.array([[0], [1], [0], [0]])).all()
    coupled = sj.lstm(3, coupled=True, forget_bias=2.0).init(jax.random.key(0), 2)["bias"]
    assert (coupled == jnp.array([[2], [0], [0]])).all()


def test_chrono():
    cell = sj.lstm(2000, forget_bias=initializers.Chrono(100), blocks=2000)  # diagonal: small
    bias = cell.init(jax.random.key(0), 1)["bias"]
    np.testing.assert_array_equal(bias[0], -bias[1])
    assert not bias[2:].any()
    # exp(bias) is uniform in [1, 99].
    np.testing.assert_allclose(np.exp(bias[1]).mean(), 50, rtol=0.05)
    assert np.exp(bias[1]).max() <= 99.01
    gru = sj.gru(4, bias_init=initializers.Chrono(100, forget=1, input=None))
    assert (gru.init(jax.random.key(0), 1)["bias"] != 0).any(1).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "initializer",
    [
        initializers.Orthogonal(2.0),
        initializers.Glorot(),
        initializers.Uniform(0.3),
        initializers.Constant(0.5),
        jax.nn.initializers.he_normal(),
    ],
)
def test_any_initializer_fits(initializer):
    cell = sj.gru(4, input_init=initializer, recurrent_init=initializer)
    params = cell.init(jax.random.key(0), 3)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(params))
    for dtype in (jnp.bfloat16, jnp.float16):
        assert initializer(jax.random.key(0), (4, 4), dtype).dtype == dtype


def test_the_same_key_gives_the_same_parameters():
    cell = sj.stack(sj.lstm(4), sj.gru(3))
    one, two, three = (cell.init(jax.random.key(k), 2) for k in (0, 0, 1))
    jax.tree.map(np.testing.assert_array_equal, one, two)
    assert not np.allclose(one["lstm_0"]["input"], three["lstm_0"]["input"])
