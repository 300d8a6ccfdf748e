"""Both directions by hand: a forward scan, a reverse scan, and the merge."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

xs = jax.random.normal(jax.random.key(1), (3, 6, 2))
forward, backward = sj.lstm(3), sj.gru(3)


@pytest.mark.parametrize(
    ("merge", "join"),
    [
        ("concatenate", lambda f, b: jnp.concatenate([f, b], -1)),
        ("sum", jnp.add),
        (jnp.maximum, jnp.maximum),
    ],
)
@pytest.mark.parametrize("reverse", [False, True])
def test_two_scans_and_a_merge(merge, join, reverse):
    cell = sj.bidirectional(forward, backward, merge=merge)
    params = cell.init(jax.random.key(0), 2)
    lengths = jnp.array([6, 4, 0])
    carry, ys = sj.scan(cell, params, xs, lengths=lengths, reverse=reverse)
    ahead_carry, ahead = sj.scan(forward, params.forward, xs, lengths=lengths, reverse=reverse)
    back_carry, back = sj.scan(backward, params.backward, xs, lengths=lengths, reverse=not reverse)
    np.testing.assert_allclose(ys, join(ahead, back), rtol=1e-6)
    assert ys.shape[-1] == cell.features
    for got, wanted in ((carry.forward, ahead_carry), (carry.backward, back_carry)):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), got, wanted)


def test_trajectory_of_both_directions():
    cell = sj.bidirectional(forward, backward)
    params = cell.init(jax.random.key(0), 2)
    both = sj.trajectory(cell, params, xs)
    carry, _ = sj.scan(cell, params, xs)
    np.testing.assert_allclose(both.forward.cell[:, -1], carry.forward.cell, rtol=1e-6)
    np.testing.assert_allclose(both.backward[:, 0], carry.backward, rtol=1e-6)
