"""Jacobians, Lyapunov exponents and memory, against the full Jacobian by forward mode."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.gradients import (
    carry_jacobian,
    effective_memory,
    largest_singular_value,
    lyapunov_exponents,
    singular_values,
    spectral_radius,
)
from tests.nn.drawn import drawn_params, normal

CELLS = [sj.elman(3), sj.lstm(2), sj.stack(sj.gru(2), sj.minimal_gru(2))]


@functools.partial(jax.jit, static_argnums=0)
def step_jacobian(cell, params, carry, x):
    """`(new carry, d new carry / d carry)` as one matrix."""
    vector, restore = jax.flatten_util.ravel_pytree(carry)

    def after(vector):
        return jax.flatten_util.ravel_pytree(cell.step(params, restore(vector), x)[0])[0]

    return cell.step(params, carry, x)[0], jax.jacfwd(after)(vector)


@pytest.mark.parametrize("cell", CELLS)
def test_jacobian_is_the_product_of_those_of_the_steps(cell, x64):
    params, xs = drawn_params(cell, 2), normal(6, 2, dtype=np.float64)
    carry = cell.initial_carry(params)

    @jax.jit
    def run(params, start, key):
        found = carry_jacobian(cell, params, xs, start)
        by_power = largest_singular_value(cell, params, xs, start, key, iterations=200)
        return found, singular_values(found), spectral_radius(found), by_power

    found, values, radius, by_power = run(params, carry, jax.random.key(2))
    product = np.eye(len(found))
    for x in xs:
        carry, jacobian = step_jacobian(cell, params, carry, x)
        product = jacobian @ product
    np.testing.assert_allclose(found, product, rtol=1e-9, atol=1e-14)
    sizes = np.linalg.svd(product, compute_uv=False)
    np.testing.assert_allclose(values, sizes, rtol=1e-9, atol=1e-14)
    largest = np.abs(np.linalg.eigvals(product)).max()
    np.testing.assert_allclose(radius, largest, rtol=1e-6)
    np.testing.assert_allclose(by_power, sizes[0], rtol=1e-6)


def by_hand(cell, params, xs, start, mask, resets, directions):
    """Exponents of one row by NumPy's QR of products with full Jacobians."""
    carry, total, count = cell.initial_carry(params), 0.0, 0
    initial = carry
    for x, counts, reset in zip(xs, mask, resets, strict=True):
        if not counts:
            continue
        carry, jacobian = step_jacobian(cell, params, initial if reset else carry, x)
        directions, triangle = np.linalg.qr(jacobian @ directions)
        total = total + np.log(np.abs(np.diagonal(triangle)))
        count += 1
    return np.sort(total / count)[::-1]


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_exponents_against_full_jacobians(cell, reverse, x64):
    params, xs = drawn_params(cell, 2), normal(2, 8, 2, dtype=np.float64)
    mask = np.array([[1, 1, 0, 1, 1, 1, 0, 1], [0, 1, 1, 1, 1, 1, 1, 1]], bool)
    resets = np.zeros((2, 8), bool)
    resets[0, 4] = True
    key = jax.random.key(2)
    found = jax.jit(
        lambda params: lyapunov_exponents(
            cell, params, xs, key, count=2, mask=mask, resets=resets, reverse=reverse
        )
    )(params)
    size = len(jax.flatten_util.ravel_pytree(cell.initial_carry(params))[0])
    start = np.linalg.qr(jax.random.normal(key, (2, size, 2), jnp.float64))[0]
    order = slice(None, None, -1 if reverse else 1)
    for row in range(2):
        expected = by_hand(
            cell, params, xs[row][order], None, mask[row][order], resets[row][order], start[row]
        )
        np.testing.assert_allclose(found.exponents[row], expected, rtol=1e-8)
        last = 0 if reverse else -1
        np.testing.assert_allclose(found.path[row, last].max(), found.exponents[row].max())


def test_exponents_of_a_linear_cell_are_the_logarithms_of_its_decays(x64):
    cell = sj.elman(3, activation=lambda x: x)
    params = dict(cell.init(jax.random.key(0), 1))
    params["recurrent"] = jnp.diag(jnp.array([0.5, 1.1, 0.9])).reshape(params["recurrent"].shape)
    found = jax.jit(
        lambda params, key: lyapunov_exponents(
            cell, params, jnp.zeros((400, 1)), key, count=3, discard=200
        )
    )(params, jax.random.key(0))
    np.testing.assert_allclose(found.exponents, np.log([1.1, 0.9, 0.5]), rtol=1e-6)
    assert found.verdict(1000) == "exploding"
    assert found.verdict(10) == "stable"


def test_orthogonal_start_holds_the_exponent_near_zero():
    """Of a linear cell at zero exactly; a tanh pulls it below."""
    key, xs, found = jax.random.key(0), 0.01 * normal(100, 4), {}
    exponents = jax.jit(lyapunov_exponents, static_argnums=0)
    cell = sj.elman(32, recurrent_init=sj.initializers.Orthogonal())
    params = cell.init(key, 4)
    for name, scale in (("orthogonal", 1.0), ("small", 0.5)):
        scaled = params | {"recurrent": scale * params["recurrent"]}
        found[name] = exponents(cell, scaled, xs, key)
    assert abs(float(found["orthogonal"].exponents[0])) < 0.01
    assert found["orthogonal"].verdict() == "stable"
    assert found["small"].verdict() == "vanishing"


def test_a_row_without_steps_has_no_exponent():
    cell = sj.gru(3)
    found = jax.jit(
        lambda params, key: lyapunov_exponents(
            cell, params, jnp.ones((2, 5, 2)), key, lengths=jnp.array([5, 0])
        )
    )(drawn_params(cell, 2), jax.random.key(0))
    assert jnp.isnan(found.exponents[1]).all() and jnp.isfinite(found.exponents[0]).all()
    assert found.verdict() in ("vanishing", "stable")


def test_exponents_need_a_step_and_numbers_that_fit():
    cell = sj.gru(3)
    params = drawn_params(cell, 2)
    xs = jnp.ones((5, 2))
    with pytest.raises(ValueError, match="expected count from 1 to 3"):
        lyapunov_exponents(cell, params, xs, jax.random.key(0), count=4)
    both = sj.bidirectional(cell)
    with pytest.raises(ValueError, match="has no step"):
        lyapunov_exponents(both, drawn_params(both, 2), xs, jax.random.key(0))


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("cell", [sj.gru(1), sj.bidirectional(sj.lstm(1))])
def test_memory_is_the_jacobian_of_the_last_output(cell, reverse, x64):
    """An output of one number has one direction only, up to its sign."""
    if cell.features > 1:
        cell = sj.stack(cell, sj.dense(1))
    params, xs = drawn_params(cell, 2), normal(3, 7, 2, dtype=np.float64)
    lengths = jnp.array([7, 4, 0])
    found = jax.jit(
        lambda params, key: effective_memory(
            cell, params, xs, key, lengths=lengths, reverse=reverse
        )
    )(params, jax.random.key(2))

    @jax.jit
    @jax.grad
    def by_input(x, length, last):
        _, ys = sj.scan(cell, params, x, lengths=length, reverse=reverse, method="plain")
        return ys[last, 0]

    for row, length in enumerate(lengths.tolist()):
        expected = np.zeros(7)
        if length:
            last = 0 if reverse else length - 1
            sizes = np.linalg.norm(by_input(xs[row], length, last), axis=-1)
            expected[:length] = sizes[:length] if reverse else sizes[:length][::-1]
        np.testing.assert_allclose(found.by_lag[row], expected, rtol=1e-9, atol=1e-14)


def test_memory_averages_over_directions(x64):
    cell = sj.elman(3)
    params, xs = drawn_params(cell, 2), normal(5, 2, dtype=np.float64)

    @jax.jit
    def run(params, key):
        found = effective_memory(cell, params, xs, key, directions=20_000)
        return found, jax.jacrev(lambda xs: sj.scan(cell, params, xs, method="plain")[1][-1])(xs)

    found, jacobian = run(params, jax.random.key(2))
    expected = np.sqrt(np.square(jacobian).sum((0, 2)) / 3)[::-1]
    np.testing.assert_allclose(found.by_lag, expected, rtol=0.03)
    assert int(found.steps(0.0)) == 4


def test_short_rows_say_nothing_of_a_longer_memory():
    cell = sj.elman(8, recurrent_init=sj.initializers.Orthogonal(0.5))
    params = cell.init(jax.random.key(0), 2)
    lengths = jnp.array([20, 0, 2, 1, 3])

    @jax.jit
    def run(params, key):
        found = effective_memory(cell, params, jnp.zeros((5, 20, 2)), key, lengths=lengths)
        whole = found.over_batch()
        return found.steps(), whole.steps(), whole.by_lag.max()

    steps, of_batch, largest = run(params, jax.random.key(1))
    assert steps.tolist() == [6, 0, 1, 0, 2]  # 0.5 ** 6 = 0.016
    assert int(of_batch) == 6
    assert largest == 1
