"""Learned initial states: in the dtypes that the cell gives its own, and without exponents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

WIDE = {
    "minimal_gru": sj.minimal_gru(4),
    "minimal_gru_logarithmic": sj.minimal_gru(4, logarithmic=True),
    "slstm": sj.slstm(4),
    "slstm_linear": sj.slstm(4, recurrent=False),
    "lmu": sj.lmu(4, memory=3, window=5),
    "rwkv4": sj.rwkv4_block(4),
    "rwkv7": sj.rwkv7_block(4, heads=2),
    "mlstm": sj.mlstm(4, heads=2),
    "stack": sj.stack(sj.lru(4), sj.lstm(4)),
}


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
@pytest.mark.parametrize("name", WIDE)
def test_narrow_parameters_do_not_narrow_the_state(name, dtype):
    cell = WIDE[name]
    learned = sj.learned_initial_carry(cell)
    like = jax.eval_shape(lambda: learned.init(jax.random.key(0), 4))
    params = sj.cast(jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like), dtype)
    found, wanted = learned.initial_carry(params, (2,)), cell.initial_carry(params.cell, (2,))
    assert jax.tree.map(jnp.shape, found) == jax.tree.map(jnp.shape, wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype
        assert np.isfinite(one).all()


def test_a_counter_counts_on():
    """In bfloat16 256 + 1 is 256."""
    counter = sj.learned_initial_carry(
        sj.diagonal(
            lambda params, x: (1.0, x.astype(jnp.float32)),
            init=lambda key, in_features: (),
            initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 1)),
            features=1,
        )
    )
    params = sj.cast(counter.init(jax.random.key(0), 1), jnp.bfloat16)
    carry, _ = sj.scan(counter, params, jnp.ones((1000, 1), jnp.bfloat16))
    assert carry.dtype == jnp.float32 and carry.item() == 1000


def test_a_learned_state_with_an_exponent():
    """Its numbers are learned, at exponent 0: h_1 = keep * h_0 + ..."""
    cell = sj.learned_initial_carry(sj.minimal_gru(2, logarithmic=True))
    params = jax.tree.map(jnp.asarray, drawn(cell, 3))
    assert params.initial_carry.maximum is None
    x = jnp.array([0.3, -0.5, 0.2])

    def h_1(h_0):
        own = params._replace(initial_carry=params.initial_carry._replace(values=(h_0,)))
        return cell.step(own, cell.initial_carry(own), x)[1]

    h_0 = jnp.array([0.7, 0.1])
    weights = params.cell
    keep = jax.nn.sigmoid(-(x @ weights["input"][:, 0] + weights["bias"][0]))
    np.testing.assert_allclose(h_1(h_0) - h_1(jnp.zeros(2)), keep * h_0, rtol=1e-4)
    slope = jax.grad(lambda h: h_1(h).sum())
    np.testing.assert_allclose(slope(jnp.zeros(2)), keep, rtol=1e-5)
