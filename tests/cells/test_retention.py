"""Retention: its equations as a complex recurrence, its positions, and how it starts."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.cells.retention import rotation
from tests.parameters import drawn

F, H, IN = 8, 2, 3


def loop(p, xs, *, heads=H, forgetting=None, base=10000.0, epsilon=1e-6, norm="layer"):
    """From the paper, with the rotation where its derivation has it: in the decay of a complex
    memory. There are no positions then."""
    features = p["memory"]["output"].shape[1]
    K = features // heads
    V = p["memory"]["output"].shape[0] // heads
    gamma = [1 - 2.0 ** (-5 - h) for h in range(heads)] if forgetting is None else 1 - forgetting
    theta = np.array([base ** (-2 * j / K) for j in range(K // 2)])
    decay = np.asarray(gamma)[:, None] * np.exp(1j * theta)
    x = xs.astype(np.float64) @ p["project"]["weights"].astype(np.float64)
    q, k, v, g = np.split(x, np.cumsum([heads * K, heads * K, heads * V]), axis=1)
    q, k = (a.reshape(-1, heads, 2, K // 2) for a in (q, k))
    q, k = q[:, :, 0] + 1j * q[:, :, 1], k[:, :, 0] + 1j * k[:, :, 1]
    S, memories = np.zeros((heads, K // 2, V), complex), []
    for write in k.conj()[..., None] * v.reshape(-1, heads, 1, V):
        S = decay[..., None] * S + write
        memories.append(S)
    o = np.einsum("thk,thkv->thv", q, memories).real / np.sqrt(K)
    o = o if norm == "rms" else o - o.mean(-1, keepdims=True)
    o = o / np.sqrt((o**2).mean(-1, keepdims=True) + epsilon) * p["memory"].get("norm_gain", 1)
    return (g / (1 + np.exp(-g)) * o.reshape(g.shape)) @ p["memory"]["output"]


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"value_factor": 1, "base": 100.0, "epsilon": 1e-3, "norm": "rms"},
        {"heads": 4, "forgetting": (2**-5, 2**-9)},
    ],
)
def test_equations(options, x64):
    random = np.random.default_rng(0)
    cell = sj.retention(F, **{"heads": H, **options})
    params = drawn(cell, IN)
    xs = random.standard_normal((40, IN))
    told = {name: value for name, value in options.items() if name != "value_factor"}
    if "forgetting" in told:
        told["forgetting"] = np.exp(np.linspace(np.log(1 / 32), np.log(1 / 512), 4))
    for method in ("plain", "chunked"):
        _, ys = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(ys, loop(params, xs, **told), rtol=1e-9, atol=1e-9)


def test_a_reset_starts_positions_anew_and_masked_steps_do_not_turn():
    cell = rotation(2, width=2)
    xs = jnp.tile(jnp.array([1.0, 0.0]), (2, 6, 1))
    resets = jnp.zeros((2, 6), bool).at[0, 3].set(True)
    mask = jnp.ones((2, 6), bool).at[1, 2].set(False)
    for reverse, positions in (
        (False, [[0, 1, 2, 0, 1, 2], [0, 1, None, 2, 3, 4]]),
        (True, [[3, 2, 1, 0, 1, 0], [4, 3, None, 2, 1, 0]]),
    ):
        carry, ys = sj.scan(cell, (), xs, resets=resets, mask=mask, reverse=reverse)
        wanted = [[0j if n is None else np.exp(1j * n) for n in row] for row in positions]
        np.testing.assert_allclose(ys[..., 0] + 1j * ys[..., 1], wanted, atol=1e-6)
        np.testing.assert_array_equal(carry, [4, 5] if reverse else [3, 5])


def test_a_hundred_thousand_steps_do_not_drift():
    """In float32, beside a recurrence in float64 that has no positions."""
    cell = sj.retention(4, heads=1, value_factor=1, forgetting=(2**-9, 2**-9), epsilon=1e-2)
    params = cell.init(jax.random.key(0), 2)
    params["project"] = {"weights": 4 * params["project"]["weights"]}
    xs = jax.random.normal(jax.random.key(1), (100_000, 2))
    found, given = jax.tree.map(np.asarray, (params, xs))
    wanted = loop(found, given, heads=1, forgetting=np.array([2**-9]), epsilon=1e-2)
    for method in ("plain", "chunked"):
        run = jax.jit(lambda xs, method=method: sj.scan(cell, params, xs, method=method))
        carry, ys = run(xs)
        assert carry["rotate"] == 100_000
        np.testing.assert_allclose(ys, wanted, atol=1e-4)


@pytest.mark.parametrize("start", [10**6 + 1, 2**31 - 10])
def test_only_differences_of_positions_matter(start):
    """Wherever counting begins."""
    cell = sj.retention(F, heads=1)
    params = drawn(cell, IN)
    xs = np.random.default_rng(1).standard_normal((9, IN)).astype(np.float32)
    late = {**cell.initial_carry(params), "rotate": jnp.int32(start)}
    run = partial(sj.scan, cell, params, xs, method="chunked")
    np.testing.assert_allclose(run(late)[1], run()[1], rtol=1e-4, atol=1e-5)


def test_angles_are_exact_wherever_they_are():
    cell = rotation(8, width=8)
    n = 1_234_567_891
    _, y = cell.step((), jnp.int32(n), jnp.array([1.0] * 4 + [0.0] * 4))
    # Full turns taken out in whole numbers: pi to 40 digits, and theta = 10^-j.
    pi = 31415926535897932384626433832795028841971
    angles = [n * 10**40 // 10**j % (2 * pi) / 10**40 for j in range(4)]
    np.testing.assert_allclose(y, [*np.cos(angles), *np.sin(angles)], atol=1e-6)


def test_weights_start_as_published():
    params = sj.retention(64).init(jax.random.key(0), 32)
    ends = np.cumsum([64, 64, 128])
    for weights in np.split(np.asarray(params["project"]["weights"]), ends, axis=1):
        bound = 2**-2.5 * np.sqrt(6 / (32 + weights.shape[1]))
        assert 0.95 * bound < np.abs(weights).max() <= bound
    bound = np.sqrt(6 / (128 + 64))
    assert 0.95 * bound < np.abs(params["memory"]["output"]).max() <= bound


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"heads": 3}, "must divide"),
        ({"heads": 8}, "must be even"),
        ({"forgetting": (0.5, 0.0)}, "between 0 and 1"),
        ({"value_factor": 0}, "value_factor"),
        ({"base": 0.5}, "at least 1"),
    ],
)
def test_what_cannot_be(options, said):
    with pytest.raises(ValueError, match=said):
        sj.retention(8, **options)


def test_inputs_of_another_width():
    with pytest.raises(ValueError, match="8 wide"):
        rotation(8, width=4).init(jax.random.key(0), 4)
