"""Gates by name, against the equations; where numbers break; the gradient check; truncation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.gradients import (
    activations,
    check_gradient,
    first_not_finite,
    model_activations,
    model_first_not_finite,
    model_truncation_cost,
    truncation_cost,
)
from tests.nn.drawn import drawn, drawn_params, normal


def in_one_program(run):
    """The names and kinds of the gates of a run, and their numbers, computed at once."""
    names = []

    @jax.jit
    def compute():
        gates = run()
        names.extend((gate.name, gate.kind) for gate in gates)
        return [gate[3:] for gate in gates]

    numbers = compute()
    return names, numbers


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_gates_of_a_minimal_gated_unit(x64):
    cell = sj.minimal_gated(3)
    params, step = drawn_params(cell, 2), jax.jit(cell.step)
    xs = 4 * np.random.default_rng(0).standard_normal((2, 6, 2))
    lengths, resets = np.array([6, 4]), np.zeros((2, 6), bool)
    resets[0, 3] = True
    # Padding is as saturated as can be.
    params["bias"] = params["bias"].at[0].set(-9.0)
    names, (forget, _) = in_one_program(
        lambda: activations(cell, params, jnp.asarray(xs), lengths=lengths, resets=resets)
    )
    opened = []
    for row in range(2):
        h = np.zeros(3)
        for t in range(lengths[row]):
            h = np.zeros(3) if resets[row, t] else h
            # The cell says itself what the input and the recurrent part of a gate are.
            _, y = step(params, jnp.asarray(h), jnp.asarray(xs[row, t]))
            x = np.einsum("i,igf->gf", xs[row, t], params["input"]) + params["bias"]
            r = np.einsum("i,igf->gf", h, params["recurrent"])
            if "recurrent_bias" in params:
                r = r + params["recurrent_bias"]
            f = sigmoid(x[0] + r[0])
            h = (1 - f) * h + f * np.tanh(x[1] + f * r[1])
            np.testing.assert_allclose(h, y, rtol=1e-10)
            opened.append(f)
    opened = np.array(opened)
    assert names == [("forget", "sigmoid"), ("candidate", "tanh")]
    mean, low, high = forget
    np.testing.assert_allclose(mean, opened.mean(), rtol=1e-10)
    np.testing.assert_allclose(low, (opened < 0.05).mean())
    np.testing.assert_allclose(high, (opened > 0.95).mean())


def test_gates_of_any_cell_and_of_models():
    cell = sj.stack(sj.lstm(3), sj.rwkv4_time_mix(3), sj.dropout(sj.gru(3), 0.1))
    model, xs = drawn(lambda rngs: sj.nn.RNN(cell, 2, rngs=rngs)), normal(2, 6, 2)
    both, numbers = in_one_program(
        lambda: (
            *model_activations(model, lambda model: model(xs)),
            *activations(cell, model.params, xs),
        )
    )
    count = len(both) // 2
    names = [name for name, _ in both[:count]]
    assert names[:5] == ["input", "forget", "candidate", "output", "cell"]
    assert names[-3:] == ["reset", "update", "candidate"]
    assert both[:count] == both[count:]
    np.testing.assert_allclose(numbers[:count], numbers[count:])


def test_a_padded_step_is_not_looked_at():
    cell = sj.gru(3)
    params, xs = drawn_params(cell, 2), np.ones((2, 5, 2), np.float32)
    xs[1, 2:] = np.nan
    xs = jnp.asarray(xs)
    _, numbers = in_one_program(lambda: activations(cell, params, xs, lengths=jnp.array([5, 2])))
    assert len(numbers) == 3 and np.isfinite(numbers).all()
    assert first_not_finite(cell, params, xs, lengths=jnp.array([5, 2])) is None


def test_the_first_number_that_breaks():
    def step(params, carry, x):
        with jax.named_scope("logarithm"):
            logs = jnp.log(2.5 - carry)
        return carry + x, logs

    cell = sj.Cell(
        init=lambda key, in_features: jnp.zeros(()),
        initial_carry=lambda params, batch_shape=(): jnp.zeros((*batch_shape, 1)),
        step=step,
        features=1,
    )
    stack = sj.stack(sj.dense(1, weight_init=sj.initializers.Constant(1.0)), cell, sj.gru(2))
    params = stack.init(jax.random.key(0), 1)
    xs = jnp.ones((2, 6, 1))
    found = first_not_finite(stack, params, xs)
    # The sum is 3 before step 3, and the logarithm of what is below zero is no number.
    assert (found.step, found.name) == (3, "logarithm")
    assert found.layer.startswith("1 Cell")
    # From the other end, the steps run the other way.
    assert first_not_finite(stack, params, xs, reverse=True).step == 2
    model = sj.nn.RNN(stack, 1, rngs=nnx.Rngs(0))
    assert model_first_not_finite(model, lambda model: model(xs)) is not None
    assert first_not_finite(stack, params, 0 * xs) is None


@pytest.mark.parametrize("cell", [sj.lstm(3), sj.minimal_gru(3)])
def test_right_gradients_pass_the_check(cell):
    params, xs = drawn_params(cell, 2), normal(2, 5, 2)
    found = check_gradient(cell, params, xs, jax.random.key(2), lengths=jnp.array([5, 3]))
    assert found.finite_differences < 1e-7
    assert found.plain < 1e-12


def test_a_wrong_gradient_fails_it():
    @jax.custom_jvp
    def square(x):
        return x * x

    square.defjvp(lambda primals, tangents: (square(*primals), 1.5 * primals[0] * tangents[0]))

    def update(h, x, r):
        return square(x[0] + r[0])

    cell = sj.gated(update, features=3, gates=1)
    params, xs = drawn_params(cell, 2), normal(5, 2)
    assert check_gradient(cell, params, xs, jax.random.key(2)).finite_differences > 0.01


def test_truncation_against_the_gradients_themselves(x64):
    cell = sj.gru(3)
    params, xs = drawn_params(cell, 2), normal(2, 9, 2, dtype=np.float64)

    def loss(carry, ys):
        return jnp.square(ys[:, -1]).sum()

    @functools.partial(jax.jit, static_argnums=0)
    def gradient(truncate):
        value = lambda p: loss(*sj.scan(cell, p, xs, truncate=truncate, method="plain"))  # noqa: E731
        return jax.flatten_util.ravel_pytree(jax.grad(value)(params))[0]

    found = truncation_cost(cell, params, xs, loss, [1, 3, 9])
    full = np.asarray(gradient(None))
    for steps, cosine, ratio in zip(*found, strict=True):
        cut = np.asarray(gradient(int(steps)))
        expected = cut @ full / np.linalg.norm(cut) / np.linalg.norm(full)
        assert cosine == pytest.approx(expected, rel=1e-10)
        assert ratio == pytest.approx(np.linalg.norm(cut) / np.linalg.norm(full), rel=1e-10)
    assert found.cosine[-1] == pytest.approx(1)
    model = drawn(lambda rngs: sj.nn.RNN(cell, 2, rngs=rngs))
    ours = model_truncation_cost(model, lambda model: loss(*model(xs)), [1, 3, 9])
    theirs = truncation_cost(cell, model.params, xs, loss, [1, 3, 9])
    np.testing.assert_allclose(ours.cosine, theirs.cosine, rtol=1e-6)
