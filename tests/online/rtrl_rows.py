"""RTRL over every causal cell of the table: beside the tests, for there are many."""

import chex
import numpy as np
import pytest

import seqjax as sj
from tests.online.backwards import backwards, example, forwards
from tests.table import CELLS

CAUSAL = [name for name, cell in CELLS.items() if cell.causal]


@pytest.mark.parametrize("name", CAUSAL)
def test_every_cell(name, x64):
    """With masks and resets, the gradient is that of backpropagation through all steps."""
    cell = CELLS[name]
    params, xs, targets, mask, resets = example(cell)
    options = dict(mask=mask, resets=resets)
    got = forwards(
        sj.online.rtrl(cell), params, np.where(mask[..., None], xs, np.nan), targets, **options
    )
    wanted = backwards(cell, params, xs, targets, **options)
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)
