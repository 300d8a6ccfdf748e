"""Mamba-3 against its paper: the memory there has the product of the last step in it."""

import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

F, IN, TIME = 4, 3, 6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def rms(x):
    return x / np.sqrt((x**2).mean() + 1e-5)


def turned(x, angles):
    """Neighbours as complex numbers, as far as there are angles."""
    x = x.copy()
    pairs = x[: 2 * len(angles)].view(complex)
    pairs *= np.exp(1j * angles)
    return x


def mamba3(p, xs, *, heads, states, groups=1, inputs=1, turning=0.5):
    inner, pairs, m = 2 * F, int(states * turning) // 2, p["memory"]
    P, keys = inner // heads, inputs * groups * states
    cuts = np.cumsum([keys, inner, heads, heads, keys, heads, inner])
    ys, S = [], np.zeros((heads, states, P))
    before = np.zeros((heads, inputs, states)), np.zeros((heads, inputs, P))
    angles, last = np.zeros((heads, pairs)), np.zeros_like(S)
    by_input = {name: m.get(name, np.ones((1, heads, P))) for name in "PQR"}
    for x in xs:
        B, u, share, d, C, a, z, t = np.split(x @ p["project"]["weights"], cuts)
        B, C = (part.reshape(inputs, groups, states) for part in (B, C))
        d = softplus(d + p["turn"]["step_bias"])
        alpha, share = np.exp(-d * np.maximum(softplus(a), 1e-4)), sigmoid(share)
        angles = angles + d[:, None] * np.pi * np.tanh(t)
        b, v, o = np.zeros_like(before[0]), np.zeros_like(before[1]), []
        for h in range(heads):
            c, g = np.zeros((inputs, states)), h // (heads // groups)
            for j in range(inputs):
                both = []
                for part, name in ((B, "key"), (C, "query")):
                    row = rms(part[j, g]) * m[f"{name}_gain"] + m[f"{name}_bias"][j, h]
                    both.append(turned(row, angles[h]))
                b[h, j], c[j] = both
                v[h, j] = u[h * P : (h + 1) * P] * by_input["P"][j, h]
            S[h] = alpha[h] * S[h]
            S[h] += alpha[h] * (1 - share[h]) * d[h] * before[0][h].T @ before[1][h]
            last[h] = share[h] * d[h] * b[h].T @ v[h]
            S[h] += last[h]
            y = 0
            for j in range(inputs):
                zj = z[h * P : (h + 1) * P] * by_input["Q"][j, h]
                read = (S[h].T @ c[j] + m["D"][h] * v[h, j]) * zj * sigmoid(zj)
                y = y + by_input["R"][j, h] * read
            o.append(y)
        before = b, v
        ys.append(np.concatenate(o) @ m["output"])
    return np.array(ys), S - last, angles


CASES = {
    "one": {"heads": 2, "states": 5},
    "several": {"heads": 4, "states": 4, "groups": 2, "inputs": 3, "turning": 1.0},
}


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell = sj.mamba3(F, **CASES[name])
    params, xs = drawn(cell, IN), np.random.default_rng(1).standard_normal((TIME, IN))
    ys, memory, angles = mamba3(params, xs, **CASES[name])
    for method in ("plain", sj.Chunked(chunk=4, tile=4)):
        carry, found = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(found, ys, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(carry["memory"].memory, memory, rtol=1e-10, atol=1e-10)
        np.testing.assert_allclose(carry["turn"].real, np.cos(angles), rtol=1e-10, atol=1e-10)


def test_angles_are_as_exact_after_many_steps():
    """The sum of the angles is some thousand radians, of which float32 has digits to 5e-4."""
    cell = sj.mamba3(F, heads=1, states=4)
    params, steps = drawn(cell, IN, dtype=np.float32), 2**14
    carry, _ = sj.scan(cell, params, jnp.ones((steps, IN)))
    made = params["project"]["weights"].astype(np.float64).sum(0)
    d = softplus(made[4 + 2 * F + 1] + params["turn"]["step_bias"][0])
    angle = steps * d * np.pi * np.tanh(made[-1])
    assert abs(angle) > 4096
    turn = carry["turn"]
    found = turn.real[0, 0] + 1j * turn.imaginary[0, 0]
    assert abs(np.angle(found / np.exp(1j * angle))) < 2e-4
    assert turn.real.dtype == jnp.float32
