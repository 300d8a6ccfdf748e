"""Attention over a window: its equations, its tiles, and what it forgets."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.engines import sizes
from tests.jaxprs import array_bytes
from tests.parameters import drawn

F, IN = 4, 3


@pytest.fixture
def small_tiles(monkeypatch):
    """Three steps each, whatever the window."""
    for name in ("FEWEST_QUERIES", "MOST_QUERIES"):
        monkeypatch.setattr(sizes, name, sizes.Size(3, 3, 3))


def loop(p, xs, *, window, rotary=1.0, base=10000.0, soft_cap=None, norm=None):
    """Query by query, from the equations; every head has its own key."""
    heads, width = p["query"].shape[1:]
    group = heads // p["key"].shape[1]
    turning = int(width * rotary)
    theta = base ** (-np.arange(0, turning, 2) / max(turning, 1))

    def made(name):
        product = np.einsum("ti,ihd->thd", xs, p[name])
        product = product + p.get(f"{name}_bias", 0.0)
        if norm and name in ("query", "key"):
            axes = -1 if norm == "head" else (-2, -1)
            square = np.square(product).mean(axes, keepdims=True)
            product = product / np.sqrt(square + 1e-6) * p[f"{name}_gain"]
        return product

    def turned(product):
        half = turning // 2
        z = product[..., :half] + 1j * product[..., half:turning]
        z = z * np.exp(1j * np.arange(len(xs))[:, None, None] * theta)
        return np.concatenate([z.real, z.imag, product[..., turning:]], -1)

    q, k, v = turned(made("query")), turned(made("key")), made("value")
    ys = []
    for n in range(len(xs)):
        seen = slice(max(0, n - window + 1), n + 1)
        read = []
        for h in range(heads):
            score = k[seen, h // group] @ q[n, h] / np.sqrt(width)
            if soft_cap:
                score = soft_cap * np.tanh(score / soft_cap)
            weights = np.exp(score - score.max())
            read.append(weights / weights.sum() @ v[seen, h // group])
        read = np.stack(read)
        if "gate" in p:
            read = read / (1 + np.exp(-made("gate")[n]))
        ys.append(read.ravel() @ p["output"] + p.get("output_bias", 0.0))
    return np.stack(ys)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"rotary": 0.0}, {"heads": 1}),
        ({"soft_cap": 0.7, "base": 50.0}, {"heads": 4, "key_heads": 2, "width": 6}),
        ({"norm": "head", "rotary": 0.5}, {"heads": 2, "gate": True, "bias": True, "width": 4}),
        ({"norm": "all"}, {"heads": 2, "key_heads": 1, "output_bias": True}),
    ],
    ids=["bare", "capped", "gated", "normed"],
)
def test_equations(options, more, x64, small_tiles):
    cell = sj.sliding_window_attention(F, window=4, **options, **more)
    params = drawn(cell, IN, scale=0.8)
    xs = np.random.default_rng(0).standard_normal((11, IN))
    run = jax.jit(lambda p, x: [sj.scan(cell, p, x, method=m)[1] for m in ("auto", "plain")])
    wanted = loop(params, xs, window=4, **options)
    for ys in run(params, xs):
        np.testing.assert_allclose(ys, wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [2, 7])
def test_tiles_are_the_loop(window, x64, small_tiles):
    """Values, the state and gradients, over tiles that are longer and shorter than the window."""
    cell = sj.sliding_window_attention(F, window=window, heads=2, key_heads=1)
    params = drawn(cell, IN)
    random = np.random.default_rng(1)
    xs = random.standard_normal((3, 14, IN))
    mask, resets = random.random((3, 14)) < 0.8, random.random((3, 14)) < 0.15
    rings = random.standard_normal((2, 3, window, 1, 2))
    counts = np.array([0, 3, 8], np.int32)

    def gradients(params, xs, rings, method):
        def loss(params, xs, rings):
            carry = sj.WindowAttentionState(rings[0], rings[1], counts)
            end, ys = sj.scan(
                cell, params, xs, carry, mask=mask, resets=resets, truncate=5, method=method
            )
            return jnp.sin(ys).sum() + jnp.sin(end.keys).sum() + jnp.cos(end.values).sum(), (
                end,
                ys,
            )

        return jax.grad(loss, (0, 1, 2), has_aux=True)(params, xs, rings)

    run = jax.jit(gradients, static_argnums=3)
    got, wanted = (run(params, xs, rings, method) for method in ("auto", "plain"))
    chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gone", ["behind a reset", "out of the window"])
def test_a_nan_that_is_gone_spoils_nothing(gone, small_tiles):
    """Though it stands in the same tile: neither values nor gradients."""
    cell = sj.sliding_window_attention(F, window=3, heads=2)
    params = drawn(cell, IN)
    xs = np.random.default_rng(1).standard_normal((12, IN)).astype(np.float32)
    first = 6 if gone == "behind a reset" else 7
    resets = jnp.arange(12) == (6 if gone == "behind a reset" else -1)

    def after(xs):
        ys = sj.scan(cell, params, xs, resets=resets)[1]
        return jnp.square(ys[first:]).sum(), ys

    (_, ys), d_xs = jax.value_and_grad(after, has_aux=True)(xs)
    spoiled = xs.copy()
    spoiled[4] = np.nan
    (_, other), d_other = jax.value_and_grad(after, has_aux=True)(spoiled)
    assert np.isnan(other[4:first]).all()
    np.testing.assert_allclose(other[first:], ys[first:], rtol=1e-6)
    np.testing.assert_allclose(d_other[first:], d_xs[first:], rtol=1e-5, atol=1e-6)
    assert np.isfinite(d_other).all()


def test_memory_grows_with_the_window_and_not_with_time():
    """No array of the program, with its gradient, has all steps beside all steps."""
    cell = sj.sliding_window_attention(8, window=64, heads=2)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))

    def largest(time):
        loss = lambda p, x: sj.scan(cell, p, x)[1].sum()  # noqa: E731
        xs = jax.ShapeDtypeStruct((time, 8), jnp.float32)
        return max(array_bytes(jax.make_jaxpr(jax.grad(loss))(params, xs).jaxpr))

    assert largest(2**14) <= 2 * largest(2**13)
    assert largest(2**14) < 2**14 * 64 * 4


def test_a_window_of_all_steps_is_full_attention_and_positions_only_differ():
    """Beside a softmax over all pairs; counting may begin anywhere."""
    cell = sj.sliding_window_attention(F, window=9, heads=1)
    params = drawn(cell, IN)
    xs = np.random.default_rng(1).standard_normal((9, IN)).astype(np.float32)
    wanted = loop(params, xs, window=100)
    np.testing.assert_allclose(sj.scan(cell, params, xs)[1], wanted, rtol=1e-4, atol=1e-5)
    carry, _ = sj.scan(cell, params, xs)
    assert carry.steps == 9
    late = carry._replace(steps=jnp.int32(2**31 - 20))
    # Keys that were turned for other positions, so what they are is of no account here.
    late = late._replace(keys=jnp.zeros_like(carry.keys), values=jnp.zeros_like(carry.values))
    resets = jnp.arange(9) == 0
    ys = sj.scan(cell, params, xs, late, resets=resets)[1]
    np.testing.assert_allclose(ys, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "`heads=3` must divide `features`, which is 4"),
        ({"heads": 4, "key_heads": 3}, "`heads=3` must divide `heads`, which is 4"),
        ({"heads": 4}, "channels turn in pairs.*got 1.0 \\* 1"),
        ({"heads": 1, "rotary": 1.5}, "at most the width; got 1.5"),
        ({"heads": 1, "base": 0.5}, "`base` must be at least 1"),
        ({"heads": 1, "window": 0}, "`window` must be a positive whole number"),
        ({"heads": 1, "norm": "rms"}, "`norm` must be 'head', 'all' or None"),
        ({"heads": 1, "soft_cap": 0.0}, "`soft_cap` must be above 0"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        sj.sliding_window_attention(F, **options)
