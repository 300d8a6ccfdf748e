"""Products for gates: block-diagonal weights of every form."""

import jax
import numpy as np
import pytest

from seqjax.core.gates import project_blocks


@pytest.mark.parametrize(
    ("blocks", "block"),
    [(1, 1), (1, 4), (4, 1), (2, 3)],
    ids=["one unit", "one", "diagonal", "two"],
)
def test_each_block_meets_its_own_matrix(blocks, block):
    gates = 3
    weights = jax.random.normal(jax.random.key(0), (blocks, block, gates, block))
    h = jax.random.normal(jax.random.key(1), (2, 5, blocks * block))
    apart = np.asarray(h).reshape(2, 5, blocks, block)
    wanted = np.einsum("...bi,bigo->g...bo", apart, weights).reshape(gates, *h.shape)
    got = project_blocks(h, weights)
    assert len(got) == gates
    for gate, values in enumerate(got):
        np.testing.assert_allclose(values, wanted[gate], rtol=1e-5, atol=1e-6)
