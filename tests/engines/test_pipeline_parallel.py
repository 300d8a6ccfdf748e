"""Layers over four devices against one."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType

import seqjax as sj
from tests.time_over_devices import results, same

ROWS, TIME = 2, 11


def both(cell, options, method, key=None):
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, 3))
    carry = cell.initial_carry(params, (ROWS,))
    carry = carry if key is None else sj.seed_carry(carry, key)
    wanted = results(cell, params, xs, carry, options, "auto")
    same(results(cell, params, xs, carry, options, method), wanted)


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
def test_values_and_gradients_are_those_of_one_device(x64, kind):
    """Two layers for each of four devices, and a last stretch that is not full."""
    mesh = jax.make_mesh((4,), ("layer",), (kind,))
    options = {
        "mask": jax.random.bernoulli(jax.random.key(2), 0.7, (ROWS, TIME)),
        "resets": jax.random.bernoulli(jax.random.key(3), 0.2, (ROWS, TIME)),
        "truncate": 4,
        "reverse": True,
    }
    cell = sj.stack(*[sj.residual(sj.gru(3))] * 8)
    both(cell, options, sj.PipelineParallel(stretch=3, mesh=mesh))


def test_noise_and_rows_on_devices_of_their_own(x64):
    mesh = jax.make_mesh((2, 2), ("data", "layer"), (AxisType.Auto,) * 2)
    cell = sj.stack(*[sj.dropout(sj.zoneout(sj.lstm(3), 0.2), 0.3)] * 2)
    both(cell, {}, sj.PipelineParallel(mesh=mesh), jax.random.key(4))


def test_inside_shard_map():
    cell = sj.stack(*[sj.lstm(3)] * 4)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (ROWS, TIME, 3))
    run = lambda p, x: sj.scan(cell, p, x, method=sj.PipelineParallel(stretch=2))  # noqa: E731
    mesh = jax.make_mesh((4,), ("layer",), (AxisType.Auto,))
    split = jax.shard_map(run, mesh=mesh, in_specs=jax.P(), out_specs=jax.P())
    same(jax.jit(split)(params, xs), sj.scan(cell, params, xs), 1e-6)


@pytest.mark.parametrize(
    "cell, message",
    [
        (sj.gru(3), "gru.3. is none"),
        (sj.stack(sj.gru(3), sj.lstm(3)), "layers that are all the same"),
        (sj.stack(*[sj.gru(4)] * 4), "layers that are all the same"),
        (sj.stack(*[sj.gru(3)] * 6), "4 devices as many layers, got 6"),
    ],
    ids=str,
)
def test_errors(cell, message):
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 3))
    xs = jax.ShapeDtypeStruct((2, 8, 3), jnp.float32)
    mesh = jax.make_mesh((4,), ("layer",), (AxisType.Auto,))
    with jax.set_mesh(mesh), pytest.raises(ValueError, match=message):
        jax.eval_shape(lambda p, x: sj.scan(cell, p, x, method=sj.PipelineParallel()), params, xs)
