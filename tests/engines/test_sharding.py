"""One result on every kind of mesh: Auto, Explicit, and by hand with shard_map."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import seqjax as sj
from seqjax.engines import sizes
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

NAMES = ["lstm", "gru_reset_before_heads_layer_norm", "bidirectional_inside", "all_together"]
ROWS, TIME = 4, 5


@pytest.fixture(params=NAMES)
def case(request):
    cell = CELLS[request.param]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, IN_FEATURES))
    flags = {
        "mask": jax.random.bernoulli(jax.random.key(2), 0.7, (ROWS, TIME)),
        "resets": jax.random.bernoulli(jax.random.key(3), 0.3, (ROWS, TIME)),
    }
    return cell, params, xs, flags


def run(cell, params, xs, flags):
    return sj.scan(cell, params, xs, truncate=2, **flags)


def noisy(cell, params, xs, keys):
    """With one key for each row, so that a row's noise is the same wherever it runs."""
    carry = sj.seed_carry(cell.initial_carry(params, xs.shape[:1]), jax.random.key(0))
    carry = carry._replace(randomness=carry.randomness._replace(key=keys))
    return sj.scan(cell, params, xs, carry, resets=xs[..., 0] > 1)


def loss(params, cell, xs, flags):
    carry, ys = run(cell, params, xs, flags)
    leaves = [leaf for leaf in jax.tree.leaves(carry) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.square(ys).sum() + sum(leaf.sum() for leaf in leaves)


GRADIENT = jax.jit(jax.grad(loss), static_argnums=1)


def same(got, wanted):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, wanted)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_jit_on_a_mesh(case, kind):
    cell, params, xs, flags = case
    wanted = run(cell, params, xs, flags), GRADIENT(params, cell, xs, flags)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        rows = NamedSharding(mesh, jax.P("data"))
        split = jax.device_put((xs, flags), rows)
        params = jax.device_put(params, NamedSharding(mesh, jax.P()))
        carry, ys = jax.jit(run, static_argnums=0)(cell, params, *split)
        gradient = GRADIENT(params, cell, *split)
    assert ys.sharding.is_equivalent_to(rows, ys.ndim)
    same(((carry, ys), gradient), wanted)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_checkpoints_on_a_mesh(kind):
    cell = sj.stack(sj.gru(3), sj.minimal_gru(2))
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, 3))
    resets = jnp.zeros((ROWS, TIME), bool).at[:, 3].set(True)

    def run(params, xs, resets, **options):
        return sj.scan(cell, params, xs, resets=resets, checkpoint_every=2, **options)

    wanted = run(params, xs, resets)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        split = jax.device_put((xs, resets), NamedSharding(mesh, jax.P("data")))
        params = jax.device_put(params, NamedSharding(mesh, jax.P()))
        for method in ("auto", "plain"):
            same(jax.jit(run, static_argnames="method")(params, *split, method=method), wanted)


def test_layers_whose_forward_pass_goes_in_tiles():
    """The gradient of a layer reaches the one below it, whatever the tiles of the two passes."""
    cell = sj.stack(sj.gru(5), sj.residual(sj.lstm(5)))
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (6, 7, 3))
    method = sj.Store(forward_tile=1)
    loss = lambda p, xs: jnp.square(sj.scan(cell, p, xs, method=method)[1]).sum()  # noqa: E731
    gradient = jax.jit(jax.grad(loss, argnums=(0, 1)))
    wanted = gradient(params, xs)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    rows, everywhere = NamedSharding(mesh, jax.P("data")), NamedSharding(mesh, jax.P())
    split = jax.device_put(params, everywhere), jax.device_put(xs, rows)
    same(gradient(*split), wanted)


def test_shard_map(case):
    cell, params, xs, flags = case
    wanted = run(cell, params, xs, flags), GRADIENT(params, cell, xs, flags)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))

    def local(params, xs, flags):
        own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "data", to="varying"), params)
        gradient = jax.lax.psum(jax.grad(loss)(own, cell, xs, flags), "data")
        return run(cell, params, xs, flags), gradient

    split = jax.shard_map(
        local,
        mesh=mesh,
        in_specs=(jax.P(), jax.P("data"), jax.P("data")),
        out_specs=(jax.P("data"), jax.P()),
    )
    same(jax.jit(split)(params, xs, flags), wanted)


def test_noise_does_not_depend_on_where_a_row_runs():
    cell = sj.dropout(sj.gru(4), 0.5)
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, IN_FEATURES))
    keys = jax.random.split(jax.random.key(2), ROWS)
    _, wanted = noisy(cell, params, xs, keys)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,))
    rows = jax.P("data")
    split = jax.shard_map(
        lambda p, x, k: noisy(cell, p, x, k)[1],
        mesh=mesh, in_specs=(jax.P(), rows, rows), out_specs=rows,
    )  # fmt: skip
    same(jax.jit(split)(params, xs, keys), wanted)


@pytest.mark.parametrize("name", ["kimi_delta_attention", "rwkv7_model"])
def test_rows_by_vmap_on_an_explicit_mesh(name):
    """Three chunks of 16 steps, so that blocks are split and triangular systems halved."""
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,))

    def total(params, xs):
        one = lambda x: sj.scan(cell, params, x, method=sj.Chunked(chunk=16))[1]  # noqa: E731
        return jax.vmap(one)(xs).sum()

    with jax.set_mesh(mesh):
        xs = jax.device_put(jnp.ones((ROWS, 48, IN_FEATURES)), NamedSharding(mesh, jax.P("data")))
        gradient = jax.eval_shape(jax.grad(total), params, xs)
    assert jax.tree.structure(gradient) == jax.tree.structure(params)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_wide_gates_have_products_of_their_own(kind):
    """Where a batch is split over CPU devices, with weights that no step cuts out again."""
    cell = sj.gru(sizes.WIDE_GATE.here)
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, IN_FEATURES))
    flags = {"resets": jax.random.bernoulli(jax.random.key(2), 0.3, (ROWS, TIME))}
    wanted = run(cell, params, xs, flags)
    mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,))
    with jax.set_mesh(mesh):
        split = jax.device_put((xs, flags), NamedSharding(mesh, jax.P("data")))
        params = jax.device_put(params, NamedSharding(mesh, jax.P()))
        program = jax.jit(run, static_argnums=0).lower(cell, params, *split).compile()
        same(program(params, *split), wanted)
    wide = f"f32[{cell.features},{cell.features}]"
    made = [line for line in program.as_text().splitlines() if f"= {wide}" in line]
    in_loop = [line for line in made if "while/body" in line]
    assert made and not in_loop, in_loop
