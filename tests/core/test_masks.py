"""Lengths, segments and the boundaries they mark."""

import hypothesis
import hypothesis.strategies as st
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.masks import opposite_resets


def test_length_mask_of_any_batch():
    lengths = np.array([[0, 1], [3, 9]])
    mask = sj.length_mask(lengths, 4)
    assert mask.shape == (2, 2, 4)
    np.testing.assert_array_equal(mask.sum(-1), lengths.clip(max=4))
    np.testing.assert_array_equal(sj.length_mask(2, 3), [True, True, False])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int32, np.uint32])
def test_lengths_of_a_type_that_could_not_count_all_steps(dtype):
    mask = sj.length_mask(np.array([10, 120], dtype), 300)
    np.testing.assert_array_equal(mask.sum(-1), [10, 120])


def test_length_mask_wants_whole_numbers():
    with pytest.raises(TypeError, match="float"):
        sj.length_mask(jnp.ones(2), 3)


def test_segment_starts():
    ids = jnp.array([[1, 1, 2, 2, 0], [5, 5, 5, 5, 5]])
    np.testing.assert_array_equal(sj.segment_starts(ids), [[1, 0, 1, 0, 1], [1, 0, 0, 0, 0]])
    np.testing.assert_array_equal(
        sj.segment_starts(ids, reverse=True), [[0, 1, 0, 1, 1], [0, 0, 0, 0, 1]]
    )


TIME = 8
rows = st.lists(st.booleans(), min_size=TIME, max_size=TIME).map(np.array)


@hypothesis.given(resets=rows, valid=rows)
def test_opposite_resets_mark_the_same_boundaries(resets, valid):
    """Against the definition: the valid step before each valid reset."""
    wanted = np.zeros(TIME, bool)
    before = None
    for t in np.flatnonzero(valid):
        if resets[t] and before is not None:
            wanted[before] = True
        before = t
    got = opposite_resets(jnp.array(resets), jnp.array(valid), reverse=False)
    np.testing.assert_array_equal(np.array(got) & valid, wanted)
    mirrored = opposite_resets(jnp.array(resets[::-1]), jnp.array(valid[::-1]), reverse=True)
    np.testing.assert_array_equal(np.array(mirrored)[::-1] & valid, wanted)
    if valid.all():
        np.testing.assert_array_equal(
            opposite_resets(jnp.array(resets), None, reverse=False), wanted
        )
