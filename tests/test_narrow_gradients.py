"""Gradients in bfloat16: what is summed over steps is summed in float32, for every cell.

A loop adds to the gradients of all that it closes over, step by step. In bfloat16 a term below a
256th of the sum is lost, so over 2,000 steps the gradients of long memories would be wrong by
a tenth or by all.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.trees import floats, put_floats
from tests.jaxprs import loops
from tests.table import IN_FEATURES, LINEAR, TABLE

BATCH = 7
"""No array of parameters is that long, so what a loop carries without it is a gradient of them."""


# Where a loop meets parameters: in that of a linear state, whatever the cell does with them there;
# and in the plain way, which is the same for all cells.
LOOPS = {row.name: (row.cell, "chunked") for row in TABLE if row.methods is LINEAR}
LOOPS |= {f"{row.name} plain": (row.cell, "plain") for row in TABLE if row.core}


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_sums_in_bfloat16(name):
    cell, method = LOOPS[name]
    key = jax.random.key(0)
    params = jax.eval_shape(lambda: sj.cast(cell.init(key, IN_FEATURES), jnp.bfloat16))
    xs = jax.ShapeDtypeStruct((BATCH, 3, IN_FEATURES), jnp.bfloat16)

    def loss(leaves, params, xs):
        ys = sj.scan(cell, put_floats(params, leaves), xs, method=method)[1]
        return ys.astype(jnp.float32).sum()

    program = jax.make_jaxpr(jax.grad(loss))(floats(params), params, xs)
    sums = [
        shape
        for loop in loops(program.jaxpr)
        for shape, dtype in zip(loop.carry, loop.dtypes, strict=True)
        if dtype == jnp.bfloat16 and BATCH not in shape
    ]
    assert loops(program.jaxpr) and not sums


STEPS, WIDTH = 2000, 2


def _scanned(cell, params, xs, **options):
    return sj.scan(cell, params, xs, **options)[1].astype(jnp.float32).sum()


def _summed(cell, params, xs):
    """With an output layer, which the terms of the sum close over."""
    cell_params, head = params

    def terms(ys):
        return (ys @ head).sum()

    return sj.scan_sum(terms, cell, cell_params, xs, checkpoint_every=2)[1].astype(jnp.float32)


WAYS = {
    "plain": (sj.minimal_gru(WIDTH), functools.partial(_scanned, method="plain")),
    "steps": (sj.lru(WIDTH), functools.partial(_scanned, method="chunked")),
    "checkpoints": (sj.elman(WIDTH), functools.partial(_scanned, checkpoint_every=2)),
    "starts": (
        sj.learned_initial_carry(sj.elman(WIDTH)),
        functools.partial(_scanned, resets=jnp.arange(STEPS) % 3 == 0),
    ),
    "sum": (sj.elman(WIDTH), _summed),
}


@pytest.mark.parametrize("way", WAYS)
def test_gradients_of_two_thousand_steps(way):
    """Against float64, with the same parameters."""
    cell, loss = WAYS[way]
    with jax.enable_x64(True):
        params = sj.cast(cell.init(jax.random.key(0), WIDTH), jnp.bfloat16)
        if loss is _summed:
            params = params, jnp.full(WIDTH, 0.3, jnp.bfloat16)
        random = np.random.default_rng(0)
        xs = jnp.asarray(random.uniform(size=(STEPS, WIDTH)), jnp.bfloat16)
        gradient = jax.jit(jax.grad(functools.partial(loss, cell)))
        wanted = gradient(*sj.cast((params, xs), jnp.float64))
        for got, exact in zip(*map(jax.tree.leaves, (gradient(params, xs), wanted)), strict=True):
            error = np.linalg.norm(got.astype(np.float64) - exact)
            assert error <= 0.02 * np.linalg.norm(exact)
