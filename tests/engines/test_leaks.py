"""What a NaN, an infinite decay or another dtype must not reach, whichever engine runs."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.matrix_cells import FORMS, HEADS, KEYS, VALUES, form
from tests.parameters import drawn
from tests.table import IN_FEATURES, ROWS

PARALLEL = ["minimal_gru", "lru", "slstm_linear", "mlstm", "delta_net", "mamba2"]
"""Of each kind of state one."""


def parallel(name):
    return [method for method in ROWS[name].methods if method in ("associative", "chunked")]


@pytest.mark.parametrize(
    "name, method", [(name, method) for name in PARALLEL for method in parallel(name)]
)
def test_no_gradient_meets_the_carry_before_a_reset(name, method):
    """Not even as a factor of 0, which a NaN would turn into NaN."""
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (9, IN_FEATURES))
    resets = jnp.zeros(9, bool).at[0].set(True)

    @jax.jit
    @jax.grad
    def gradient(given, carry):
        return jnp.square(sj.scan(cell, *given, carry, resets=resets, method=method)[1]).sum()

    fresh = cell.initial_carry(params)
    spoiled = jax.tree.map(lambda leaf: leaf + jnp.nan, fresh)
    got, wanted = (gradient((params, xs), carry) for carry in (spoiled, fresh))
    chex.assert_trees_all_close(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_nan_reaches_no_earlier_step(name):
    """Though all steps of a chunk meet in one product."""
    cell = form(**FORMS[name])
    params = drawn(cell, 3)
    xs = jax.random.normal(jax.random.key(1), (9, 3)).at[5].set(jnp.nan)
    got, wanted = (sj.scan(cell, params, xs, method=m)[1] for m in ("chunked", "plain"))
    assert jnp.isnan(wanted[5:]).all()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["head-add", "channel-add"])
def test_a_decay_of_0_forgets_and_spoils_nothing(name):
    """Its logarithm is infinite, and an infinite sum less another would be NaN."""
    given = form(**FORMS[name])

    def access(params, x):
        found = given.structure.access(params, x)
        return found._replace(log_decay=jnp.where(found.log_decay < -2, -jnp.inf, found.log_decay))

    cell = sj.matrix_state(access, heads=HEADS, keys=KEYS, values=VALUES, init=given.init)
    params = given.init(jax.random.key(0), 3)
    xs = 2 * jax.random.normal(jax.random.key(1), (9, 3))
    strong = jnp.isinf(jax.vmap(partial(access, params))(xs).log_decay)
    assert strong.any() and not strong.all()
    got, wanted = (sj.scan(cell, params, xs, method=m)[1] for m in ("chunked", "plain"))
    assert jnp.isfinite(wanted).all()
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def accumulate(coefficients):
    """A cell with a state of two numbers and no weights."""
    return sj.diagonal(
        coefficients,
        init=lambda key, in_features: (),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 2)),
        features=2,
    )


@pytest.mark.parametrize("method", ["chunked", "associative"])
def test_decays_that_overflow_between_resets_do_not(method):
    """1.05 ** 4000 is more than a float32 holds, but no state is older than ten steps."""
    cell = accumulate(lambda params, x: (1.05, x))
    resets = jnp.arange(4000) % 10 == 9

    def total(carry, xs):
        return sj.scan(cell, (), xs, carry, resets=resets, method=method)[1].sum()

    d_carry, d_xs = jax.jit(jax.grad(total, (0, 1)))(jnp.zeros(2), jnp.ones((4000, 2)))
    np.testing.assert_allclose(d_carry, (1.05 ** np.arange(1, 10)).sum(), rtol=1e-5)
    np.testing.assert_allclose(d_xs[9], (1.05 ** np.arange(10)).sum(), rtol=1e-5)


@pytest.mark.parametrize("method", ["plain", "chunked", "associative"])
def test_coefficients_that_do_not_depend_on_the_input(method):
    cell = accumulate(lambda params, x: (0.5, jnp.ones(2)))
    _, ys = sj.scan(cell, (), jnp.zeros((3, 2)), method=method)
    np.testing.assert_allclose(ys, [[1, 1], [1.5, 1.5], [1.75, 1.75]])


@pytest.mark.parametrize("name", ["gru", "minimal_gru", "delta_net"])
def test_a_reset_keeps_the_dtype_of_the_carry(name):
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES)
    with jax.enable_x64(True):
        wide = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
        carry = cell.initial_carry(params, (2,))
        xs, resets = jnp.ones((2, 4, IN_FEATURES)), jnp.zeros((2, 4), bool).at[:, 2].set(True)
        for method in ("plain", "auto", "associative")[: 2 + (name == "minimal_gru")]:
            end, _ = sj.scan(cell, wide, xs, carry, resets=resets, method=method)
            chex.assert_trees_all_equal_dtypes(end, carry)


@pytest.mark.parametrize("method", ["plain", "chunked"])
def test_outputs_of_a_memory_may_be_a_tree(method):
    """In reverse, time is turned and not the tree."""
    both = sj.matrix_state(
        form("head", "add").structure.access,
        heads=HEADS,
        keys=KEYS,
        values=VALUES,
        init=form("head", "add").init,
        read_out=lambda params, o, x: (o[..., 0, :], 2 * o[..., 0, :]),
        features=VALUES,
    )
    params = both.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 3))
    _, (once, twice) = sj.scan(both, params, xs, reverse=True, method=method)
    np.testing.assert_allclose(2 * once, twice, rtol=1e-6)
    assert once.shape == (5, VALUES) and once.any()
