"""Gradients against finite differences, under settings drawn at random."""

import chex
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

import seqjax as sj
from seqjax.testing.case import ROWS, STEPS, Program, make_case, make_weights, numbers
from seqjax.testing.reference import Reference
from tests.engines.test_edges import EACH
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES


@pytest.mark.parametrize("name", [*EACH, "gru"])
def test_finite_differences(name, x64):
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (2, 4, IN_FEATURES))
    start = jax.tree.map(lambda leaf: leaf + 0.2, cell.initial_carry(params, (2,)))
    resets = jnp.array([[False, False, True, False], [True, False, False, True]])

    @jax.jit
    def run(params, xs, start):
        return sj.scan(cell, params, xs, start, lengths=jnp.array([4, 3]), resets=resets)

    check_grads(run, (params, xs, start), order=1, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("name", ["lstm", "gru"])
def test_second_derivatives(name, x64):
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (3, IN_FEATURES))

    @jax.jit
    def run(xs):
        return sj.scan(cell, params, xs, checkpoint_every=2)[1].sum()

    check_grads(run, (xs,), order=2, modes=("rev",), atol=1e-5, rtol=1e-5)


flags = st.lists(st.booleans(), min_size=ROWS * STEPS, max_size=ROWS * STEPS).map(
    lambda values: np.array(values).reshape(ROWS, STEPS)
)


@pytest.fixture(scope="module")
def tools():
    with jax.enable_x64(True):
        case = make_case(sj.learned_initial_carry(sj.lstm(2)), 2, None, 0)
        weights = make_weights(case)
        settings = [
            {"reverse": reverse, "truncate": truncate}
            for reverse in (False, True)
            for truncate in (None, 2)
        ]
        runs = [Program(case.cell, weights, **setting) for setting in settings]
        return case, weights, Reference(case), list(zip(settings, runs, strict=True))


@hypothesis.given(mask=flags, resets=flags, which=st.integers(0, 3))
def test_any_mask_and_any_resets(tools, mask, resets, which):
    """Values and gradients equal backpropagation by hand."""
    case, weights, loop, runs = tools
    setting, run = runs[which]
    with jax.enable_x64(True):
        got = run(case.params, case.carry, case.xs, mask=mask, resets=resets)
        wanted = loop.run(case.xs, mask, resets, weights, **setting)
    chex.assert_trees_all_close(
        jax.tree.map(numbers, got), jax.tree.map(numbers, wanted), rtol=1e-10, atol=1e-10
    )
