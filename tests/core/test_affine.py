"""States with a scale are numbers: their values and gradients are those of plain arithmetic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.affine import Coupled, Coupling, Update, apply, combine, no_update


def number(state):
    """What the state stands for."""
    (value,) = state.values
    return value * jnp.exp(state.maximum)


def one_step(start, exponent, decay, value, size):
    state = sj.log_scaled((start,), exponent)
    return number(apply(Update(decay, sj.log_scaled((value,), size)), state))


def two_steps_joined(start, exponent, decay, value, size):
    update = Update(decay, sj.log_scaled((value,), size))
    both = combine(update, Update(0.5 * decay, sj.log_scaled((size,), value)))
    return number(apply(both, sj.log_scaled((start,), exponent)))


def one_step_in_numbers(start, exponent, decay, value, size):
    return jnp.exp(decay) * start * jnp.exp(exponent) + value * jnp.exp(size)


def two_steps_in_numbers(start, exponent, decay, value, size):
    first = one_step_in_numbers(start, exponent, decay, value, size)
    return jnp.exp(0.5 * decay) * first + size * jnp.exp(value)


@pytest.mark.parametrize(
    "scaled, plain",
    [(one_step, one_step_in_numbers), (two_steps_joined, two_steps_in_numbers)],
    ids=["one step", "two steps"],
)
@pytest.mark.parametrize("size", [-1.0, 2.0])
def test_a_scaled_state_has_the_gradient_of_its_number(scaled, plain, size, x64):
    """Whichever of the two exponents is the larger one."""
    arguments = tuple(map(jnp.float64, (0.7, 0.2, -0.4, 1.3, size)))
    places = tuple(range(len(arguments)))
    got, wanted = (jax.value_and_grad(f, places)(*arguments) for f in (scaled, plain))
    np.testing.assert_allclose(got[0], wanted[0], rtol=1e-12)
    np.testing.assert_allclose(got[1], wanted[1], rtol=1e-12)


def test_coupled_states_are_vectors_and_their_decays_matrices(x64):
    numbers = iter(np.random.default_rng(0).standard_normal((14, 3)))
    draw = lambda kind: kind(*(next(numbers) for _ in kind._fields))  # noqa: E731
    start, updates = draw(Coupled), [Update(draw(Coupling), draw(Coupled)) for _ in range(2)]
    state, matrices = np.stack(start), []
    for decay, value in updates:
        matrices.append(np.reshape(decay, (2, 2, 3)))
        state = np.einsum("ijn,jn->in", matrices[-1], state) + np.stack(value)
    both = combine(*updates)
    np.testing.assert_allclose(np.stack(apply(both, start)), state, rtol=1e-12)
    wanted = np.einsum("ijn,jkn->ikn", matrices[1], matrices[0])
    np.testing.assert_allclose(np.reshape(both.decay, (2, 2, 3)), wanted, rtol=1e-12)
    np.testing.assert_array_equal(np.stack(apply(no_update(both), start)), np.stack(start))
