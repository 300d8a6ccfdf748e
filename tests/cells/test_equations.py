"""Every variant against its equations, written out in NumPy one step at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

F, IN, TIME = 4, 3, 5


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def normalized(parts, gains):
    """Layer norm over all gates together."""
    whole = np.concatenate(parts)
    scaled = (whole - whole.mean()) / np.sqrt(whole.var() + 1e-5)
    return [gain * part for gain, part in zip(gains, np.split(scaled, len(parts)), strict=True)]


def lstm(p, state, x, *, peepholes=False, coupled=False, layer_norm=False):
    h, c = state
    gates = p["bias"].shape[0]
    from_x = [x @ p["input"][:, g] for g in range(gates)]
    from_h = [h @ p["recurrent"][:, g] for g in range(gates)]
    if layer_norm:
        from_x = normalized(from_x, p["input_gain"])
        from_h = normalized(from_h, p["recurrent_gain"])
    pre = [a + b + bias for a, b, bias in zip(from_x, from_h, p["bias"], strict=True)]
    see = lambda name: p[f"peephole_{name}"] if peepholes else 0.0  # noqa: E731
    if coupled:
        f = sigmoid(pre[0] + see("forget") * c)
        i = 1 - f
    else:
        i = sigmoid(pre.pop(0) + see("input") * c)
        f = sigmoid(pre[0] + see("forget") * c)
    c = f * c + i * np.tanh(pre[1])
    o = sigmoid(pre[2] + see("output") * c)
    seen = c
    if layer_norm:
        seen = p["cell_gain"] * (c - c.mean()) / np.sqrt(c.var() + 1e-5) + p["cell_bias"]
    h = o * np.tanh(seen)
    if "projection" in p:
        h = h @ p["projection"]
    return (h, c), h


def gru(p, h, x, *, reset):
    W, U, b = p["input"], p["recurrent"], p["bias"]
    d = p.get("recurrent_bias", np.zeros_like(b))
    r = sigmoid(x @ W[:, 0] + b[0] + h @ U[:, 0] + d[0])
    z = sigmoid(x @ W[:, 1] + b[1] + h @ U[:, 1] + d[1])
    if reset == "after":
        n = np.tanh(x @ W[:, 2] + b[2] + r * (h @ U[:, 2] + d[2]))
    else:
        n = np.tanh(x @ W[:, 2] + b[2] + (r * h) @ U[:, 2])
    h = (1 - z) * n + z * h
    return h, h


def minimal_gated(p, h, x, *, reset):
    W, U, b = p["input"], p["recurrent"], p["bias"]
    f = sigmoid(x @ W[:, 0] + b[0] + h @ U[:, 0])
    if reset == "after":
        n = np.tanh(x @ W[:, 1] + b[1] + f * (h @ U[:, 1]))
    else:
        n = np.tanh(x @ W[:, 1] + b[1] + (f * h) @ U[:, 1])
    h = (1 - f) * h + f * n
    return h, h


def elman(p, h, x, *, activation=np.tanh):
    h = activation(x @ p["input"][:, 0] + h @ p["recurrent"][:, 0] + p["bias"][0])
    return h, h


CASES = {
    "elman": (sj.elman(F), elman, {}),
    "elman relu": (
        sj.elman(F, activation=jax.nn.relu), elman, {"activation": lambda v: np.maximum(v, 0)},
    ),
    "lstm": (sj.lstm(F), lstm, {}),
    "peepholes": (sj.lstm(F, peepholes=True), lstm, {"peepholes": True}),
    "coupled": (
        sj.lstm(F, coupled=True, peepholes=True), lstm, {"coupled": True, "peepholes": True},
    ),
    "projection": (sj.lstm(F, projection=2), lstm, {}),
    "layer norm": (sj.lstm(F, layer_norm=True), lstm, {"layer_norm": True}),
    "gru after": (sj.gru(F), gru, {"reset": "after"}),
    "gru before": (sj.gru(F, reset="before"), gru, {"reset": "before"}),
    "minimal after": (sj.minimal_gated(F), minimal_gated, {"reset": "after"}),
    "minimal before": (
        sj.minimal_gated(F, reset="before"), minimal_gated, {"reset": "before"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell, step, options = CASES[name]
    random = np.random.default_rng(0)
    params = drawn(cell, IN, scale=1.0)
    xs = random.standard_normal((TIME, IN))
    state = jax.tree.map(np.asarray, cell.initial_carry(params))
    state = tuple(state) if isinstance(state, tuple) else state
    wanted = []
    for x in xs:
        state, y = step(params, state, x, **options)
        wanted.append(y)
    carry, ys = sj.scan(cell, jax.tree.map(jnp.asarray, params), xs)
    np.testing.assert_allclose(ys, wanted, rtol=1e-10)
    np.testing.assert_allclose(np.hstack(carry), np.hstack(state), rtol=1e-10)


def test_blocks_are_a_block_diagonal_matrix(x64):
    blocks, block = 2, F // 2
    heads, dense = sj.gru(F, blocks=blocks), sj.gru(F)
    params = heads.init(jax.random.key(0), IN)
    full = np.zeros((F, 3, F))
    for b in range(blocks):
        rows = slice(b * block, (b + 1) * block)
        full[rows, :, rows] = params["recurrent"][b]
    xs = jax.random.normal(jax.random.key(1), (2, TIME, IN))
    np.testing.assert_allclose(
        sj.scan(heads, params, xs)[1],
        sj.scan(dense, params | {"recurrent": jnp.asarray(full)}, xs)[1],
        rtol=1e-10,
    )


def test_diagonal_weights_are_blocks_of_one(x64):
    diagonal, dense = sj.lstm(F, blocks=F), sj.lstm(F)
    params = diagonal.init(jax.random.key(0), IN)
    assert params["recurrent"].shape == (F, 1, 4, 1)
    full = jnp.einsum("ig,ij->igj", params["recurrent"][:, 0, :, 0], jnp.eye(F))
    xs = jax.random.normal(jax.random.key(1), (2, TIME, IN))
    np.testing.assert_allclose(
        sj.scan(diagonal, params, xs)[1],
        sj.scan(dense, params | {"recurrent": full}, xs)[1],
        rtol=1e-10,
    )
