"""The laws of the contract, over every cell of the table."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj
from seqjax.testing import check_cell
from tests.table import CELLS, GATED, IN_FEATURES, LINEAR, MATRIX, ROWS

METHODS = {
    GATED: ("plain", "auto"),
    LINEAR: ("associative", "chunked"),
    MATRIX: ("auto", "chunked"),
}
"""Those that differ; `tests/engines/` compares the others with the plain path."""


@pytest.mark.parametrize("name", CELLS)
def test_laws(name):
    row = ROWS[name]
    methods = METHODS.get(row.methods, ("plain", "auto"))
    # What all have in common is checked on a few; the last method is the cell's own engine.
    check_cell(row.cell, IN_FEATURES, methods=methods if row.core else methods[-1:])


def _broken(**changes):
    return dataclasses.replace(sj.gru(3), call="", structure=None, **changes)


def _leaks_the_future():
    """An output that peeks at the sum of the batch."""
    good = sj.gru(3)

    def step(params, carry, x):
        carry, y = good.step(params, carry, x)
        return carry, y + (x.sum() if x.ndim > 1 else 0.0)

    return _broken(step=step)


def _widens_the_carry():
    good = sj.gru(3)

    def step(params, carry, x):
        carry, y = good.step(params, carry, x)
        return carry.astype(jnp.float32), y

    return _broken(step=step)


def _wrong_gradient():
    good = sj.gru(3)

    def step(params, carry, x):
        # The right value, but half of the gradient is lost wherever rows are batched.
        carry, y = good.step(params, carry, x)
        half = 0.5 * y + 0.5 * jax.lax.stop_gradient(y)
        return carry, half if x.ndim > 1 else y

    return _broken(step=step)


@pytest.mark.parametrize(
    ("cell", "law"),
    [
        (_leaks_the_future(), "scan = loop"),
        (_widens_the_carry(), "keeps the form"),
        (_wrong_gradient(), "values and gradients"),
        (_broken(features=7), "features"),
    ],
)
def test_a_cell_that_breaks_a_law_is_found(cell, law):
    with pytest.raises(AssertionError, match=law):
        check_cell(cell, IN_FEATURES)
