"""M2RNN against its equations in NumPy, and what a bound for its gradient does."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.bounded_gradient import bounded_gradient
from tests.parameters import drawn

IN, TIME = 3, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def loop(p, xs, *, heads, key_heads, keys, values):
    """Matrix by matrix."""
    kernel, m = p["convolve"].kernel, p["memory"]
    convolved, shared = kernel.shape[1], heads // key_heads
    past = np.zeros_like(kernel)
    H, ys = np.zeros((heads, keys, values)), []
    for x in xs:
        made = x @ p["project"]["weights"]
        past = np.concatenate([past[1:], made[None, :convolved]])
        u = (past * kernel).sum(0)
        u, f, g = u * sigmoid(u), made[convolved : convolved + heads], made[convolved + heads :]
        q, k = u[: 2 * key_heads * keys].reshape(2, key_heads, keys)
        v, o = u[2 * key_heads * keys :].reshape(heads, values), []
        f = np.exp(-np.exp(m["A_log"]) * np.log1p(np.exp(f + m["forget_bias"])))
        for h in range(heads):
            C = np.tanh(H[h] @ m["recurrent"][h] + np.outer(k[h // shared], v[h]))
            H[h] = f[h] * H[h] + (1 - f[h]) * C
            o.append(H[h].T @ q[h // shared])
        o = (np.concatenate(o) + m["skip"] * v.ravel()) * g * sigmoid(g)
        ys.append((o / np.sqrt((o**2).mean() + 1e-6) * m["norm_gain"]) @ m["output"])
    return ys


@pytest.mark.parametrize(
    "sizes",
    [
        {"heads": 2, "key_heads": 2, "keys": 3, "values": 2},
        {"heads": 4, "key_heads": 2, "keys": 2, "values": 3},
    ],
)
def test_equations(sizes, x64):
    cell = sj.m2rnn(4, convolution=2, **sizes)
    params = drawn(cell, IN, scale=1.0)
    xs = np.random.default_rng(1).standard_normal((TIME, IN))
    ys = sj.scan(cell, jax.tree.map(jnp.asarray, params), xs)[1]
    np.testing.assert_allclose(ys, loop(params, xs, **sizes), rtol=1e-10, atol=1e-12)


def test_starts():
    """As in the authors' code: states that are kept, by the identity and by forget gates near 1."""
    params = sj.m2rnn(64, heads=16).init(jax.random.key(0), 8)["memory"]
    np.testing.assert_array_equal(params["recurrent"], np.tile(np.eye(4), (16, 1, 1)))
    step = jax.nn.softplus(params["forget_bias"])
    assert 1e-3 <= step.min() < step.max() <= 0.1
    assert 1e-2 <= jnp.exp(params["A_log"]).min() < jnp.exp(params["A_log"]).max() <= 16


def test_a_bound_for_the_gradient(x64):
    """In every step what comes back to H is clipped, on each path alike, and no value changes."""
    free, bounded = (sj.m2rnn(4, heads=2, keys=1, gradient_bound=b) for b in (None, 0.01))
    params = drawn(free, IN)
    xs = np.random.default_rng(2).standard_normal((2, TIME, IN))
    loss = lambda params, cell, method: jnp.sin(  # noqa: E731
        sj.scan(cell, params, xs, method=method)[1]
    ).sum()
    run = jax.jit(jax.value_and_grad(loss), static_argnums=(1, 2))
    ways = ("plain", "recompute", sj.Fused(tile=3, block=3))
    got, *others = (run(params, bounded, method) for method in ways)
    for same in others:
        chex.assert_trees_all_close(got, same, rtol=1e-10, atol=1e-12)
    value, gradient = run(params, free, "plain")
    np.testing.assert_allclose(got[0], value, rtol=1e-12)
    clipped, whole = (np.abs(g["memory"]["recurrent"]).sum() for g in (got[1], gradient))
    assert 0 < clipped < 0.5 * whole


def test_newton_refuses_a_bound_for_the_gradient():
    """The gradient would be another one than that of all other ways."""
    cell = sj.residual(sj.m2rnn(IN, heads=3, values=2, keys=1, gradient_bound=0.1))
    params, xs = cell.init(jax.random.key(0), IN), jnp.ones((TIME, IN))
    with pytest.raises(ValueError, match=r"newton' .* cannot clip .* m2rnn\(heads=3, values=2, "):
        jax.eval_shape(lambda: sj.scan(cell, params, xs, method="newton"))


def test_what_is_clipped(x64):
    """By hand: of h_t = r h_{t-1} + x_t near zero, the loss h_3, what comes back is r, r^2, ..."""

    def last(xs, bound):
        return jax.lax.scan(lambda h, x: (bounded_gradient(3.0 * h + x, bound), None), 0.0, xs)[0]

    back = jax.vmap(jax.grad(last), (0, None))(jnp.zeros((2, 3)), 2.0)
    np.testing.assert_array_equal(back, [[2.0, 2.0, 1.0]] * 2)
    assert jax.jvp(lambda xs: last(xs, 2.0), (jnp.zeros(3),), (jnp.ones(3),))[1] == 13.0


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sj.m2rnn(4, heads=3), "`heads=3` must divide `features`, which is 4"),
        (lambda: sj.m2rnn(6, heads=3, key_heads=2), "`key_heads=2` must divide `heads=3`"),
        (lambda: sj.m2rnn(4, heads=2, keys=0), "`keys` must be a positive whole number, got 0"),
        (lambda: sj.m2rnn(4, gradient_bound=0.0), "`gradient_bound` must be above 0, got 0.0"),
    ],
)
def test_errors(call, said):
    with pytest.raises(ValueError, match=said):
        call()
