"""Coefficients of linear cells: what fits, and one message for each thing that does not."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

METHODS = ["plain", "chunked", "associative"]


def run(coefficients, method="plain", **options):
    cell = sj.linear(coefficients, features=4, gates=1, **options)
    params = cell.init(jax.random.key(0), 3)
    return sj.scan(cell, params, jnp.ones((2, 5, 3)), method=method)[1]


def one(x):
    return jnp.ones_like(x[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "decay", [0.5, np.float64(0.5), np.full(4, 0.5), jnp.full((1,), 0.5)], ids=str
)
def test_a_decay_that_broadcasts(decay, method):
    ys = run(lambda x: (decay, one(x)), method)
    np.testing.assert_allclose(ys[1, :, 3], [1, 1.5, 1.75, 1.875, 1.9375])


@pytest.mark.parametrize("method", METHODS)
def test_a_complex_decay_of_two_numbers(method):
    """Multiplication by i, four times in a row, is none."""
    ys = run(
        lambda x: (sj.Complex(0, 1.0), sj.Complex(one(x), 0 * one(x))),
        method,
        read=lambda state, x: state.real,
    )
    np.testing.assert_allclose(ys[0, :, 0], [1, 1, 0, 0, 1], atol=1e-6)


def cut(x):
    return one(x)[..., :1]


def pair(x):
    return sj.Complex(one(x), one(x))


real = {"read": lambda state, x: state.real}

MISTAKES = {
    "complex decay": (lambda x: (1j * one(x), one(x)), {}, r"Complex\(real.*the decay.*complex64"),
    "complex value": (lambda x: (0.5, 1j * one(x)), {}, r"Complex\(real.*the value.*complex64"),
    "complex number": (lambda x: (0.5j, one(x)), {}, "real arrays.*decay.*complex64.*decay.real"),
    "complex parts": (lambda x: (pair(x), sj.Complex(1j * one(x), one(x))), real, "real arrays"),
    "complex reading": (
        lambda x: (pair(x), pair(x)), {"read": lambda state, x: state.real + 1j}, "real numbers.*64"
    ),
    "no read": (
        lambda x: (pair(x), pair(x)), {}, r"one array of 4.*Complex\(real=\(2, 4\).*give a `read`"
    ),
    "narrow reading": (
        lambda x: (0.5, one(x)), {"read": lambda state, x: state[..., :1]}, r"4 features.*\(2, 1\)"
    ),
    "real decay": (lambda x: (one(x), pair(x)), real, "kind of its value.*Complex.*returned"),
    "decay of another width": (
        lambda x: (jnp.ones(5), one(x)), {}, r"broadcasts.*\(2, 4\).*returned \(5,\)"
    ),
    "decay of another rank": (lambda x: (one(x)[None], one(x)), {}, r"broadcasts.*\(1, 2, 4\)"),
    "number": (lambda x: (0.5, 1.0), {}, r"batch dimensions.*\(2,\).*returned \(\).*full_like"),
    "value without rows": (lambda x: (0.5, jnp.ones(4)), {}, r"batch dimensions.*returned \(4,\)"),
    "value of another width": (lambda x: (0.5, cut(x)), {}, r"4 features.*shape \(2, 1\)"),
    "one thing": (pair, real, r"two things.*Complex"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistakes(name):
    coefficients, options, message = MISTAKES[name]
    with pytest.raises(ValueError, match=message):
        run(coefficients, **options)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("coefficients", "message"),
    [
        (lambda p, x: (0.5, x[..., :1]), r"shape of the state, \(2, 4\).*full_like"),
        (lambda p, x: (0.5, x[None, None]), r"shape of the state"),
        (lambda p, x: (jnp.ones((1, 1, 2, 4)), x), "broadcasts against the state"),
        (lambda p, x: (1j * x, x), "complex64"),
    ],
)
def test_mistakes_against_a_given_state(coefficients, message, method):
    cell = sj.diagonal(
        coefficients,
        init=lambda key, in_features: (),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 4)),
        features=4,
    )
    with pytest.raises(ValueError, match=message):
        sj.scan(cell, (), jnp.ones((2, 5, 4)), method=method)


def test_a_diagonal_cell_that_reads_no_array():
    zeros = partial(jnp.zeros, dtype=jnp.float32)
    cell = sj.diagonal(
        lambda params, x: (sj.Complex(0.0, 1.0), sj.Complex(x, x)),
        init=lambda key, in_features: (),
        initial_carry=lambda p, batch=(): sj.Complex(zeros((*batch, 3)), zeros((*batch, 3))),
        features=3,
    )
    with pytest.raises(ValueError, match="diagonal: .*one array of 3.*Complex.*give a `read`"):
        sj.scan(cell, (), jnp.ones((5, 3)))
