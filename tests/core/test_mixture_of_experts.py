"""Experts against all of them written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.mixture_of_experts import mixture_of_experts

CELL = mixture_of_experts(4, experts=3, chosen=2, hidden=5, shared=2, normalized=False)


def everything(p, x):
    """Every expert for every step, weighted by 0 where it is not among the two likeliest."""
    share = jax.nn.softmax(x @ p["router"])
    least = jnp.sort(share, axis=-1)[..., 1:2]
    weights = jnp.where(share >= least, share, 0)
    each = p["experts"]
    inside = jax.nn.silu(jnp.einsum("...m,emh->...eh", x, each["gate"]))
    inside = inside * jnp.einsum("...m,emh->...eh", x, each["up"])
    y = jnp.einsum("...e,...eh,ehm->...m", weights, inside, each["down"])
    own = p["shared"]
    common = (jax.nn.silu(x @ own["gate"]) * (x @ own["up"])) @ own["down"]
    return y + jax.nn.sigmoid(x @ p["open"]) * common


def test_values_and_gradients():
    params = CELL.init(jax.random.key(0), 4)
    xs = jax.random.normal(jax.random.key(1), (2, 6, 4))

    def run(function):
        def loss(params, xs):
            ys = function(params, xs)
            return jnp.sin(ys).sum(), ys

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(params, xs)

    found = run(lambda params, xs: sj.scan(CELL, params, xs)[1])
    wanted = run(everything)
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(one, other, 1e-5, 1e-5)
    _, y = CELL.step(params, (), xs[0, 0])
    np.testing.assert_allclose(y, found[0][1][0, 0], 1e-5, 1e-6)


def test_more_than_there_are():
    with pytest.raises(ValueError, match="`chosen=4` must be at most `experts`, 3"):
        mixture_of_experts(4, experts=3, chosen=4, hidden=5, shared=2)
