"""What is drawn for one part of a cell is not what is drawn for another."""

import jax
import numpy as np
import pytest

import seqjax as sj

FEATURES = 3

PARTS = {
    "layers of a stack": sj.stack(sj.gru(FEATURES), sj.gru(FEATURES)),
    "factors of a product": sj.product(sj.dense(FEATURES), sj.dense(FEATURES)),
    "directions": sj.bidirectional(sj.gru(FEATURES)),
    "blocks": sj.stack(sj.mamba_block(FEATURES), sj.mamba_block(FEATURES)),
}


@pytest.mark.parametrize("name", PARTS)
def test_parts_of_a_cell_start_apart(name):
    params = PARTS[name].init(jax.random.key(0), FEATURES)
    first, second = params.values() if isinstance(params, dict) else params
    pairs = zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True)
    drawn = [(a, b) for a, b in pairs if len(np.unique(a)) == a.size > 1 and a.ndim > 1]
    assert drawn
    for one, other in drawn:
        assert not np.isclose(one, other).any()
