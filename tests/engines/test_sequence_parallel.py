"""Time over four devices against one; `python -m tests.time_over_devices` runs all cells."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding

import seqjax as sj
from tests.rows import thorough_but
from tests.table import CELLS
from tests.time_over_devices import FLAGS, MADE, check

ONE_OF_A_KIND = {
    "lru": "masked",
    "minimal_gru_logarithmic": "reversed",
    "retention": "masked",
    "gated_delta_net": "reversed",
    "learned_mlstm": "masked",
    "stack_linear": "masked",
    "wide_window": "masked",
}
"""Real, complex and log-scaled states; memories that add, correct and scale; windows, rings,
counts, noise."""


@pytest.mark.parametrize(
    "name", thorough_but(("lru", "gated_delta_net", "wide_window"), ONE_OF_A_KIND)
)
def test_values_and_gradients_are_those_of_one_device(x64, name):
    check((CELLS | MADE)[name], FLAGS[ONE_OF_A_KIND[name]], devices=[4])


def scanned(params, xs, resets, **options):
    return sj.scan(CELLS["minimal_gru"], params, xs, resets=resets, **options)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("shape", [{"time": 3}, {"data": 2, "time": 2}], ids=["odd", "two axes"])
def test_on_every_mesh(kind, shape):
    """The mesh of the context, and an odd number of devices."""
    params = CELLS["minimal_gru"].init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (2, 12, 3))
    resets = jax.random.bernoulli(jax.random.key(2), 0.2, (2, 12))
    wanted = scanned(params, xs, resets)
    devices = jax.devices()[: np.prod([*shape.values()])]
    mesh = jax.make_mesh(tuple(shape.values()), tuple(shape), (kind,) * len(shape), devices=devices)
    split = NamedSharding(mesh, jax.P("data" if "data" in shape else None, "time"))
    xs, resets = jax.device_put((xs, resets), split)
    params = jax.device_put(params, NamedSharding(mesh, jax.P()))
    with jax.set_mesh(mesh):
        method = sj.SequenceParallel("time")
        carry, ys = jax.jit(scanned, static_argnames="method")(params, xs, resets, method=method)
    assert ys.sharding.is_equivalent_to(split, ys.ndim)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), (carry, ys), wanted)


MESH = ((4,), ("time",), (AxisType.Auto,))


def program(cell, width=4):
    """A gradient's program for four devices, as text."""
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), width))
    xs = jax.ShapeDtypeStruct((2, 64, width), jnp.float32)
    resets = jax.ShapeDtypeStruct((2, 64), bool)

    def local(params, xs, resets):
        own = jax.tree.map(lambda leaf: jax.lax.pcast(leaf, "time", to="varying"), params)
        scan = lambda p: sj.scan(cell, p, xs, resets=resets, method=sj.SequenceParallel())[1]  # noqa: E731
        return jax.lax.psum(jax.grad(lambda p: jnp.square(scan(p)).sum())(own), "time")

    timed = jax.P(None, "time")
    gradient = jax.shard_map(
        local, mesh=jax.make_mesh(*MESH), in_specs=(jax.P(), timed, timed), out_specs=jax.P()
    )
    return jax.jit(gradient).lower(params, xs, resets).compile().as_text()


def collectives(text):
    """Names of the collectives, and those that are inside a loop."""
    found = re.findall(
        r' (all-\w+|collective-permute|reduce-scatter)[\w-]*\(.*op_name="([^"]*)"', text
    )
    return sorted(kind for kind, _ in found), [name for _, name in found if "while" in name]


@pytest.mark.parametrize(
    "cell, layers",
    [
        (sj.minimal_gru(4), 1),
        (sj.linear_attention(4, heads=2), 1),
        (sj.stack(sj.minimal_gru(4), sj.residual(sj.minimal_lstm(4))), 2),
    ],
    ids=str,
)
def test_two_permutes_a_doubling_and_layer(cell, layers):
    """Of four devices, two doublings, forward and backward; and one sum of all gradients."""
    kinds, in_loops = collectives(program(cell))
    assert kinds.count("collective-permute") == layers * 2 * 2
    assert kinds.count("all-reduce") == 1 and len(kinds) == 1 + layers * 2 * 2
    assert not in_loops


@pytest.mark.parametrize(
    "cell, messages",
    [(sj.short_convolution(4), 1), (sj.sliding_window_attention(4, window=16, heads=2), 2)],
    ids=str,
)
def test_a_window_asks_its_neighbour_alone(cell, messages):
    """For numbers; for a ring also which of its slots are written."""
    mesh = jax.make_mesh(*MESH)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 4))
    run = lambda p, x: sj.scan(cell, p, x, method=sj.SequenceParallel(mesh=mesh))[1]  # noqa: E731
    xs = jax.ShapeDtypeStruct((2, 64, 4), jnp.float32)
    kinds, _ = collectives(jax.jit(run).lower(params, xs).compile().as_text())
    assert kinds == ["collective-permute"] * messages


@pytest.mark.parametrize(
    "cell, options, message",
    [
        (sj.gru(3), {}, "gru.3. is none of them"),
        (sj.zoneout(sj.minimal_gru(3), 0.1), {}, "zoneout.* is none of them"),
        (sj.minimal_gru(3), {"axis": "rows"}, "needs a mesh with an axis 'rows'"),
        (sj.minimal_gru(3), {"time": 6}, "4 devices as many steps, got 6"),
    ],
    ids=str,
)
def test_errors(cell, options, message):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    xs = jax.ShapeDtypeStruct((2, options.get("time", 8), 3), jnp.float32)
    with jax.set_mesh(jax.make_mesh(*MESH)), pytest.raises(ValueError, match=message):
        method = sj.SequenceParallel(options.get("axis", "time"))
        jax.eval_shape(lambda p, x: sj.scan(cell, p, x, method=method), params, xs)


def test_snapshots_are_refused():
    cell = sj.minimal_gru(3)
    params = cell.init(jax.random.key(0), 3)
    with jax.set_mesh(jax.make_mesh(*MESH)), pytest.raises(ValueError, match="keeps no carries"):
        sj.snapshots(cell, params, jnp.ones((8, 3)), every=2, method=sj.SequenceParallel())


def test_a_method_for_several_devices_is_not_inside_another():
    with pytest.raises(ValueError, match="method for one device"):
        sj.SequenceParallel(inside=sj.PipelineParallel())
    with pytest.raises(ValueError, match="name of a mesh axis"):
        sj.SequenceParallel(axis="")
