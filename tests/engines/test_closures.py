"""Steps that close over a traced number, instead of taking it in `params`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.recurrence import AnyStep


def _gated(factor):
    return sj.elman(2, activation=lambda x: jnp.tanh(factor * x))


def _any_step(factor):
    def step(params, carry, x):
        y = jnp.tanh(factor * (carry + x @ params))
        return y, y

    return sj.Cell(
        init=lambda key, in_features: jnp.eye(2),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 2)),
        step=step,
        features=2,
        structure=AnyStep(),
    )


MAKERS = {
    "layer norm": lambda k: sj.elman(2, layer_norm=True, activation=lambda x: jnp.tanh(k * x)),
    "zoneout": lambda factor: sj.zoneout(_gated(factor), 0.1),
    "any step": _any_step,
}


def total(factor, make, method):
    cell = make(factor)
    params = cell.init(jax.random.key(0), 2)
    xs = jnp.linspace(0.0, 1.0, 12).reshape(2, 3, 2)
    return sj.scan(cell, params, xs, method=method)[1][..., 0].sum()


@pytest.mark.parametrize("name", MAKERS)
def test_auto_finds_the_gradient(name):
    make = MAKERS[name]
    slope = jax.jit(jax.grad(lambda factor: total(factor, make, "auto")))(1.0)
    values = jax.jit(jax.vmap(lambda factor: total(factor, make, "plain")))
    above, below = values(jnp.array([1.01, 0.99]))
    np.testing.assert_allclose(slope, (above - below) / 0.02, rtol=1e-3)


@pytest.mark.parametrize(("name", "method"), [("zoneout", "store"), ("any step", "recompute")])
def test_rules_of_our_own_say_what_they_need(name, method):
    with pytest.raises(ValueError, match=f"method='{method}' differentiates.*into the parameters"):
        jax.grad(lambda factor: total(factor, MAKERS[name], method))(1.0)


@pytest.mark.parametrize("make", [_gated, _any_step])
def test_a_known_number_costs_nothing(make):
    """An array that exists is a constant: the fast way stays."""
    cell = make(jnp.float32(0.9))
    params = cell.init(jax.random.key(0), 2)
    run = lambda params: sj.scan(cell, params, jnp.ones((3, 2)))[1]  # noqa: E731
    assert "custom_jvp_call" in str(jax.make_jaxpr(run)(params))
