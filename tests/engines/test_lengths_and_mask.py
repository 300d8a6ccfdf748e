"""Lengths and a mask together: a step counts where both hold."""

import chex
import jax
import jax.numpy as jnp

import seqjax as sj


def test_both_must_hold():
    cell = sj.gru(2)
    params = cell.init(jax.random.key(0), 2)
    xs = jax.random.normal(jax.random.key(1), (2, 5, 2))
    mask = jnp.array([[True, False, True, True, True], [True, True, True, False, True]])
    lengths = jnp.array([5, 3])
    got = sj.scan(cell, params, xs, lengths=lengths, mask=mask)
    both = mask & sj.length_mask(lengths, 5)
    chex.assert_trees_all_equal(got, sj.scan(cell, params, xs, mask=both))
    assert (got[1] == 0).all(-1).tolist() == (~both).tolist()
