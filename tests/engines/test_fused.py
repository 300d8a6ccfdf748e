"""Loops over time as kernels, interpreted: on a CPU there are no others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental.pallas import tpu as pltpu
from jax.sharding import AxisType

import seqjax as sj
from seqjax.core.matrix_step import MatrixState
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.fused.checkpointed import Tangents, forward
from seqjax.engines.fused.fused_memory import tile_of
from seqjax.engines.fused.kernel import scan_in_kernel
from seqjax.engines.fused.lanes import Lanes
from seqjax.engines.fused.linear_pair import linear_pair
from seqjax.testing import check_cell
from tests.matrix_cells import FORMS, form
from tests.parameters import drawn
from tests.rows import thorough_but
from tests.table import CELLS, IN_FEATURES

FUSED = sj.Fused(tile=4, block=2)


@pytest.mark.parametrize(
    "name",
    thorough_but(
        ("lstm_heads", "slstm", "lru"),
        ("lstm_heads", "gru_reset_before", "slstm", "lstm_projection", "minimal_gru", "lru"),
    ),
)
def test_laws(name):
    """Weights in blocks, a modulated state, several states, a product that is not of gates; and
    states that are linear, complex too."""
    check_cell(CELLS[name], IN_FEATURES, methods=(FUSED,), thorough=False)


def body(carry, now):
    """Of weights in three dimensions, a bias in one, and flags."""
    weights, bias = WEIGHTS
    (h, count), (x, flag) = carry, now
    new = jnp.tanh((h @ weights.reshape(4, 12)).reshape(2, 3, 4).sum(1) + bias[None] + x)
    return (jnp.where(flag, new, h), count + 1), {"h": h * 2, "flag": jnp.where(flag, x, 0)}


WEIGHTS = np.linspace(-1, 1, 48, dtype=np.float32).reshape(4, 3, 4), np.ones(4, np.float32)
START = np.zeros((2, 4), np.float32), np.zeros((2, 1), np.float32)
XS = np.random.default_rng(0).standard_normal((6, 2, 4)).astype(np.float32)
FLAGS = np.random.default_rng(1).random((6, 2, 1)) < 0.5


@pytest.mark.parametrize("reverse", [False, True])
def test_a_kernel_is_a_scan(reverse):
    """With memory that is NaN before it is written, and with every access watched."""
    wanted = jax.lax.scan(body, START, (XS, FLAGS), reverse=reverse)
    watched = pltpu.InterpretParams(
        detect_races=True, uninitialized_memory="nan", out_of_bounds_reads="raise",
        dma_execution_mode="on_wait",
    )  # fmt: skip
    for interpret in (True, watched):
        got = scan_in_kernel(
            body, START, (XS, FLAGS), block=2, reverse=reverse, interpret=interpret
        )
        chex.assert_trees_all_close(got, wanted, rtol=1e-6)


def test_many_kernels_at_once():
    starts = jax.tree.map(lambda leaf: jnp.stack([leaf, leaf + 1, leaf]), START)

    def run(scan):
        return jax.vmap(lambda start, x: scan(body, start, (x, FLAGS), reverse=False))(
            starts, jnp.stack([XS, -XS, XS])
        )

    got = run(lambda *args, **options: scan_in_kernel(*args, block=3, **options))
    chex.assert_trees_all_close(got, run(jax.lax.scan), rtol=1e-6)


def test_a_linear_function_and_its_transpose():
    """Forward by the one, backward by the other; what it knows has a derivative as well."""
    weights, x = jax.random.normal(jax.random.key(0), (3, 2)), jnp.arange(2.0)
    forward = lambda known, x: [known[0] @ x[0]]  # noqa: E731
    backward = lambda known, y: [known[0].T @ y[0]]  # noqa: E731
    pair = lambda w, x: jnp.sin(linear_pair(forward, backward, [w], [x])[0]).sum()  # noqa: E731
    plain = lambda w, x: jnp.sin(w @ x).sum()  # noqa: E731
    both = (0, 1)
    chex.assert_trees_all_close(
        *(jax.jit(jax.hessian(f, both))(weights, x) for f in (pair, plain)), rtol=1e-5
    )
    many = jnp.stack([weights, weights + 1])
    for axes, args in (((0, None), (many, x)), ((None, 0), (weights, jnp.stack([x, 2 * x])))):
        chex.assert_trees_all_close(
            *(jax.vmap(jax.grad(f, both), axes)(*args) for f in (pair, plain)), rtol=1e-5
        )
    doubled = lambda known, y: [2 * known[0].T @ y[0]]  # noqa: E731
    taken = jax.grad(lambda x: linear_pair(forward, doubled, [weights], [x])[0].sum())(x)
    np.testing.assert_allclose(taken, 2 * weights.sum(0), rtol=1e-6)


def test_derivatives_of_any_kind(x64):
    cell = sj.gru(3)
    params = drawn(cell, 2)
    xs = jax.random.normal(jax.random.key(1), (2, 5, 2))
    direction = jax.tree.map(jnp.cos, params)

    def slopes(method):
        loss = lambda params: jnp.sin(sj.scan(cell, params, xs, method=method)[1]).sum()  # noqa: E731
        return jax.jvp(jax.grad(loss), (params,), (direction,))

    got, wanted = (jax.jit(slopes, static_argnums=0)(m) for m in (FUSED, "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-9)


def test_bfloat16_is_added_up_in_float32():
    """Products and gradients of weights, beside those of float32 with the same parameters."""
    cell = sj.lstm(8)
    params = sj.cast(drawn(cell, 8), jnp.bfloat16)
    xs = jax.random.normal(jax.random.key(1), (2, 300, 8), jnp.bfloat16)

    def gradient(dtype, method):
        wide = sj.cast((params, xs), dtype)
        loss = lambda p, x: sj.scan(cell, p, x, method=method)[1].astype(jnp.float32).sum()  # noqa: E731
        return jax.jit(jax.grad(loss))(*wide)

    got = gradient(jnp.bfloat16, sj.Fused(tile=50, block=10))
    wanted = gradient(jnp.float32, "plain")
    for ours, exact in zip(*map(jax.tree.leaves, (got, wanted)), strict=True):
        assert jnp.abs(ours.astype(jnp.float32) - exact).max() < 0.02 * jnp.abs(exact).max()


def test_it_lowers_for_every_platform():
    """A TPU gets kernels, whose products must be in float32; others interpret them."""
    cell = sj.lstm(128)
    params = sj.cast(drawn(cell, 128), jnp.bfloat16)
    loss = lambda params, xs: sj.scan(cell, params, xs, method="fused")[1].sum()  # noqa: E731
    step = jax.jit(jax.value_and_grad(loss))
    xs = jax.ShapeDtypeStruct((8, 16, 128), jnp.bfloat16)
    program = jax.export.export(step, platforms=["tpu", "cpu"])(params, xs).mlir_module()
    assert program.count("tpu_custom_call") == 2


def test_where_auto_makes_kernels(monkeypatch):
    """On a TPU, unless weights are large, states are no vectors of float32 or devices many."""
    monkeypatch.setattr(sizes, "WEIGHTS_OF_KERNEL", sizes.Size(cpu=1000, gpu=0, tpu=0))
    monkeypatch.setattr(jax, "device_count", lambda: 1)
    xs = jnp.ones((2, 3, 4))

    def makes_kernels(cell):
        params = drawn(cell, 4)
        run = lambda params, xs: sj.scan(cell, params, xs)[1]  # noqa: E731
        return "scan_kernel" in str(jax.make_jaxpr(run)(params, xs))

    assert makes_kernels(sj.gru(5))
    assert not makes_kernels(sj.gru(20))
    with jax.enable_x64(True):
        assert not makes_kernels(sj.gru(6))
    monkeypatch.setattr(jax, "device_count", lambda: 2)
    assert not makes_kernels(sj.gru(7))


def test_states_that_are_no_vectors_are_refused():
    cell = sj.zoneout(sj.gru(4), 0.1)
    params = drawn(cell, 3)
    carry = sj.seed_carry(cell.initial_carry(params, (2,)), jax.random.key(1))
    with pytest.raises(ValueError, match="needs a state of vectors of numbers.*Use method='auto'"):
        sj.scan(cell, params, jnp.ones((2, 5, 3)), carry, method="fused")


@pytest.mark.parametrize("name", ["channel-delta", "channel-low_rank", "head-stabilized"])
def test_memories(name):
    """What a step may do to a memory, both ways, with boundaries inside blocks and between."""
    with jax.enable_x64(True):
        check_memory(form(**FORMS[name]), reverse=name == "head-stabilized")


def check_memory(cell, reverse):
    params = drawn(cell, IN_FEATURES)
    xs = jnp.asarray(np.random.default_rng(0).standard_normal((3, 7, IN_FEATURES)))
    flags = {
        # Without lengths the steps that fill up the last block are the only masked ones.
        "lengths": None if reverse else jnp.array([7, 0, 5]),
        "resets": jnp.array([[0, 0, 1, 0, 0, 1, 0]] * 3, bool).at[0].set(False),
        "truncate": 4,
    }

    def loss(params, xs, method):
        carry, ys = sj.scan(cell, params, xs, method=method, reverse=reverse, **flags)
        return sum(jnp.sin(leaf).sum() for leaf in jax.tree.leaves((carry, ys)))

    got, wanted = (
        jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)(params, xs, method)
        for method in (sj.Fused(tile=4, block=2), "plain")
    )
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("time", "block", "most", "tile"),
    [(2048, 32, 416, 256), (2048, 512, 4096, 2048), (100, 8, 30, 32), (7, 3, 4, 3), (7, 7, 7, 7)],
)
def test_tiles_are_of_one_size_if_possible(time, block, most, tile):
    assert tile_of(time, block, most) == tile


@pytest.mark.parametrize("rows, heads, values", [(2, 3, 5), (10, 3, 5), (67, 3, 2), (200, 1, 4)])
def test_lanes(rows, heads, values):
    """Heads in several lanes, values that do not divide, memories in several kernels."""
    structure = sj.matrix_state(
        lambda p, x: sj.Access(x, x, x), heads=heads, keys=2, values=values, init={}
    ).structure
    lanes = Lanes(structure, (rows,))
    number = np.random.default_rng(0).standard_normal
    memory, scale = (
        jnp.asarray(number(shape), jnp.float32)
        for shape in ((rows, heads, 2, values), (rows, heads))
    )
    state = lanes.state(MatrixState(memory, scale))
    chex.assert_trees_all_equal(lanes.state_back(state), MatrixState(memory, scale))
    key, value = map(jnp.asarray, (number((3, rows, heads, 2)), number((3, rows, heads, values))))
    access = lanes.access(sj.Access(key, key, value, rate=key[..., 0]))
    outer = access.key[:, :, :, None] * access.value[:, :, None] * access.rate[:, :, None]
    for step in range(3):
        wanted = key[step, ..., None] * value[step, ..., None, :] * key[step, ..., :1, None]
        got = lanes.state_back(MatrixState(outer[:, step], None)).memory
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    np.testing.assert_allclose(lanes.reading(access.value[:, :, None]), value, rtol=1e-6)
    flags = np.random.default_rng(1).random((3, rows)) < 0.5
    wide = lanes.flags(Boundaries(flags)).valid
    spread = jnp.broadcast_to(wide[:, :, :, None], (*wide.shape[:3], lanes.values, wide.shape[-1]))
    np.testing.assert_array_equal(
        lanes.reading(spread)[..., 0], flags[..., None] * [[True] * heads]
    )


def test_a_checkpointed_kernel_is_a_scan():
    """Both ways, with memory that is NaN before it is written, and with every access watched."""
    number = np.random.default_rng(0).standard_normal
    carry = (number((2, 4)).astype(np.float32),)
    xs = number((6, 2, 4)).astype(np.float32), np.random.default_rng(1).random((6, 2, 1)) < 0.7

    def step(carry, now):
        (h,), (x, flag) = carry, now
        new = jnp.where(flag, jnp.sin(h) * x, h)
        return (new,), (new * x).sum(0, keepdims=True)

    def scan(carry, x):
        return jax.lax.scan(step, carry, (x, xs[1]))

    (end, ys), pull = jax.vjp(scan, carry, xs[0])
    wanted = jax.tree.leaves(pull(((jnp.cos(end[0]),), jnp.cos(ys))))
    watched = pltpu.InterpretParams(
        detect_races=True, uninitialized_memory="nan", out_of_bounds_reads="raise",
        dma_execution_mode="on_wait",
    )  # fmt: skip
    for interpret in (None, watched):
        got = forward(step, 2, carry, xs, starts=True, interpret=interpret)
        chex.assert_trees_all_close(got[:2], (end, ys), rtol=1e-6)
        loop = Tangents(step, 2, jax.tree.structure((carry, xs)), carries=1)
        known, cotangents = [*carry, *xs, *got[2]], [jnp.cos(end[0]), jnp.cos(ys)]
        chex.assert_trees_all_close(loop.backward(known, cotangents, interpret), wanted, rtol=1e-5)


def test_inside_shard_map():
    """Kernels are made where nothing is typed by the axes that it varies over."""
    cell = sj.gru(2)
    params, xs = drawn(cell, 2), jnp.ones((2, 3, 2))
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def gradient(params, xs, method):
        return jax.grad(lambda p: jnp.sin(sj.scan(cell, p, xs, method=method)[1]).sum())(params)

    def over_devices(check, method):
        def local(params, xs):
            return jax.lax.psum(gradient(params, xs, method), "data")

        specs = dict(in_specs=(jax.P(), jax.P("data")), out_specs=jax.P(), check_vma=check)
        return jax.shard_map(local, mesh=mesh, **specs)

    got = jax.jit(over_devices(False, "fused"))(params, xs)
    chex.assert_trees_all_close(got, gradient(params, xs, "plain"), rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="cannot type by the axes .* check_vma=False"):
        jax.eval_shape(over_devices(True, "fused"), params, xs)
