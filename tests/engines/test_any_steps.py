"""The engine for any step: what is attended to, sizes of tiles, and the program it promises."""

import math
from functools import partial

import chex
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AxisType, NamedSharding

import seqjax as sj
from seqjax.core import attention
from seqjax.engines import any_steps, sizes
from tests.jaxprs import loops
from tests.parameters import drawn

TILES = sj.Recompute(tile=3)
"""A few steps, also for tests' short sequences; the last tile is shorter."""


def attentive(batch=2, time=19, places=6):
    """A cell whose scores, `(batch, places, 4)`, are much more than all else that a step makes."""
    cell = sj.attentive(sj.gru(3), 2, attention=4, input_feeding=True)
    keys = jax.random.split(jax.random.key(0), 3)
    values = jax.random.normal(keys[1], (batch, places, 2))
    xs = jax.random.normal(keys[2], (batch, time, 3))
    return cell, cell.init(keys[0], 3), values, xs


@pytest.mark.parametrize("reverse", [False, True])
def test_gradients_of_what_is_attended_to(reverse, x64):
    """In tiles of more steps than one, and a rest."""
    cell, params, values, xs = attentive()

    @partial(jax.jit, static_argnames="method")
    @partial(jax.value_and_grad, argnums=(0, 1, 2))
    def run(params, values, xs, method):
        ready = sj.attend_to(params, values)
        return jnp.square(sj.scan(cell, ready, xs, method=method, reverse=reverse)[1]).sum()

    got, wanted = (run(params, values, xs, method) for method in (sj.Recompute(tile=8), "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-12)


def test_steps_too_large_for_a_tile():
    """Then there are tiles of a few steps all the same."""
    cell, params, *_ = attentive()
    values = jax.ShapeDtypeStruct((2, 10**6, 2), jnp.float32)
    ready = jax.eval_shape(sj.attend_to, params, values)
    carry = jax.eval_shape(lambda p: cell.initial_carry(p, (2,)), ready)
    x = jax.ShapeDtypeStruct((2, 3), jnp.float32)
    assert any_steps.tile_size(cell, ready, carry, x) == sizes.FEWEST_STEPS_OF_TILE.here


def test_tiles_count_what_a_step_makes_on_the_way():
    cell, params, values, xs = attentive(places=600)
    ready = sj.attend_to(params, values)
    scores = 2 * 600 * 4 * 4
    size = any_steps.tile_size(cell, ready, cell.initial_carry(ready, (2,)), xs[:, 0])
    assert size == sizes.STEPS_OF_TILE.here // scores


def test_tiles_do_not_count_weights():
    cell = sj.conv_gru(64, space=(1,))
    params = drawn(cell, 1)
    size = any_steps.tile_size(cell, params, cell.initial_carry(params), jnp.ones((1, 1)))
    assert size > sizes.STEPS_OF_TILE.here // params["recurrent"].nbytes * 100


def test_large_steps_with_few_weights_have_tiles_of_their_own():
    cell = sj.conv_lstm(4, space=(256, 256))
    params = drawn(cell, 1)
    x = jax.ShapeDtypeStruct((16, 256, 256, 1), jnp.float32)
    carry = jax.eval_shape(lambda params: cell.initial_carry(params, (16,)), params)
    assert any_steps.tile_size(cell, params, carry, x) == 1


def test_derivatives_of_any_kind(x64):
    """Forwards, backwards, and once more."""
    cell = sj.conv_lstm(1, space=(2,))
    params = drawn(cell, 1)
    xs = jax.random.normal(jax.random.key(1), (4, 2, 1))
    resets = jnp.array([False, False, True, False])

    direction = jax.tree.map(jnp.cos, params)

    def derivatives(method):
        def loss(params, xs):
            return jnp.sin(sj.scan(cell, params, xs, resets=resets, method=method)[1]).sum()

        gradient = jax.grad(loss, (0, 1))
        forwards = jax.jvp(lambda p: loss(p, xs), (params,), (direction,))[1]
        return forwards, jax.jvp(lambda p: gradient(p, xs), (params,), (direction,))

    got, wanted = (jax.jit(derivatives, static_argnums=0)(m) for m in (TILES, "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("build", [sj.conv_lstm, sj.conv_gru])
def test_no_gradient_of_a_weight_is_carried_through_time(build):
    cell = build(4, space=(3,))
    params = drawn(cell, 5)
    xs = jnp.ones((2, 6, 3, 5))

    def program(method):
        gradient = jax.grad(lambda p: jnp.sin(sj.scan(cell, p, xs, method=method)[1]).sum())
        found = loops(jax.make_jaxpr(gradient)(params).jaxpr)
        return {math.prod(shape) for loop in found for shape in loop.carry if loop.innermost}

    assert params["recurrent"].size in program("plain")
    assert program("auto") == {2 * 3 * 4}


@pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit])
@pytest.mark.parametrize("feeding", [False, True])
@pytest.mark.parametrize("queries", [99, 5, 2], ids=["together", "row_by_row", "in_parts"])
def test_each_device_has_the_memory_of_its_rows(kind, feeding, queries, monkeypatch):
    # Of five queries a row, each compared with four keys of three numbers.
    monkeypatch.setattr(attention, "READ_BYTES", queries * 4 * 3 * 4)
    mesh = jax.make_mesh((4,), ("data",), axis_types=(kind,))
    cell = sj.attentive(sj.gru(3), 2, input_feeding=feeding)
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (8, 5, 3))
    values = jax.random.normal(jax.random.key(2), (8, 4, 2))

    def loss(params, values, xs):
        ready = sj.attend_to(params, values)
        return jnp.square(sj.scan(cell, ready, xs, method=TILES)[1]).sum()

    run = jax.jit(jax.value_and_grad(loss, (0, 1)))
    wanted = run(params, values, xs)
    rows = NamedSharding(mesh, jax.P("data"))
    with jax.set_mesh(mesh):
        placed = jax.device_put((values, xs), rows)
        got = run(jax.device_put(params, NamedSharding(mesh, jax.P())), *placed)
    chex.assert_trees_all_close(jax.device_get(got), jax.device_get(wanted), rtol=1e-5, atol=1e-6)
