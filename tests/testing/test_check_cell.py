"""`check_cell` sees whatever a cell does wrong with masks, resets, directions and gradients."""

import dataclasses
import importlib

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj
from seqjax.testing import check_cell

WIDTH = 2


def _leaky():
    """The cheapest cell with parameters."""

    def step(params, carry, x):
        y = jnp.tanh(0.5 * carry + x @ params["weights"])
        return y, y

    return sj.Cell(
        init=lambda key, in_features: {"weights": 0.5 * jnp.eye(WIDTH)},
        initial_carry=lambda params, batch_shape=(): jnp.zeros(
            (*batch_shape, WIDTH), params["weights"].dtype
        ),
        step=step,
        features=WIDTH,
    )


def _constant(tree):
    return jax.tree.map(jax.lax.stop_gradient, tree)


def wrong(change):
    """A cell whose steps are right, and whose way through a sequence is not."""
    good = _leaky()

    def sequence(scan, params, carry, initial, xs, steps):
        params, carry, xs, steps = change(params, carry, xs, steps)
        return scan(good, params, carry, initial, xs, steps)

    return dataclasses.replace(good, sequence=sequence)


def without(**flags):
    return lambda params, carry, xs, steps: (params, carry, xs, dataclasses.replace(steps, **flags))


CHANGES = {
    "masks": without(valid=None),
    "resets": without(resets=None),
    "truncation": without(cuts=None),
    "the direction": without(reverse=False),
    "the carry it is given": lambda p, c, x, s: (p, jax.tree.map(jnp.zeros_like, c), x, s),
    "the gradient of the parameters": lambda p, c, x, s: (_constant(p), c, x, s),
    "the gradient of the carry": lambda p, c, x, s: (p, _constant(c), x, s),
    "the gradient of the inputs": lambda p, c, x, s: (p, c, _constant(x), s),
}


def test_a_cell_in_order_is_accepted():
    check_cell(wrong(lambda *parts: parts), WIDTH, methods=("auto",), thorough=False)


def test_a_scan_that_hands_on_masked_inputs_is_found(monkeypatch):
    """Not by its numbers, unless what is masked is NaN."""
    module = importlib.import_module("seqjax.engines.scan")
    monkeypatch.setattr(module, "zero_masked", lambda xs, valid: xs)
    with pytest.raises(AssertionError, match="scan = loop with resets and masks"):
        check_cell(wrong(lambda *parts: parts), WIDTH, methods=("auto",), thorough=False)


@pytest.mark.parametrize("name", CHANGES)
def test_what_a_cell_ignores_is_found(name):
    with pytest.raises(AssertionError, match="scan = loop"):
        check_cell(wrong(CHANGES[name]), WIDTH, methods=("auto",), thorough=False)
