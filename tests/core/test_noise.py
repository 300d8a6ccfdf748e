"""Dropout and zoneout: off without a key, right on average with one, apart between rows."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

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


def test_old_style_keys_work():
    cell = sj.dropout(sj.gru(3), 0.5)
    carry = cell.initial_carry(cell.init(jax.random.key(0), 3), (2,))
    old = sj.seed_carry(carry, jax.random.PRNGKey(1))
    new = sj.seed_carry(carry, jax.random.key(1))
    assert (old.randomness.key == new.randomness.key).all()
