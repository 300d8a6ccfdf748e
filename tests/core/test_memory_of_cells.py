"""Equal calls give one cell while it is in use; what it closes over goes with its last use."""

import gc
import weakref

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqjax as sj


def _gated(table):
    def update(h, x, r):
        return jnp.tanh(table[0] * x[0] + r[0])

    return update, lambda: sj.gated(update, features=2, gates=1)


def _linear(table):
    def coefficients(x):
        return 0.5, table[0] * x[0]

    return coefficients, lambda: sj.linear(coefficients, features=2, gates=1)


def _matrix(table):
    def access(params, x):
        parts = (table[0] * sj.to_heads(x, params["key"]) for _ in range(3))
        return sj.Access(*parts)

    shapes = {"key": (1, 2)}
    return access, lambda: sj.matrix_state(access, heads=1, keys=2, values=2, init=shapes)


def _flax(table):
    def make(in_features, rngs):
        return nnx.SimpleCell(in_features, 2, activation_fn=lambda x: table[0] * x, rngs=rngs)

    return make, lambda: sj.nn.from_flax(make, 2)


@pytest.mark.parametrize("kind", [_gated, _linear, _matrix, _flax])
def test_a_cell_goes_when_nothing_uses_it(kind):
    function, make = kind(jnp.ones(1))
    build = lambda: sj.stack(sj.dense(2), sj.residual(sj.dropout(make(), 0.5)))  # noqa: E731
    cell, used = build(), weakref.ref(function)
    assert build() is cell and hash(build()) == hash(cell)
    del function, make, build, cell
    gc.collect()
    assert used() is None


def test_a_program_lets_go_of_its_cell_when_programs_are_forgotten():
    function, make = _gated(jnp.ones(1))
    cell, used = make(), weakref.ref(function)
    params = cell.init(jax.random.key(0), 2)
    loss = lambda params: sj.scan(cell, params, jnp.ones((3, 2)))[1].sum()  # noqa: E731
    jax.block_until_ready(jax.grad(loss)(params))
    jax.clear_caches()
    del function, make, cell, loss
    gc.collect()
    assert used() is None
