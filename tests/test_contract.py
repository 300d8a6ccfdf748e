"""Names, signatures, equality, reprs: what users rely on beyond numbers."""

import copy
import functools
import inspect
import pickle
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.engines.methods import METHODS
from tests.parameters import drawn
from tests.rows import thorough_but
from tests.table import CELLS, IN_FEATURES, ROWS


@pytest.mark.parametrize("name", CELLS)
def test_argument_names_never_vary(name):
    cell = CELLS[name]
    names = lambda function: list(inspect.signature(function).parameters)  # noqa: E731
    assert names(cell.init) == ["key", "in_features"]
    assert names(cell.initial_carry)[1:] == ["batch_shape"]
    assert names(cell.step)[1:] == ["carry", "x"]
    assert len(names(cell.step)) == 3


@pytest.mark.parametrize("name", CELLS)
def test_no_array_stands_twice_in_a_carry(name):
    """A train step donates the carry, and an array can be given away once."""
    with jax.enable_x64(name == "flax_gru"):
        params = drawn(CELLS[name], IN_FEATURES)
        leaves = jax.tree.leaves(CELLS[name].initial_carry(params, (2,)))
    assert len({id(leaf) for leaf in leaves}) == len(leaves)


@pytest.mark.parametrize("name", CELLS)
def test_a_method_runs_or_says_why_not(name):
    """In bfloat16, where a carry most easily changes its dtype."""
    cell = CELLS[name]
    dtype = jnp.float64 if name == "flax_gru" else jnp.bfloat16

    def run(params, xs, method):
        start = cell.initial_carry(params, (2,))
        return start, sj.scan(cell, params, xs, start, method=method)[0]

    with jax.enable_x64(name == "flax_gru"):
        key = jax.random.key(0)
        params = jax.eval_shape(lambda: sj.cast(cell.init(key, IN_FEATURES), dtype))
        xs = jax.ShapeDtypeStruct((2, 3, IN_FEATURES), dtype)
        for method in METHODS:
            if method in ROWS[name].methods:
                start, end = jax.eval_shape(functools.partial(run, method=method), params, xs)
                assert start == end
            else:
                with pytest.raises(ValueError, match=f"method='{method}' needs.*'auto'"):
                    jax.eval_shape(functools.partial(run, method=method), params, xs)


def test_scan_has_the_arguments_of_the_contract():
    signature = inspect.signature(sj.scan)
    assert str(signature.replace(return_annotation=inspect.Signature.empty)).split(",")[0]
    assert list(signature.parameters) == [
        "cell", "params", "xs", "carry", "lengths", "mask", "resets", "reverse", "truncate",
        "checkpoint_every", "method",
    ]  # fmt: skip
    assert list(inspect.signature(sj.trajectory).parameters) == list(signature.parameters)
    keyword_only = list(signature.parameters.values())[4:]
    assert all(p.kind is inspect.Parameter.KEYWORD_ONLY for p in keyword_only)


def test_every_public_name_is_documented_with_an_example():
    for name in sj.__all__:
        thing = getattr(sj, name)
        assert inspect.getdoc(thing), name
        if inspect.isfunction(thing):
            assert ">>>" in thing.__doc__, f"{name} has no example"


def test_a_step_is_a_body_for_lax_scan():
    cell = sj.lstm(4)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 3))
    carry, ys = jax.lax.scan(functools.partial(cell.step, params), cell.initial_carry(params), xs)
    _, wanted = sj.scan(cell, params, xs)
    np.testing.assert_allclose(ys, wanted, rtol=1e-6)
    assert isinstance(carry, sj.LSTMState)


def test_cells_compare_by_how_they_were_made():
    assert sj.lstm(8) == sj.lstm(8)
    assert sj.lstm(8) is sj.lstm(features=8, forget_bias=1.0)
    assert sj.lstm(8) != sj.lstm(9)
    assert sj.gru(8) != sj.gru(8, reset="before")
    chrono = sj.initializers.Chrono(longest=100)
    assert sj.lstm(8, forget_bias=chrono) == sj.lstm(8, forget_bias=sj.initializers.Chrono(100))
    assert sj.stack(sj.lstm(8), sj.gru(8)) == sj.stack(sj.lstm(8), sj.gru(8))
    assert hash(sj.elman(3)) == hash(sj.elman(3))


@pytest.mark.parametrize(
    "cell",
    [
        sj.lstm(8),
        sj.stack(sj.minimal_gru(3), first=sj.dense(2)),
        sj.dropout(sj.gru(3, recurrent_init=sj.initializers.Glorot()), rate=0.5),
    ],
    ids=str,
)
def test_copies_and_pickles_are_the_same_cell(cell):
    """In one process; elsewhere a pickle is the cell that the same call makes there."""
    assert copy.deepcopy({"cell": cell})["cell"] is cell
    assert pickle.loads(pickle.dumps(cell)) is cell


def test_the_repr_reads_like_the_call():
    assert repr(sj.lstm(8)) == "lstm(8)"
    assert repr(sj.elman(3, activation=jax.nn.relu)) == "elman(3, activation=relu)"
    nested = sj.stack(sj.dropout(sj.gru(4), 0.5), sj.bidirectional(sj.lstm(2), merge="sum"))
    assert repr(nested) == "stack(dropout(gru(4), 0.5), bidirectional(lstm(2), merge='sum'))"


@pytest.mark.parametrize("cell", [sj.lstm(4), sj.zoneout(sj.slstm(4, heads=2), 0.1)], ids=str)
def test_errors_name_the_call(cell):
    """And not the function that the call is made of, `gated(update, ...)`."""
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match=rf"^{re.escape(str(cell))}: expected inputs of width 3"):
        sj.scan(cell, params, jnp.ones((5, 2)))


def test_cells_are_static():
    cell = sj.gru(4)
    assert jax.tree.leaves(cell) == []
    params = cell.init(jax.random.key(0), 3)
    traces = []

    @jax.jit
    def run(cell, params, xs):
        traces.append(cell)
        return sj.scan(cell, params, xs)[1]

    for _ in range(2):
        run(sj.gru(4), params, jnp.ones((5, 3)))
    assert len(traces) == 1


def test_scanning_twice_outside_jit_traces_once():
    traces = []

    def update(h, x, r):
        traces.append(1)
        (gate,) = x + r
        return jnp.tanh(gate)

    cell = sj.gated(update, features=3, gates=1)
    params = cell.init(jax.random.key(0), 2)
    for value in (1.0, 2.0):
        sj.scan(cell, params, jnp.full((4, 2), value), lengths=jnp.int32(value))
    count = len(traces)
    sj.scan(cell, params, jnp.full((4, 2), 3.0), lengths=jnp.int32(3))
    assert len(traces) == count


TRAINED = (
    "lstm", "gru_reset_before_heads_layer_norm", "indrnn", "short_convolution", "minimal_gru",
    "minimal_gru_logarithmic", "lru", "s6", "rwkv4_time_mix", "slstm", "gated_delta_net",
    "kimi_delta_attention", "mlstm", "rwkv7_model", "attentive_feeding", "conv_gru",
    "all_together", "bidirectional_sum",
)  # fmt: skip
"""One of each engine, of each kind of state and of each decay."""
OFTEN_TRAINED = ("lstm", "minimal_gru", "slstm", "kimi_delta_attention", "attentive_feeding")
"""One of each engine."""


@pytest.mark.parametrize("name", thorough_but(OFTEN_TRAINED, TRAINED))
def test_cells_train_in_bfloat16(name):
    cell = CELLS[name]
    params = sj.cast(cell.init(jax.random.key(0), IN_FEATURES), jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (2, 5, IN_FEATURES), jnp.bfloat16)
    start = sj.seed_carry(cell.initial_carry(params, (2,)), jax.random.key(2))

    @jax.jit
    def train(params):
        def loss(params):
            carry, ys = sj.scan(cell, params, xs, start, lengths=jnp.array([5, 2]))
            return jnp.square(ys.astype(jnp.float32) - 0.5).sum(), carry

        (value, carry), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        params = jax.tree.map(lambda p, g: p - (0.02 * g).astype(p.dtype), params, gradient)
        return params, carry, value

    losses = []
    for _ in range(4):
        params, carry, value = train(params)
        losses.append(float(value))
    dtypes = lambda tree: [leaf.dtype for leaf in jax.tree.leaves(tree)]  # noqa: E731
    assert dtypes(carry) == dtypes(start)
    assert all(leaf.dtype == jnp.bfloat16 for leaf in jax.tree.leaves(params))
    assert losses[-1] < losses[0] or not jax.tree.leaves(params)


def test_a_gate_in_ten_lines():
    """The example of the contract, letter by letter."""

    def minimal_gated_unit(features):
        def update(h, x, r):
            forget = jax.nn.sigmoid(x[0] + r[0])
            return (1 - forget) * h + forget * jnp.tanh(x[1] + forget * r[1])

        return sj.gated(update, features=features, gates=2)

    own, ours = minimal_gated_unit(4), sj.minimal_gated(4)
    params = own.init(jax.random.key(0), 3)
    assert jax.tree.map(jnp.shape, params) == {
        "input": (3, 2, 4), "recurrent": (4, 2, 4), "bias": (2, 4),
    }  # fmt: skip
    xs = jax.random.normal(jax.random.key(1), (2, 6, 3))
    np.testing.assert_array_equal(sj.scan(own, params, xs)[1], sj.scan(ours, params, xs)[1])
