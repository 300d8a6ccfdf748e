"""The corners of the contract: nothing there raises, and nothing there leaks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

TIME = 6

EACH = ["lstm", "lstm_heads", "minimal_gru", "short_convolution", "attentive", "bidirectional"]
"""One for every engine that is no other's part, and every way to run all steps at once."""


@pytest.fixture(params=EACH)
def case(request):
    cell = CELLS[request.param]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (3, TIME, IN_FEATURES))
    return cell, params, xs


def same(got, wanted, tolerance=1e-6):
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance),
        got,
        wanted,
    )


def test_one_step(case):
    cell, params, xs = case
    carry, ys = sj.scan(cell, params, xs[:, :1])
    assert ys.shape == (3, 1, cell.features)
    if cell.causal:
        same((carry, ys[:, 0]), cell.step(params, cell.initial_carry(params, (3,)), xs[:, 0]))


def test_no_steps(case):
    cell, params, xs = case
    carry, ys = sj.scan(cell, params, xs[:, :0])
    assert ys.shape == (3, 0, cell.features)
    same(carry, cell.initial_carry(params, (3,)), 0)


def test_no_rows(case):
    cell, params, xs = case
    carry, ys = sj.scan(cell, params, xs[:0], truncate=2)
    assert ys.shape == (0, TIME, cell.features)
    same(carry, cell.initial_carry(params, (0,)), 0)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_row_of_length_zero_keeps_the_carry_it_was_given(case, reverse):
    cell, params, xs = case
    start = jax.tree.map(lambda leaf: leaf + 0.3, cell.initial_carry(params, (3,)))
    carry, ys = sj.scan(cell, params, xs, start, lengths=jnp.array([TIME, 0, 2]), reverse=reverse)
    same(jax.tree.map(lambda leaf: leaf[1], carry), jax.tree.map(lambda leaf: leaf[1], start), 0)
    assert not ys[1].any() and not ys[2, 2:].any()
    assert ys[2, :2].any()


def test_a_reset_at_step_0_forgets_the_carry(case):
    cell, params, xs = case
    start = jax.tree.map(lambda leaf: leaf + jnp.nan, cell.initial_carry(params, (3,)))
    resets = jnp.zeros((3, TIME), bool).at[:, 0].set(True)
    if not cell.causal:
        start = start._replace(backward=cell.initial_carry(params, (3,)).backward)
    carry, ys = sj.scan(cell, params, xs, start, resets=resets)
    same((carry, ys), sj.scan(cell, params, xs))


def test_a_reset_at_the_last_step(case):
    cell, params, xs = case
    resets = jnp.zeros((3, TIME), bool).at[:, -1].set(True)
    _, ys = sj.scan(cell, params, xs, resets=resets)
    _, alone = sj.scan(cell, params, xs[:, -1:])
    same(ys[:, -1:], alone)
    _, before = sj.scan(cell, params, xs[:, :-1])
    same(ys[:, :-1], before)


def test_the_reset_of_a_masked_step_does_not_happen(case):
    cell, params, xs = case
    mask = jnp.ones((3, TIME), bool).at[:, 3].set(False)
    resets = jnp.zeros((3, TIME), bool).at[:, 3].set(True)
    same(
        sj.scan(cell, params, xs, mask=mask, resets=resets),
        sj.scan(cell, params, xs, mask=mask),
    )


@pytest.mark.parametrize(("reverse", "poison"), [(False, jnp.nan), (True, jnp.inf)])
def test_nan_in_padding_reaches_nothing(case, reverse, poison):
    """Values and gradients are finite and equal those of the sequence cut to its length."""
    cell, params, xs = case
    length = 4

    def loss(params, xs, **options):
        carry, ys = sj.scan(cell, params, xs, reverse=reverse, **options)
        return jnp.square(ys).sum() + sum(jnp.sin(c).sum() for c in jax.tree.leaves(carry))

    padded = xs.at[:, length:].set(poison)
    gradient = jax.jit(jax.value_and_grad(loss, (0, 1)))
    got = gradient(params, padded, lengths=jnp.full((3,), length))
    value, (d_params, d_xs) = gradient(params, xs[:, :length])
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(got))
    same(got[0], value)
    same(got[1][0], d_params, 1e-5)
    same(got[1][1][:, :length], d_xs, 1e-5)
    assert not got[1][1][:, length:].any()


def test_packed_rows_equal_separate_sequences(case):
    cell, params, xs = case
    ids = jnp.array([1, 1, 2, 2, 2, 3])
    _, packed = sj.scan(cell, params, xs[0], resets=sj.segment_starts(ids))
    apart = [sj.scan(cell, params, xs[0][start:end])[1] for start, end in ((0, 2), (2, 5), (5, 6))]
    same(packed, jnp.concatenate(apart))


def test_packed_rows_in_reverse(case):
    cell, params, xs = case
    ids = jnp.array([1, 1, 2, 2, 2, 3])
    starts = sj.segment_starts(ids, reverse=True)
    _, packed = sj.scan(cell, params, xs[0], resets=starts, reverse=True)
    apart = [
        sj.scan(cell, params, xs[0][start:end], reverse=True)[1]
        for start, end in ((0, 2), (2, 5), (5, 6))
    ]
    same(packed, jnp.concatenate(apart))


@pytest.mark.parametrize("name", [name for name in EACH if CELLS[name].causal])
def test_reverse_is_the_flipped_scan(name):
    """For cells with two directions, which exchange their parts: see test_bidirectional."""
    cell = CELLS[name]
    params = drawn(cell, IN_FEATURES)
    xs = jax.random.normal(jax.random.key(1), (3, TIME, IN_FEATURES))
    carry, ys = sj.scan(cell, params, xs, reverse=True)
    flipped_carry, flipped = sj.scan(cell, params, xs[:, ::-1])
    same((carry, ys), (flipped_carry, flipped[:, ::-1]))


def test_truncation_leaves_values_and_cuts_gradients(case):
    cell, params, xs = case
    same(sj.scan(cell, params, xs, truncate=2), sj.scan(cell, params, xs))
    if not cell.causal:
        return

    def last(xs, truncate):
        return sj.scan(cell, params, xs, truncate=truncate)[1][:, -1].sum()

    influence = jnp.abs(jax.jit(jax.grad(last), static_argnums=1)(xs, 2)).sum((0, 2))
    assert not influence[:4].any() and influence[4:].all()


def test_checkpointing_stores_less(case):
    cell, params, _ = case
    xs = jnp.ones((4, 1024, IN_FEATURES))

    def saved(every):
        def loss(params):
            return sj.scan(cell, params, xs, checkpoint_every=every)[1].sum()

        return jax.jit(jax.grad(loss)).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert saved(32) < 0.5 * saved(None)


def test_an_unused_carry_leaf_costs_no_gradient(case):
    """Gradients of only the carry, and of only the outputs, agree with both together."""
    cell, params, xs = case

    def parts(params, of_carry, of_ys):
        carry, ys = sj.scan(cell, params, xs)
        return of_carry * sum(c.sum() for c in jax.tree.leaves(carry)) + of_ys * ys.sum()

    gradient = jax.jit(jax.grad(parts))
    both = gradient(params, 1.0, 1.0)
    apart = jax.tree.map(jnp.add, gradient(params, 1.0, 0.0), gradient(params, 0.0, 1.0))
    same(both, apart, 1e-5)


def test_inputs_can_be_a_tree():
    """A step may take several arrays, with ranks of their own."""

    def step(params, carry, x):
        vector, number = x
        carry = carry + params * vector * number[..., None]
        return carry, carry

    cell = sj.Cell(
        init=lambda key, in_features: jnp.ones(()),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 2)),
        step=step,
        features=2,
        input_ndim=(1, 0),
    )
    xs = (jnp.ones((3, 4, 2)), jnp.arange(12.0).reshape(3, 4))
    mask = jnp.ones((3, 4), bool).at[:, 2].set(False)
    _, ys = sj.scan(cell, jnp.ones(()), xs, mask=mask)
    np.testing.assert_allclose(ys[0, :, 0], [0, 1, 0, 4])
