"""Of every engine: gradients add up in float32, learned initial states get theirs; and those that
derive a rule of their own can be differentiated again."""

import chex
import jax
import jax.numpy as jnp
import pytest

import seqjax as sj
from seqjax.core.recurrence import AnyStep
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

STEPS, TILE, WIDTH = 4096, 8, 2


def _leaky():
    """A cell of which nothing is known but that its step takes time as a batch dimension."""

    def step(params, carry, x):
        y = jnp.tanh(0.5 * carry + x @ params["weights"])
        return y, y

    return sj.Cell(
        init=lambda key, in_features: {"weights": 0.5 * jnp.eye(WIDTH)},
        initial_carry=lambda params, batch_shape=(): jnp.zeros(
            (*batch_shape, WIDTH), params["weights"].dtype
        ),
        step=step,
        features=WIDTH,
        structure=AnyStep(),
    )


ENGINES = {
    "recompute": (sj.elman(WIDTH), sj.Recompute(tile=TILE)),
    "store": (sj.elman(WIDTH), sj.Store(tile=TILE)),
    "fused": (sj.elman(WIDTH), sj.Fused(tile=TILE, block=TILE)),
    "fused linear": (sj.minimal_gru(WIDTH), sj.Fused(tile=TILE, block=TILE)),
    "any step": (_leaky(), sj.Recompute(tile=TILE)),
    "linear": (sj.minimal_gru(WIDTH), sj.Chunked(tile=TILE)),
    "matrix": (sj.linear_attention(WIDTH), sj.Chunked(chunk=TILE, tile=TILE)),
}


@pytest.mark.parametrize("name", ENGINES)
def test_gradients_add_up_in_float32(name):
    """In bfloat16 the terms of a tile would be lost beside the sum of hundreds of others."""
    cell, method = ENGINES[name]
    params = sj.cast(cell.init(jax.random.key(0), WIDTH), jnp.bfloat16)
    xs = jax.random.uniform(jax.random.key(1), (1, STEPS, WIDTH), jnp.bfloat16)

    def gradient(dtype):
        def loss(params):
            ys = sj.scan(cell, sj.cast(params, dtype), xs.astype(dtype), method=method)[1]
            return ys.astype(jnp.float32).sum()

        return jax.tree.leaves(jax.jit(jax.grad(loss))(params))

    for got, exact in zip(gradient(jnp.bfloat16), gradient(jnp.float32), strict=True):
        error = jnp.abs(got.astype(jnp.float32) - exact.astype(jnp.float32))
        assert error.max() < 0.02 * jnp.abs(exact).max().astype(jnp.float32)


@pytest.mark.parametrize("name", ENGINES)
def test_a_learned_start_gets_its_gradient_at_every_reset(name, x64):
    cell, method = ENGINES[name]
    cell = sj.learned_initial_carry(cell)
    params = drawn(cell, WIDTH)
    xs = jax.random.normal(jax.random.key(1), (2, 11, WIDTH))
    resets = jnp.zeros((2, 11), bool).at[0, jnp.array([3, 9])].set(True)

    def gradient(method):
        def loss(start):
            given = params._replace(initial_carry=start)
            return jnp.square(sj.scan(cell, given, xs, resets=resets, method=method)[1]).sum()

        return jax.jit(jax.grad(loss))(params.initial_carry)

    chex.assert_trees_all_close(gradient(method), gradient("plain"), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("gru", sj.Recompute(tile=3)),
        ("minimal_gru", sj.Chunked(tile=3, inside="steps")),
        *(
            pytest.param(*row, marks=pytest.mark.thorough)
            for row in (
                ("lstm", sj.Store(tile=3)),
                ("lru", sj.Chunked(chunk=2, tile=5)),
                ("slstm_linear", sj.Chunked(tile=3, inside="steps")),
                ("slstm_linear", sj.Chunked(chunk=2, tile=5)),
            )
        ),
    ],
    ids=str,
)
def test_higher_derivatives_equal_the_plain_path(name, method, x64):
    """Forward over reverse, reverse over reverse, forward over forward."""
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (2, 5, IN_FEATURES))
    resets = jnp.zeros((2, 5), bool).at[0, 2].set(True)
    direction = jax.tree.map(jnp.cos, params)

    def derivatives(method):
        def loss(params, xs):
            _, ys = sj.scan(cell, params, xs, resets=resets, truncate=3, method=method)
            return jnp.sin(ys).sum()

        def slope(params):
            return jax.jvp(lambda p: loss(p, xs), (params,), (direction,))[1]

        gradient = jax.grad(loss)
        return (
            jax.jvp(lambda p: gradient(p, xs), (params,), (direction,))[1],
            jax.grad(lambda x: sum(map(jnp.vdot, *map(jax.tree.leaves, (
                gradient(params, x), direction
            )))))(xs),
            jax.jvp(slope, (params,), (direction,))[1],
        )  # fmt: skip

    got, wanted = (jax.jit(derivatives, static_argnums=0)(m) for m in (method, "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-9, atol=1e-9)
