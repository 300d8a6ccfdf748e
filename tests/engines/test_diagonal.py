"""Cells that are linear in their state: every way to run them, in chunks of any size."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.test_util import check_grads

import seqjax as sj
from seqjax.core.affine import Update
from seqjax.core.linear import Diagonal
from seqjax.engines import prefix, sizes
from tests.engines.test_gated_steps import collectives_inside_loops
from tests.parameters import drawn
from tests.table import CORE, IN_FEATURES, ROWS

ONE = {name: CORE[name] for name in CORE if isinstance(CORE[name].structure, Diagonal)}


# Tiles of a few steps, inside of them either way; and chunks inside of a tile.
BY_STEPS = sj.Chunked(tile=3, inside="steps")
CHUNKS = sj.Chunked(chunk=2, tile=5)
METHODS = pytest.mark.parametrize("method", [BY_STEPS, CHUNKS, sj.Associative()], ids=str)


# Numbers real and complex, with a scale of their own and without, read as they are and by division.
READ = ["short_convolution", "qrnn", "minimal_lstm_logarithmic", "lru", "rg_lru", "mamba"]
READ += ["rwkv4_time_mix", "slstm_linear"]


@pytest.mark.parametrize("name", READ)
def test_padding_first(name, x64):
    """All at once, with rows that begin with padding or hold nothing else: values and gradients.

    The state at such a step may be one that cannot be read, such as 0 over 0.
    """
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (3, 5, IN_FEATURES))
    lengths = jnp.array([5, 2, 0])

    def loss(params, xs, method):
        _, ys = sj.scan(cell, params, xs, lengths=lengths, reverse=True, method=method)
        return jnp.square(ys).sum()

    run = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    got, wanted = (run(params, xs, method) for method in ("associative", "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-10)


@METHODS
@pytest.mark.parametrize("name", ONE)
def test_a_reset_forgets_nan(name, method):
    """Also one that comes up on the way."""
    cell = ONE[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (7, IN_FEATURES))
    resets = jnp.zeros(7, bool).at[4].set(True)

    def tail(params, xs):
        return jnp.square(sj.scan(cell, params, xs, resets=resets, method=method)[1][4:]).sum()

    value = tail(params, xs.at[1].set(jnp.nan))
    np.testing.assert_allclose(value, tail(params, xs), rtol=1e-6)


@pytest.mark.parametrize("method", ["chunked", "associative"])
@pytest.mark.parametrize(
    "cell",
    [
        sj.minimal_gru(2),
        sj.minimal_lstm(2),
        sj.lru(2, state=2),
        sj.slstm(2, recurrent=False),
        sj.rwkv4_time_mix(2),
    ],
    ids=str,
)
def test_no_drift_over_a_hundred_thousand_steps(cell, method):
    """Float32 against float64, whole sequences."""
    params = drawn(cell, 2)
    # What starts at zero would hide what comes before it.
    params = jax.tree.map(lambda p: jnp.where(jnp.any(p != 0), p, 0.5), params)
    xs = jax.random.normal(jax.random.key(1), (100_000, 2))
    short = np.asarray(jax.jit(lambda p, x: sj.scan(cell, p, x, method=method)[1])(params, xs))
    with jax.enable_x64(True):
        wide = sj.cast(params, jnp.float64), jnp.asarray(xs, jnp.float64)
        exact = np.asarray(sj.scan(cell, *wide, method="plain")[1])
    error = np.abs(short - exact).max(1) / np.abs(exact).max()
    assert error[-1000:].max() < 1e-5
    assert error[-1000:].max() < 10 * error[:1000].max() + 1e-6


def test_the_logarithmic_form_is_the_same_function(x64):
    plain, logarithmic = sj.minimal_gru(4), sj.minimal_gru(4, logarithmic=True)
    params = plain.init(jax.random.key(0), 3)
    # Candidates of 1/2 and more: g(u) = u + 1/2 there.
    xs = jax.random.uniform(jax.random.key(1), (300, 3))
    params["input"] = jnp.abs(params["input"])
    raised = params | {"bias": params["bias"].at[1].add(0.5)}
    exact = sj.scan(plain, raised, xs)[1]
    np.testing.assert_allclose(sj.scan(logarithmic, params, xs)[1], exact, rtol=1e-10)


def test_gauge():
    """A constant on all exponential gates changes nothing."""
    cell = sj.slstm(3, recurrent=False)
    params = cell.init(jax.random.key(0), 2)
    raised = params | {"bias": params["bias"].at[0].add(50.0)}
    xs = jax.random.normal(jax.random.key(1), (9, 2))
    for method in ("plain", "chunked", "associative"):
        got, wanted = (sj.scan(cell, p, xs, method=method)[1] for p in (raised, params))
        np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-6)


def test_what_is_saved():
    """The states between chunks and no more than one copy of the inputs."""
    cell = sj.minimal_gru(64)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))
    time, rows = 4096, 8
    xs = jax.ShapeDtypeStruct((rows, time, 8), jnp.float32)
    inputs, states = 4 * rows * time * 8, 4 * rows * time * 64
    report = sj.memory_report(cell, params, xs, method="chunked")
    assert report.saved < 1.1 * inputs + states / sizes.FEWEST_LINEAR_STEPS.here
    assert sj.memory_report(cell, params, xs, method="plain").saved > 2 * states


def test_states_wider_than_the_inputs_are_never_all_there():
    cell = sj.s6(16, state=16)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 16))
    time, rows = 4096, 2
    xs = jax.ShapeDtypeStruct((rows, time, 16), jnp.float32)
    states = 4 * rows * time * 16 * 16
    assert sj.memory_report(cell, params, xs, method="chunked").temporaries < states
    assert sj.memory_report(cell, params, xs, method="plain").temporaries > states


def test_bfloat16_gradients_add_up_in_float32():
    cell = sj.minimal_gru(4)
    params = sj.cast(drawn(cell, 3), jnp.bfloat16)
    xs = jax.random.uniform(jax.random.key(1), (1, 65_536, 3), jnp.bfloat16)

    def gradient(dtype):
        def loss(params):
            ys = sj.scan(cell, sj.cast(params, dtype), xs.astype(dtype), method="chunked")[1]
            return ys.astype(jnp.float32).sum()

        return jax.jit(jax.grad(loss))(params)["bias"].astype(jnp.float32)

    exact = gradient(jnp.float32)
    assert jnp.abs(gradient(jnp.bfloat16) - exact).max() < 0.02 * jnp.abs(exact).max()


def test_the_state_stays_in_float32():
    cell = sj.minimal_gru(4)
    params = sj.cast(drawn(cell, 3), jnp.bfloat16)
    carry, ys = sj.scan(cell, params, jnp.ones((5, 3), jnp.bfloat16))
    assert carry.dtype == jnp.float32 and ys.dtype == jnp.bfloat16


@METHODS
def test_gradients_of_a_trajectory(method, x64):
    cell = sj.lru(3)
    params = drawn(cell, 2)
    xs = jax.random.normal(jax.random.key(1), (2, 7, 2))

    def gradient(method):
        def loss(params, xs):
            return jnp.sin(sj.trajectory(cell, params, xs, reverse=True, method=method).real).sum()

        return jax.jit(jax.grad(loss, (0, 1)))(params, xs)

    chex.assert_trees_all_close(gradient(method), gradient("plain"), rtol=1e-10, atol=1e-10)


def test_the_derivative_of_an_associative_scan(x64):
    """Its derivative with respect to coefficients and start, against finite differences."""
    keys = jax.random.split(jax.random.key(0), 3)
    decay, value = (jax.random.normal(key, (5, 2, 3)) for key in keys[:2])
    start = jax.random.normal(keys[2], (2, 3))
    fresh = jnp.zeros((5, 2), bool).at[3, 0].set(True)

    def run(decay, value, start):
        return prefix.solve(None, Update(decay, value), start, fresh)

    check_grads(jax.jit(run), (decay, value, start), order=2, atol=1e-6, rtol=1e-6)


def test_coefficients_that_do_not_fit():
    def run(coefficients):
        cell = sj.diagonal(
            coefficients,
            init=lambda key, in_features: (),
            initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 2)),
            features=2,
        )
        sj.scan(cell, (), jnp.ones((4, 2)))

    with pytest.raises(ValueError, match=r"\(decay, value\)"):
        run(lambda params, x: x)
    with pytest.raises(ValueError, match="kind of the state"):
        run(lambda params, x: (sj.Complex(x, x), sj.Complex(x, x)))
    with pytest.raises(ValueError, match="shape of the state"):
        run(lambda params, x: (x[..., None], x[..., None]))
    with pytest.raises(ValueError, match="belong to linear"):
        sj.linear(
            lambda x: x,
            features=3,
            gates=2,
            parameters={"bias": sj.initializers.Constant()},
        )
    cell = sj.minimal_gru(3)
    with pytest.raises(ValueError, match="width 2.*4"):
        sj.scan(cell, drawn(cell, 2), jnp.ones((4, 4)))


def test_zoneout_of_a_linear_cell_goes_the_plain_way():
    cell = sj.zoneout(sj.minimal_gru(3), 0.5)
    params = drawn(cell, 2)
    assert sj.scan(cell, params, jnp.ones((4, 2)))[1].shape == (4, 3)
    with pytest.raises(ValueError, match="linear in their state"):
        sj.scan(cell, params, jnp.ones((4, 2)), method="chunked")


@pytest.mark.parametrize("method", ["chunked", "associative"])
@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_rows_on_several_devices(kind, method):
    """The numbers of one device, with the sum over devices outside of all loops."""
    cell = sj.stack(sj.short_convolution(3), sj.minimal_gru(4), sj.lru(2))
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (4, 10, 3))
    mask = jax.random.bernoulli(jax.random.key(2), 0.7, (4, 10))

    def loss(params, xs, mask):
        ys = sj.scan(cell, params, xs, mask=mask, resets=mask, truncate=4, method=method)[1]
        return jnp.square(ys).sum()

    gradient = jax.value_and_grad(loss)
    wanted = jax.jit(gradient)(params, xs, mask)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    split = jax.device_put((xs, mask), NamedSharding(mesh, jax.P("data")))
    params = jax.device_put(params, NamedSharding(mesh, jax.P()))
    program = jax.jit(gradient).lower(params, *split).compile()
    got = program(params, *split)
    if method == "chunked":
        assert collectives_inside_loops(program.as_text())[0] == 0
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(wanted), rtol=1e-4, atol=1e-5)
