"""Parameters far from where they start: nothing becomes NaN that need not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn
from tests.rows import thorough_but
from tests.table import IN_FEATURES, LINEAR, MATRIX, ROWS, TABLE

FAR = 100.0
"""`exp` of it is infinite in float32, not in float64."""

MODEST = 1e12
"""What float64 finds to be smaller needs no number that float32 lacks."""


def losses(cell, methods):
    """A compiled function of parameters, what to add to each leaf of them, and inputs."""

    def loss(params, shift, xs, method):
        leaves, tree = jax.tree.flatten(params)
        moved = [leaf + by.astype(leaf.dtype) for leaf, by in zip(leaves, shift, strict=True)]
        ys = sj.scan(cell, jax.tree.unflatten(tree, moved), xs, method=method)[1]
        return ys.sum(), ys

    def run(params, shift, xs):
        gradient = jax.value_and_grad(loss, argnums=(0, 2), has_aux=True)
        found = [gradient(params, shift, xs, method) for method in methods]
        return [(ys, gradients) for (_, ys), gradients in found]

    return jax.jit(run)


def largest(tree):
    # Not Python's max, which passes over NaN.
    return np.max([np.abs(leaf).max() for leaf in jax.tree.leaves(tree) if leaf.size])


# Of these the recurrence is a row of its own.
BLOCKS = {"griffin_block", "mamba_block", "minimal_gru_block", "mlstm_block", "rwkv4_block"}
OFTEN = ("minimal_gru_logarithmic", "rg_lru", "mamba", "retention", "kimi_delta_attention", "mlstm")
"""Logarithms, a square root, step sizes, decays of each form, a running maximum."""
FAR_AWAY = [row.name for row in TABLE if row.methods in (LINEAR, MATRIX) and row.name not in BLOCKS]


@pytest.mark.parametrize("name", thorough_but(OFTEN, FAR_AWAY))
def test_one_array_of_parameters_far_away(name):
    """Values and gradients, in float32: they are finite unless float64 too finds them large."""
    cell = ROWS[name].cell
    params = drawn(cell, IN_FEATURES)
    xs = np.random.default_rng(1).standard_normal((1, 4, IN_FEATURES)).astype(np.float32)
    paths = [jax.tree_util.keystr(path) for path, _ in jax.tree.leaves_with_path(params)]
    parallel = [method for method in ROWS[name].methods if method in ("chunked", "associative")]
    narrow, wide = losses(cell, ("plain", *parallel)), losses(cell, ("plain",))
    for index, path in enumerate(paths):
        for far in (-FAR, FAR):
            shift = np.zeros(len(paths), np.float32)
            shift[index] = far
            plain, *others = jax.device_get(narrow(params, shift, xs))
            if np.isfinite(largest((plain, *others))):
                scale = max(1.0, np.abs(plain[0]).max())
                for ys, _ in others:
                    np.testing.assert_allclose(ys, plain[0], atol=0.03 * scale, err_msg=path)
            else:
                with jax.enable_x64(True):
                    wanted = wide(*sj.cast((params, shift, xs), jnp.float64))
                assert largest(jax.device_get(wanted)) > MODEST, f"{path} {far:+}"


def test_an_mlstm_without_epsilon_whose_gates_have_long_been_shut():
    """The running maximum falls far below what `exp` can turn around in float32."""
    cell = sj.mlstm(4, heads=2, epsilon=0.0)
    params = cell.init(jax.random.key(0), 3)
    params |= {"input_bias": jnp.full(2, -300.0), "forget_bias": jnp.full(2, -60.0)}
    xs = jax.random.normal(jax.random.key(1), (1, 6, 3))
    for method in ("plain", "chunked"):

        def loss(params, xs, method=method):
            carry, ys = sj.scan(cell, params, xs, method=method)
            return ys.sum(), (carry.log_scale, ys)

        gradient, (scale, ys) = jax.jit(jax.grad(loss, has_aux=True))(params, xs)
        assert scale.max() < -200
        assert np.isfinite(largest((gradient, ys)))


def test_second_derivatives_where_a_key_is_zero():
    """Over its length, with a small number beside it that is not too small."""
    cell = sj.rwkv7_time_mix(4, heads=2)
    params = drawn(cell, 4)
    xs = np.random.default_rng(1).standard_normal((5, 4)).astype(np.float32)
    xs[0] = 0.0
    loss = lambda xs: jnp.square(sj.scan(cell, params, xs, method="chunked")[1]).sum()  # noqa: E731
    slope = jax.jit(lambda xs: jax.jvp(jax.grad(loss), (xs,), (jnp.ones_like(xs),))[1])(xs)
    assert np.isfinite(largest(jax.device_get(slope)))


def test_second_derivatives_of_a_root_that_is_held():
    """A decay of almost 1: the derivative of `sqrt(1 - a^2)` is bounded, and so is its own."""
    cell = sj.rg_lru(3)
    params = cell.init(jax.random.key(0), 3)
    params |= {"bias": params["bias"] - 120.0}
    xs = jax.random.normal(jax.random.key(1), (5, 3))
    gradient = jax.grad(lambda p: jnp.square(sj.scan(cell, p, xs)[1]).sum())
    slope = jax.jit(lambda p: jax.jvp(gradient, (p,), (jax.tree.map(jnp.ones_like, p),))[1])(params)
    assert np.isfinite(largest(jax.device_get(slope)))


@pytest.mark.parametrize("far", [-FAR, FAR])
def test_every_mode_and_every_step_size_far_away(far):
    """Of many modes the fastest turn so far that powers of their angle are infinite."""
    cell = sj.s4d(2, state=64)
    params = cell.init(jax.random.key(0), 2)
    params |= {name: params[name] + far for name in ("a_real", "step_size")}
    xs = jax.random.normal(jax.random.key(1), (1, 4, 2))
    loss = lambda p, xs: sj.scan(cell, p, xs)[1].sum()  # noqa: E731
    found = jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(params, xs)
    assert np.isfinite(largest(jax.device_get(found)))
