"""Newton's method over every gated cell of the table."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.recurrence import Recurrence
from seqjax.testing import check_state_blocks
from tests.parameters import drawn
from tests.table import GATED, IN_FEATURES, ROWS

pytestmark = pytest.mark.thorough

CELLS = [name for name, row in ROWS.items() if row.methods == GATED]


@pytest.mark.parametrize("name", CELLS)
def test_every_gated_cell(name, x64):
    """Values and gradients, with masks, resets and truncation, are those of the plain path."""
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES)
    random = np.random.default_rng(0)
    xs = random.standard_normal((2, 6, IN_FEATURES))
    mask, resets = random.random((2, 2, 6)) > 0.3

    def loss(params, xs, method):
        options = dict(mask=mask, resets=~resets, truncate=3, method=method)
        carry, ys = sj.scan(cell, params, xs, **options)
        return jnp.sin(ys).sum() + sum(leaf.sum() for leaf in jax.tree.leaves(carry))

    run = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=2)
    got, wanted = (run(params, xs, method) for method in ("newton", "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "name", [n for n in CELLS if isinstance(ROWS[n].cell.structure, Recurrence)]
)
def test_cells_say_their_blocks(name):
    check_state_blocks(ROWS[name].cell, IN_FEATURES)
