"""What is drawn for one part of a cell is not what is drawn for another."""

import jax
import numpy as np
import pytest

import seqjax as sj

FEATURES = 3


def test_a_carry_may_start_as_a_number_of_python():
    counter = sj.Cell(
        init=lambda key, in_features: (),
        initial_carry=lambda params, batch_shape=(): 0,
        step=lambda params, count, x: (count + 1, x * count),
        features=1,
    )
    mask, resets = np.array([[True, True, False, True], [False, False, False, True]])
    count, ys = sj.scan(counter, (), np.ones((4, 1)), mask=mask, resets=resets)
    assert count == 1 and ys.ravel().tolist() == [0, 1, 0, 0]


def test_a_carry_may_hold_a_key():
    def step(params, key, x):
        key, now = jax.random.split(key)
        return key, x + jax.random.uniform(now, x.shape)

    noisy = sj.Cell(
        init=lambda key, in_features: (),
        initial_carry=lambda params, batch_shape=(): jax.random.key(3),
        step=step,
        features=1,
    )
    _, ys = sj.scan(noisy, (), np.zeros((4, 1)), resets=np.array([False, False, True, False]))
    assert ys[2] == ys[0] != ys[1] == ys[3]


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
