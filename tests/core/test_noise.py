"""Dropout and zoneout: off without a key, right on average with one, apart between rows."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.keys import batchable

FEATURES, ROWS, TIME = 64, 8, 40
xs = jax.random.normal(jax.random.key(9), (ROWS, TIME, 3))


def noisy(cell, key=1, resets=None, **options):
    params = cell.init(jax.random.key(0), 3)
    carry = sj.seed_carry(cell.initial_carry(params, (ROWS,)), jax.random.key(key))
    return params, sj.scan(cell, params, xs, carry, resets=resets, **options)[1]


def test_dropout_drops_its_share_and_scales_the_rest():
    cell = sj.gru(FEATURES)
    params, ys = noisy(sj.dropout(cell, 0.25))
    _, clean = sj.scan(cell, params, xs)
    dropped = np.array(ys == 0)
    np.testing.assert_allclose(dropped.mean(), 0.25, atol=0.01)
    np.testing.assert_allclose(ys[~dropped], clean[~dropped] / 0.75, rtol=1e-5)


def test_every_step_row_and_seed_has_its_own_mask():
    _, ys = noisy(sj.dropout(sj.gru(FEATURES), 0.5))
    dropped = np.array(ys == 0)
    assert (dropped[:, 1:] != dropped[:, :-1]).mean() > 0.4
    assert (dropped[1:] != dropped[:-1]).mean() > 0.4
    assert (dropped != np.array(noisy(sj.dropout(sj.gru(FEATURES), 0.5), key=2)[1] == 0)).any()


def test_two_layers_have_their_own_masks():
    layer = sj.dropout(sj.residual(sj.gru(3)), 0.5)
    cell = sj.stack(layer, layer)
    carry = cell.initial_carry(cell.init(jax.random.key(0), 3), (ROWS,))
    seeded = sj.seed_carry(carry, jax.random.key(1))
    keys = [jax.random.key_data(seeded[name].randomness.key) for name in ("gru_0", "gru_1")]
    assert (np.array(keys[0]) != np.array(keys[1])).any()


def test_variational_dropout_keeps_one_mask_until_a_reset():
    resets = jnp.zeros((ROWS, TIME), bool).at[:, 15].set(True)
    _, ys = noisy(sj.dropout(sj.gru(FEATURES), 0.5, variational=True), resets=resets)
    dropped = np.array(ys == 0)
    assert (dropped[:, :15] == dropped[:, :1]).all()
    assert (dropped[:, 15:] == dropped[:, 15:16]).all()
    assert (dropped[:, 0] != dropped[:, 15]).mean() > 0.4


def test_the_noise_of_a_row_does_not_depend_on_padding():
    cell = sj.dropout(sj.gru(FEATURES), 0.5)
    _, whole = noisy(cell)
    _, padded = noisy(cell, lengths=jnp.full((ROWS,), 10))
    np.testing.assert_array_equal(whole[:, :10], padded[:, :10])


def test_zoneout_holds_its_share():
    cell = sj.zoneout(sj.gru(FEATURES), 0.3)
    _, ys = noisy(cell)
    held = np.array(ys[:, 1:] == ys[:, :-1])
    np.testing.assert_allclose(held.mean(), 0.3, atol=0.02)


def test_zoneout_without_a_key_mixes_by_the_mean():
    inner = sj.lstm(4)
    cell = sj.zoneout(inner, sj.LSTMState(hidden=0.2, cell=0.5))
    params = cell.init(jax.random.key(0), 3)
    start = cell.initial_carry(params, (ROWS,))
    old = jax.tree.map(lambda leaf: leaf + 0.7, start.cell)
    carry, y = cell.step(params, start._replace(cell=old), xs[:, 0])
    new, _ = inner.step(params, old, xs[:, 0])
    np.testing.assert_allclose(carry.cell.hidden, 0.2 * old.hidden + 0.8 * new.hidden, rtol=1e-6)
    np.testing.assert_allclose(carry.cell.cell, 0.5 * old.cell + 0.5 * new.cell, rtol=1e-6)
    np.testing.assert_array_equal(y, carry.cell.hidden)


@pytest.mark.parametrize("implementation", ["rbg", "unsafe_rbg"])
def test_noise_of_keys_whose_numbers_change_under_vmap(implementation):
    """The same step by step and all steps at once, and for a sequence alone."""
    cell = sj.dropout(sj.zoneout(sj.elman(4), 0.5), 0.5, variational=True)
    params = cell.init(jax.random.key(0), 3)
    start = cell.initial_carry(params, (2,))
    key = jax.random.key(1, impl=implementation)
    carry = sj.seed_carry(start, key)
    _, ys = sj.scan(cell, params, xs[:2, :9], carry)
    _, stepped = sj.scan(cell, params, xs[:2, :9], carry, method="plain")
    np.testing.assert_allclose(ys, stepped, rtol=1e-5, atol=1e-6)
    assert 0.1 < (np.array(ys) == 0).mean() < 0.9
    keys = jax.random.split(key, 2)
    alone = sj.seed_carry(jax.tree.map(lambda leaf: leaf[1:], start), keys[1:])
    both = sj.seed_carry(start, keys)
    assert (both.randomness.key[1:] == alone.randomness.key).all()


def test_a_key_of_any_kind_is_used_whole():
    words = jnp.array([[1, 2, 1, 2], [1, 2, 3, 2], [1, 2, 1, 3], [4, 2, 1, 2]], jnp.uint32)
    made = jax.random.key_data(batchable(jax.random.wrap_key_data(words, impl="unsafe_rbg")))
    assert len(np.unique(made, axis=0)) == 4


def test_old_style_keys_work():
    cell = sj.dropout(sj.gru(3), 0.5)
    carry = cell.initial_carry(cell.init(jax.random.key(0), 3), (2,))
    old = sj.seed_carry(carry, jax.random.PRNGKey(1))
    new = sj.seed_carry(carry, jax.random.key(1))
    assert (old.randomness.key == new.randomness.key).all()
