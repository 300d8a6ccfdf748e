"""The laws of the contract, over every cell of the table."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.testing import check_cell
from tests.parameters import drawn
from tests.table import ANY_STEP, CELLS, GATED, IN_FEATURES, LINEAR, MATRIX, ROWS, WITH_KEYS

METHODS = {
    GATED: sj.Recompute(tile=3, forward_tile=2),
    WITH_KEYS: sj.Recompute(tile=3, forward_tile=2),
    ANY_STEP: sj.Recompute(tile=3),
    LINEAR: sj.Chunked(tile=3, inside="steps"),
    MATRIX: sj.Chunked(chunk=4, tile=4),
}
"""The engine of the cell's own, with sizes so small that boundaries are crossed; `auto` is for all
others. `tests/engines/test_mechanisms.py` has other ways of the engines, on a few cells."""

THOROUGH = {
    "lstm": ("plain", METHODS[GATED]),
    "not_gated": ("plain",),
    "short_convolution": ("auto",),
    "minimal_gru": ("associative", METHODS[LINEAR]),
    "lru": (sj.Chunked(chunk=2, tile=5),),
    "delta_net": (METHODS[MATRIX],),
    "attentive": ("auto",),
    "conv_lstm": ("auto",),
    "bidirectional": ("auto",),
    "dropout_variational": ("auto",),
}
"""Every engine, and every way in which cells are put together, once."""

OFTEN_THOROUGH = ("lstm", "minimal_gru", "delta_net", "attentive")


@pytest.mark.parametrize("name", CELLS)
def test_laws(name):
    if name in OFTEN_THOROUGH:
        check(name, THOROUGH[name], thorough=True)
    else:
        check(name, (METHODS.get(ROWS[name].methods, "auto"),), thorough=False)


@pytest.mark.thorough
@pytest.mark.parametrize("name", [name for name in THOROUGH if name not in OFTEN_THOROUGH])
def test_thorough_laws(name):
    check(name, THOROUGH[name], thorough=True)


def check(name, methods, thorough):
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES, dtype=np.float64)
    check_cell(cell, IN_FEATURES, params=params, methods=methods, thorough=thorough)


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
