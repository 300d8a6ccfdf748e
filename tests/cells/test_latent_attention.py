"""Latent attention: its equations, its two forms, and how little it remembers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.cells import latent_attention
from seqjax.engines import sizes
from tests.jaxprs import array_bytes
from tests.parameters import drawn

F, IN, HEADS, RANK, WINDOW = 4, 3, 2, 3, 4


@pytest.fixture
def small_tiles(monkeypatch):
    """Three steps each, whatever the window."""
    for name in ("FEWEST_QUERIES", "MOST_QUERIES"):
        monkeypatch.setattr(sizes, name, sizes.Size(3, 3, 3))


def loop(p, xs, *, rotary=True, base=10000.0):
    """Query by query, from the equations; keys and values are made for every head."""
    _, heads, width = p["key"].shape
    shared = p["shared"].shape[1]
    theta = base ** (-np.arange(0, shared, 2) / shared)

    def normed(x, gain):
        return x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-6) * gain

    def turned(x):
        if not rotary:
            return x
        z = x[..., : shared // 2] + 1j * x[..., shared // 2 :]
        z = z * np.exp(1j * np.arange(len(xs))[:, None, None] * theta)
        return np.concatenate([z.real, z.imag], -1)

    asked = normed(xs @ p["query_down"], p["query_gain"]) if "query_down" in p else xs
    query = np.einsum("ti,ihd->thd", asked, p["query"])
    latent = normed(xs @ p["latent"], p["latent_gain"])
    common = turned((xs @ p["shared"])[:, None])[:, 0]
    query = np.concatenate([query[..., :width], turned(query[..., width:])], -1)
    ys = []
    for n in range(len(xs)):
        seen = slice(max(0, n - WINDOW + 1), n + 1)
        read = []
        for h in range(heads):
            keys = np.concatenate([latent[seen] @ p["key"][:, h], common[seen]], -1)
            score = keys @ query[n, h] / np.sqrt(width + shared)
            weights = np.exp(score - score.max())
            read.append(weights / weights.sum() @ (latent[seen] @ p["value"][:, h]))
        ys.append(np.concatenate(read) @ p["output"])
    return np.stack(ys)


@pytest.mark.parametrize(
    ("options", "more"),
    [
        ({"base": 50.0}, {"query_rank": 5, "shared": 4, "value_width": 1}),
        ({"rotary": False}, {"width": 3, "shared": 3}),
    ],
    ids=["positions", "none"],
)
def test_equations(options, more, x64, small_tiles, monkeypatch):
    """Keys and values made for every head, and none."""
    cell = sj.latent_attention(F, window=WINDOW, heads=HEADS, rank=RANK, **options, **more)
    params = drawn(cell, IN, scale=0.8)
    xs = np.random.default_rng(0).standard_normal((11, IN))
    wanted = loop(params, xs, **options)
    for pays in (True, False):
        monkeypatch.setattr(latent_attention, "_expansion_pays", lambda *_, pays=pays: pays)
        ys = jax.jit(lambda p, x: sj.scan(cell, p, x)[1])(params, xs)
        np.testing.assert_allclose(ys, wanted, rtol=1e-9, atol=1e-9)
    carry, ys = cell.initial_carry(params), []
    for x in xs:
        carry, y = cell.step(params, carry, x)
        ys.append(y)
    np.testing.assert_allclose(ys, wanted, rtol=1e-9, atol=1e-9)


def test_tiles_are_the_loop(x64, small_tiles):
    """Values, the state and gradients, from a state in the middle; with cuts and without."""
    cell = sj.latent_attention(F, window=5, heads=HEADS, rank=RANK, shared=2)
    params = drawn(cell, IN)
    random = np.random.default_rng(1)
    xs = random.standard_normal((2, 14, IN))
    mask, resets = random.random((2, 14)) < 0.8, random.random((2, 14)) < 0.15
    ring, counts = random.standard_normal((2, 5, 1, RANK + 2)), np.array([3, 8], np.int32)

    def gradients(params, xs, ring, method, truncate):
        def loss(params, xs, ring):
            carry = sj.LatentAttentionState(ring, counts)
            end, ys = sj.scan(
                cell, params, xs, carry, mask=mask, resets=resets, truncate=truncate, method=method
            )
            return jnp.sin(ys).sum() + jnp.sin(end.latents).sum(), (end, ys)

        return jax.grad(loss, (0, 1, 2), has_aux=True)(params, xs, ring)

    run = jax.jit(gradients, static_argnums=(3, 4))
    for truncate in (None, 5):
        got, wanted = (run(params, xs, ring, method, truncate) for method in ("auto", "plain"))
        chex.assert_trees_all_close(got, wanted, rtol=1e-10, atol=1e-10)


def test_a_step_makes_no_keys_of_the_window():
    """As sizes are in Kimi-Linear-48B: no array of the step is as large as its keys would be."""
    cell = sj.latent_attention(2304, window=4096, heads=32, rank=512, width=128, shared=64)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 2304))
    carry = jax.eval_shape(lambda: cell.initial_carry(params, ()))
    assert carry.latents.shape == (4096, 1, 576)
    x = jax.ShapeDtypeStruct((2304,), jnp.float32)
    sizes_made = array_bytes(jax.make_jaxpr(cell.step)(params, carry, x).jaxpr)
    assert max(sizes_made) <= 4 * max(4096 * 576, 2304 * 32 * 192)


def test_when_keys_and_values_are_made():
    pays = latent_attention._expansion_pays
    # 131072 products for each step and head, and 832 fewer for each pair.
    assert pays(158, 512, 64, 256) and not pays(157, 512, 64, 256)
    assert not pays(10**6, 2, 0, 4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 3}, "`heads=3` must divide `features`, which is 4"),
        ({"shared": 3}, "`shared` must be even with rotary positions; got 3"),
        ({"base": 0.5}, "`base` must be at least 1"),
        ({"rank": 0}, "`rank` must be a positive whole number"),
        ({"query_rank": 0}, "`query_rank` must be a positive whole number"),
        ({"value_width": 0}, "`value_width` must be a positive whole number"),
    ],
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        sj.latent_attention(F, **options)
