"""A batch on several devices has the gradient of the whole batch."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType

import seqjax as sj
from seqjax.online import learn, rtrl, sequence_gradient, start, uoro
from tests.online.backwards import example, loss

CELL = sj.elman(2)
KEYS = jax.random.split(jax.random.key(0), 2)


def mesh_of(kind):
    return jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])


def single(tree):
    narrow = lambda leaf: leaf.astype(jnp.float32) if leaf.dtype == np.float64 else leaf  # noqa: E731
    return jax.tree.map(lambda leaf: narrow(jnp.asarray(leaf)), tree)


@pytest.mark.parametrize(
    ("learner", "key"), [(rtrl(CELL), None), (uoro(CELL), KEYS)], ids=["rtrl", "uoro"]
)
def test_updates_on_an_explicit_mesh(learner, key):
    """Where `jax.make_mesh` puts arrays unless told otherwise."""
    params, *arrays = single(example(CELL, time=4))
    optimizer = optax.sgd(0.1)

    @jax.jit
    def run(params, xs, targets, mask, resets):
        state = start(learner, optimizer, params, xs[:, 0], key)
        state, losses = learn(
            learner, optimizer, state, xs, targets, loss, every=2, mask=mask, resets=resets
        )
        return state._replace(influence=jax.tree.leaves(state.influence)[0]), losses

    rows = jax.NamedSharding(mesh_of(AxisType.Explicit), jax.P("data"))
    got, wanted = run(params, *jax.device_put(arrays, rows)), run(params, *arrays)
    chex.assert_trees_all_close(got, wanted, rtol=1e-5, atol=1e-6)
    assert got[0].carry.sharding.spec[0] == got[0].influence.sharding.spec[0] == "data"


def test_inside_shard_map_each_device_has_its_own_gradient():
    learner, mesh = rtrl(CELL), mesh_of(AxisType.Auto)
    params, xs, targets, mask, resets = single(example(CELL, time=4))

    def whole(params, xs, targets, mask, resets):
        return sequence_gradient(learner, params, xs, targets, loss, mask=mask, resets=resets)[:2]

    def summed(*parts):
        return jax.lax.psum(whole(*parts), "data")

    rows = jax.P("data")
    run = jax.shard_map(
        summed, mesh=mesh, in_specs=(jax.P(), rows, rows, rows, rows), out_specs=jax.P()
    )
    parts = params, xs, targets, mask, resets
    chex.assert_trees_all_close(jax.jit(run)(*parts), whole(*parts), rtol=1e-5, atol=1e-6)
