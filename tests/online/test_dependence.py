"""The pattern of a Jacobian, for any numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.online.dependence import dependence
from seqjax.online.sparsity import _bundled, _coloured, _kinds


def test_what_a_selection_does_not_let_through_now_counts():
    """Units that are off, a branch that is not taken, a factor that is 0, and a loop."""

    def function(leaves):
        x, _ = leaves
        off = jax.nn.relu(-1 - jnp.square(x[0]))
        branch = jnp.where(x[1] > 10, x[2], x[3])
        zero = 0 * x[4]
        factor = x[5]
        loop = jax.lax.fori_loop(0, 2, lambda _, carry: carry * factor, x[6])
        alone = jax.lax.stop_gradient(x[0]) * x[3]
        return jnp.stack([off, branch, zero, loop, alone])

    x, unused = dependence(function, [jnp.full(7, 0.5), jnp.ones(2)])
    wanted = [{0}, {2, 3}, {4}, {5, 6}, {3}]
    assert [set(np.flatnonzero(row)) for row in x] == wanted
    assert not unused.any()


def test_groups_hold_every_entry_and_colours_tell_them_apart():
    """Of a block-triangular state with parameters of one, two and no numbers."""
    slopes = np.array([[1, 0, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], bool)
    marks = np.zeros((4, 9), bool)
    marks[[0, 0, 1, 2, 2, 2, 3, 3], range(8)] = True
    columns, kind, closed = _kinds(marks, slopes, None)
    bundles, place = _bundled(columns, kind)
    reached = marks.copy()
    reached[1] |= marks[0]
    found = np.zeros((4, 10), bool)
    for bundle in bundles:
        for states, members in zip(*bundle, strict=True):
            found[np.ix_(states, members)] = True
    np.testing.assert_array_equal(found[:, :9], reached)
    assert closed and place[8] == sum(bundle.members.size for bundle in bundles)
    flat = np.concatenate([bundle.members.reshape(-1) for bundle in bundles])
    np.testing.assert_array_equal(flat[place[:8]], range(8))
    colours = _coloured(4, bundles)
    assert colours[0] != colours[1] and colours.max() == 1
    assert not _kinds(marks, slopes, 1)[2]


def test_it_is_found_while_nothing_is_compiled():
    """As one looks at the steps of a program one by one."""
    with jax.disable_jit():
        (found,) = dependence(lambda leaves: leaves[0][::-1], [jnp.ones(2)])
    np.testing.assert_array_equal(found, [[False, True], [True, False]])
