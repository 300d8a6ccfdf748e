"""Which units zoneout holds: others at every step, and others again when a scan goes on."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj

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
