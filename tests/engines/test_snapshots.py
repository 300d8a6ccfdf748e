"""Snapshots are the entries of the trajectory that were asked for, whichever engine runs."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.jaxprs import array_bytes
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

ROWS, TIME = 3, 8

ENGINES = {
    "lstm": sj.Recompute(tile=2),
    "minimal_gru": sj.Chunked(tile=2),
    "gated_delta_net": sj.Chunked(chunk=2, tile=2),
    "short_convolution": "auto",
    "sliding_window_attention": "auto",
    "dropout": "auto",
    "not_gated": "plain",
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_engine(name, x64):
    """With masks and resets: every three steps, and in reverse after chosen numbers of steps."""
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    random = np.random.default_rng(0)
    xs = random.standard_normal((ROWS, TIME, IN_FEATURES))
    mask = random.random((ROWS, TIME)) < 0.7
    resets, lengths = random.random((ROWS, TIME)) < 0.2, np.array([TIME, 5, 0])
    start = sj.seed_carry(cell.initial_carry(params, (ROWS,)), jax.random.key(0))

    @jax.jit
    def run(params, xs, start):
        flags = {"mask": mask, "resets": resets, "lengths": lengths}
        forward = sj.snapshots(cell, params, xs, start, every=3, method=ENGINES[name], **flags)
        backward = sj.snapshots(
            cell, params, xs, start, after=(0, 3, TIME), reverse=True, method=ENGINES[name], **flags
        )
        wanted = [
            (
                sj.scan(cell, params, xs, start, reverse=reverse, method="plain", **flags),
                sj.trajectory(cell, params, xs, start, reverse=reverse, method="plain", **flags),
            )
            for reverse in (False, True)
        ]
        return forward, backward, wanted

    forward, backward, wanted = jax.device_get(jax.tree.map(_numbers, run(params, xs, start)))
    start = jax.tree.map(_numbers, start)
    for got, (result, all_carries), steps in (
        (forward, wanted[0], [2, 5]),
        (backward, wanted[1], [TIME - 3, 0]),
    ):
        chex.assert_trees_all_close(got[:2], result, rtol=1e-10, atol=1e-10)
        kept = got[2]
        if len(steps) < jax.tree.leaves(kept)[0].shape[1]:
            first = jax.tree.map(lambda leaf: leaf[:, 0], kept)
            chex.assert_trees_all_equal(first, jax.device_get(start))
            kept = jax.tree.map(lambda leaf: leaf[:, 1:], kept)
        entries = jax.tree.map(lambda leaf, steps=steps: leaf[:, steps], all_carries)
        chex.assert_trees_all_close(kept, entries, rtol=1e-10, atol=1e-10)


def _numbers(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_each_direction_has_its_own():
    cell = sj.bidirectional(sj.gru(2))
    params = drawn(cell, IN_FEATURES)
    xs = np.random.default_rng(0).standard_normal((TIME, IN_FEATURES)).astype(np.float32)
    _, _, kept = sj.snapshots(cell, params, xs, every=3)
    every = sj.trajectory(cell, params, xs)
    np.testing.assert_allclose(kept.forward, every.forward[jnp.array([2, 5])], rtol=1e-6)
    np.testing.assert_allclose(kept.backward, every.backward[jnp.array([5, 2])], rtol=1e-6)


def test_gradients_go_through_them(x64):
    """Cut by `truncate`, which counts from the first step on, and with checkpoints inside."""
    cell = sj.gru(2)
    params = drawn(cell, IN_FEATURES)
    xs = np.random.default_rng(0).standard_normal((TIME, IN_FEATURES))

    def by_snapshots(params):
        _, ys, kept = sj.snapshots(
            cell, params, xs, every=3, truncate=4, checkpoint_every=2, method="plain"
        )
        return jnp.sin(kept).sum() + jnp.square(ys).sum()

    def by_trajectory(params):
        ys = sj.trajectory(cell, params, xs, truncate=4, method="plain")
        return jnp.sin(ys[2]).sum() + jnp.sin(ys[5]).sum() + jnp.square(ys).sum()

    got, wanted = jax.jit(lambda p: (jax.grad(by_snapshots)(p), jax.grad(by_trajectory)(p)))(params)
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_the_rest_is_not_stored():
    """Of a memory of 64 x 65 numbers there are 8, and not 256."""
    cell = sj.linear_attention(64, heads=1)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 2))
    xs = jax.ShapeDtypeStruct((256, 2), jnp.float32)
    run = lambda p, x: sj.snapshots(cell, p, x, every=32)[2].memory  # noqa: E731
    memory = 64 * 65 * 4
    largest = max(array_bytes(jax.make_jaxpr(run)(params, xs).jaxpr))
    assert jax.eval_shape(run, params, xs).shape == (8, 1, 64, 65)
    assert largest == 8 * memory


def test_longer_than_the_sequence_there_are_none():
    cell = sj.gru(2)
    params = drawn(cell, IN_FEATURES)
    carry, ys, kept = sj.snapshots(cell, params, np.ones((2, 3, IN_FEATURES), np.float32), every=4)
    assert kept.shape == (2, 0, 2) and carry.shape == (2, 2) and ys.shape == (2, 3, 2)


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({}, "got neither"),
        ({"every": 0}, "`every` must be a positive whole number"),
        ({"every": 2, "after": (1,)}, "not both; got every=2"),
        ({"after": (2, 2)}, "growing numbers of steps between 0 and 3"),
        ({"after": (1, 4)}, "between 0 and 3, not both; got every=None and after="),
        ({"after": ()}, "growing numbers"),
        ({"after": 3}, "growing numbers"),
    ],
)
def test_mistakes(when, message):
    cell = sj.gru(2)
    params = drawn(cell, IN_FEATURES)
    with pytest.raises(ValueError, match=message):
        sj.snapshots(cell, params, np.ones((3, IN_FEATURES), np.float32), **when)
