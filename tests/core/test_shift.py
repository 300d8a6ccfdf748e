"""Looking back: against loops over lists, whatever counts and wherever it starts anew."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.masks import processing_order

TIME, WIDTH = 8, 3
rows = st.lists(st.booleans(), min_size=TIME, max_size=TIME).map(np.array)


def convolution(kernel, bias, carry, xs, valid, resets, reverse):
    """One row: the window as a list, the latest last."""
    past, ys = list(carry), np.zeros_like(xs)
    for t in range(TIME)[::-1] if reverse else range(TIME):
        if valid[t]:
            past = [np.zeros_like(x) for x in past] if resets[t] else past
            past = [*past, xs[t]]
            ys[t] = sum(k * x for k, x in zip(kernel, past, strict=True)) + bias
            past = past[1:]
    return np.array(past), ys


@hypothesis.given(valid=rows, resets=rows, reverse=st.booleans())
def test_short_convolution(valid, resets, reverse):
    random = np.random.default_rng(0)
    with jax.enable_x64(True):
        cell = sj.short_convolution(2, width=WIDTH)
        params = cell.init(jax.random.key(0), 2)
        params = params._replace(bias=jnp.array([0.5, -1.0]))
        xs, start = random.standard_normal((TIME, 2)), random.standard_normal((WIDTH - 1, 2))
        poisoned = np.where(valid[:, None], xs, np.nan)
        carry, ys = sj.scan(
            cell, params, poisoned, type(cell.initial_carry(params))(jnp.asarray(start)),
            mask=valid, resets=resets, reverse=reverse,
        )  # fmt: skip
        past, wanted = convolution(*params, start, xs, valid, resets, reverse)
        np.testing.assert_allclose(ys, wanted, atol=1e-12)
        np.testing.assert_allclose(carry.inputs, past, atol=1e-12)


@pytest.mark.parametrize("reverse", [False, True])
def test_token_shift_skips_holes(reverse):
    xs = jnp.arange(1.0, 7.0)[:, None]
    mask = jnp.array([True, False, True, True, False, True])
    carry, ys = sj.scan(sj.token_shift(1), (), xs, mask=mask, reverse=reverse)
    np.testing.assert_array_equal(ys[:, 0], [3, 0, 4, 6, 0, 0] if reverse else [0, 0, 1, 3, 0, 4])
    assert carry.inputs.item() == (1 if reverse else 6)


@hypothesis.given(valid=rows, reverse=st.booleans())
def test_processing_order(valid, reverse):
    order = processing_order(jnp.array(valid), reverse=reverse)
    steps = jnp.arange(TIME)[:, None]
    counted = np.flatnonzero(valid)[:: -1 if reverse else 1]
    np.testing.assert_array_equal(order.take(steps)[: len(counted), 0], counted)
    np.testing.assert_array_equal(order.put_back(order.take(steps)), steps)


def test_a_window_of_one_is_a_function_of_the_input():
    cell = sj.short_convolution(2, width=1)
    params = cell.init(jax.random.key(0), 2)
    carry, ys = sj.scan(cell, params, jnp.ones((4, 2)))
    assert carry.inputs.shape == (0, 2)
    np.testing.assert_allclose(ys[3], params.kernel[0])
    assert sj.trajectory(cell, params, jnp.ones((4, 2))).inputs.shape == (4, 0, 2)


def test_other_widths():
    with pytest.raises(ValueError, match="3 wide.*in_features=2"):
        sj.token_shift(3).init(jax.random.key(0), 2)
    cell = sj.short_convolution(3)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(ValueError, match="width 3.*4"):
        sj.scan(cell, params, jnp.ones((5, 4)))
