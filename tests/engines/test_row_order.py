"""Rows of a tile in one dimension: either order, and derivatives of any kind."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from seqjax.engines.row_order import _merge, _split, by_rows


@pytest.mark.parametrize("batch", [(3,), (2, 3)])
def test_rows_merge_and_split_in_either_order(batch):
    x = jax.random.normal(jax.random.key(0), (5, *batch, 2))
    weights = jnp.arange(6.0).reshape(2, 3)
    for devices in (1, 2):
        merge, split = (
            partial(f, rows=x.shape[:-1], vmapped=0, devices=devices) for f in (_merge, _split)
        )
        np.testing.assert_array_equal(split(merge(x)), x)
    mapped = jax.vmap(by_rows(lambda w, x: jnp.tanh(x @ w)), in_axes=(None, 1), out_axes=1)
    twice = jnp.stack([x, 2 * x], axis=1)
    wanted = jnp.tanh(twice @ weights)
    np.testing.assert_allclose(jax.jit(mapped)(weights, twice), wanted, rtol=1e-6)
    check_grads(mapped, (weights, twice), order=2, modes=("fwd", "rev"), rtol=1e-2)
