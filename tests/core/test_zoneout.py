"""Which units zoneout holds: others at every step, others again when a scan goes on, and what is
held of states that keep an exponent apart."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.exponents import mean
from tests.parameters import drawn
from tests.table import CELLS

UNITS, STEPS = 32, 5


def test_every_step_holds_units_of_its_own():
    counter = sj.gated(lambda h, x, r: h + 1, features=UNITS, gates=1)
    cell = sj.zoneout(counter, 0.5)
    params = cell.init(jax.random.key(0), 1)
    carry = sj.seed_carry(cell.initial_carry(params), jax.random.key(1))
    moved, before = [], jnp.zeros((1, UNITS))
    for _ in range(2):
        carry, counts = sj.scan(cell, params, jnp.zeros((STEPS, 1)), carry)
        moved.append(np.diff(counts, axis=0, prepend=before))
        before = counts[-1:]
    moved = np.concatenate(moved)
    assert set(np.unique(moved)) == {0.0, 1.0}
    assert len(np.unique(moved, axis=0)) == 2 * STEPS


def state(*columns):
    """An sLSTM state with one unit for each row of numbers: hidden, cell, normaliser, exponent."""
    return sj.SLSTMState(*map(jnp.array, zip(*columns, strict=True)))


def meant(state):
    """The numbers themselves."""
    cell, normalizer, maximum = map(np.float64, state[1:])
    return np.stack([state.hidden, cell * np.exp(maximum), normalizer * np.exp(maximum)])


def shifted(state, by):
    """The same numbers with another exponent."""
    factor = np.exp(np.float32(by))
    return state._replace(
        cell=state.cell * factor,
        normalizer=state.normalizer * factor,
        maximum=state.maximum - np.float32(by),
    )


@pytest.mark.parametrize("key", [None, 3], ids=["mean", "noise"])
def test_the_exponent_of_a_state_does_not_matter(key):
    cell = sj.zoneout(sj.slstm(8), 0.4)
    params = jax.tree.map(jnp.asarray, drawn(cell, 3))
    step = jax.jit(functools.partial(cell.step, params))
    carry = cell.initial_carry(params)
    carry = carry if key is None else sj.seed_carry(carry, jax.random.key(key))
    carry, _ = step(carry, jnp.array([0.3, -0.5, 0.2]))
    other = carry._replace(cell=shifted(carry.cell, np.linspace(-3, 2, 8)))
    x = jnp.array([-0.4, 0.1, 0.9])
    (one, y), (two, z) = step(carry, x), step(other, x)
    np.testing.assert_allclose(z, y, rtol=1e-5)
    np.testing.assert_allclose(meant(two.cell), meant(one.cell), rtol=1e-5)
    if key is not None:
        held = np.stack([a == b for a, b in zip(one.cell[1:], carry.cell[1:], strict=True)])
        assert (held == held[0]).all() and 0 < held.sum() < held.size


def test_the_mean_of_states_with_exponents():
    """Of the numbers that are meant; far apart the larger one is left; zeros have no exponent."""
    old = state((0.1, 2.0, 1.0, 1.5), (0.2, 1.0, 1.0, -900.0), (0.3, 0.0, 0.0, 0.0))
    new = state((0.5, 3.0, 4.0, -0.5), (0.6, 3.0, 4.0, 800.0), (0.7, 3.0, 4.0, -200.0))
    found = mean(0.25, old, new)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-6)
    close(found.maximum, [1.5, 800.0, -200.0])
    close(found.cell, [0.25 * 2 + 0.75 * 3 * np.exp(-2), 0.75 * 3, 0.75 * 3])
    close(found.normalizer, [0.25 + 0.75 * 4 * np.exp(-2), 3.0, 3.0])


def test_counts_go_on_counting():
    average = CELLS["not_gated"]
    cell = sj.zoneout(dataclasses.replace(average, output=lambda carry: carry["average"]), 0.5)
    carry = cell.initial_carry({"decay": jnp.full(3, 0.5)})
    for state in (carry, sj.seed_carry(carry, jax.random.key(0))):
        for _ in range(3):
            state, _ = cell.step({"decay": jnp.full(3, 0.5)}, state, jnp.ones(3))
        assert state.cell["steps"] == 3


@pytest.mark.parametrize(
    ("cell", "rates", "message"),
    [
        (sj.slstm(2), sj.SLSTMState(0.1, 0.5, 0.4, 0.5), "have one exponent.*same rate"),  # pyright: ignore[reportArgumentType]
        (sj.lstm(2), (0.1, 0.2, 0.3), r"do not fit the carry LSTMState.*\(2,\)"),
        (sj.minimal_gru(2, logarithmic=True), 0.1, "such as sj.gru or sj.lstm.*no units to hold"),
    ],
    ids=["one exponent", "another state", "no output"],
)
def test_rates_are_refused_when_the_cell_is_built(cell, rates, message):
    with pytest.raises(ValueError, match=message):
        sj.zoneout(cell, rates)
