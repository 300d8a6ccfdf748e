"""Memories with several corrections a step, or with an erase of their own, from their papers in
NumPy, one step at a time."""

import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

F, H, IN, TIME, K, V = 4, 2, 3, 6, 2, 4


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def rms(x, epsilon):
    return x / np.sqrt((x**2).mean() + epsilon)


def unit(x):
    return x / np.sqrt((x**2).sum() + 1e-6)


def made(p, xs, convolved):
    """For each step what is convolved, and what is not."""
    whole, kernel = xs @ p["project"]["weights"], p["convolve"].kernel
    seen = np.concatenate([np.zeros((len(kernel) - 1, convolved)), whole[:, :convolved]])
    for t, row in enumerate(whole):
        yield silu((kernel * seen[t : t + len(kernel)]).sum(0)), row[convolved:]


def forget(m, h, a):
    return np.exp(-np.exp(m["A_log"][h]) * np.log1p(np.exp(a + m["decay_bias"][h])))


def heads(x):
    return x.reshape(H, -1)


def gated_delta_product(p, xs, writes):
    ys, S, m = [], np.zeros((H, K, V)), p["memory"]
    for convolved, rest in made(p, xs, H * (K + writes * (K + V))):
        q, k, v = np.split(convolved, [H * K, H * K * (1 + writes)])
        k, v = k.reshape(writes, H, K), v.reshape(writes, H, V)
        rate, a, gate = np.split(rest, [writes * H, writes * H + H])
        rate = 2 * sigmoid(rate.reshape(writes, H))
        o = []
        for h in range(H):
            S[h] = forget(m, h, a[h]) * S[h]
            for j in range(writes):
                kj = unit(k[j, h])
                S[h] = (np.eye(K) - rate[j, h] * np.outer(kj, kj)) @ S[h]
                S[h] += rate[j, h] * np.outer(kj, v[j, h])
            o.append(rms(S[h].T @ unit(heads(q)[h]) / np.sqrt(K), 1e-5) * m["norm_gain"])
        ys.append((np.concatenate(o) * silu(gate)) @ m["output"])
    return np.array(ys)


def gated_delta_net2(p, xs):
    ys, S, m = [], np.zeros((H, K, V)), p["memory"]
    for convolved, rest in made(p, xs, H * (2 * K + V)):
        q, k, v = map(heads, np.split(convolved, [H * K, 2 * H * K]))
        b, w, a, gate = np.split(rest, np.cumsum([H * K, H * V, V]))
        b, w = heads(2 * sigmoid(b)), heads(sigmoid(w))
        a = heads(np.log1p(np.exp(a @ m["decay_up"] + m["decay_bias"])))
        gate = sigmoid(gate @ m["gate_up"] + m["gate_bias"])
        o = []
        for h in range(H):
            kh = unit(k[h])
            S[h] = np.diag(np.exp(-np.exp(m["A_log"][h]) * a[h])) @ S[h]
            S[h] = (np.eye(K) - np.outer(kh, b[h] * kh)) @ S[h] + np.outer(kh, w[h] * v[h])
            o.append(rms(S[h].T @ unit(q[h]) / np.sqrt(K), 0.1) * m["norm_gain"])
        ys.append((np.concatenate(o) * gate) @ m["output"])
    return np.array(ys)


def comba(p, xs):
    ys, S, m = [], np.zeros((H, K, V)), p["memory"]
    for convolved, rest in made(p, xs, H * (2 * K + V)):
        q, k, v = map(heads, np.split(convolved, [H * K, 2 * H * K]))
        rate, a, gate = np.split(rest, [H, 2 * H])
        o = []
        for h in range(H):
            qh, kh, beta = unit(q[h]), unit(k[h]), sigmoid(rate[h])
            kept = np.eye(K) * forget(m, h, a[h])
            kept -= beta * sigmoid(m["state_feedback"][h]) * np.outer(kh, kh)
            S[h] = kept @ S[h] + beta * np.outer(kh, v[h])
            read = S[h].T @ (qh - m["output_feedback"][h] * kh) / np.sqrt(K)
            o.append(rms(read, 1e-5) * m["norm_gain"])
        ys.append((np.concatenate(o) * sigmoid(gate)) @ m["output"])
    return np.array(ys)


SIZES = {"heads": H, "value_width": V, "convolution_bias": False}
CASES = {
    "gated_delta_product": (
        sj.gated_delta_product(F, key_width=K, writes=3, **SIZES),
        lambda p, x: gated_delta_product(p, x, 3),
    ),
    "gated_delta_net2": (
        sj.gated_delta_net2(F, negative_eigenvalues=True, epsilon=0.1, **SIZES),
        gated_delta_net2,
    ),
    "comba": (sj.comba(F, key_width=K, **SIZES), comba),
}


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell, equations = CASES[name]
    params, xs = drawn(cell, IN), np.random.default_rng(1).standard_normal((TIME, IN))
    wanted = equations(params, xs)
    for method in ("plain", sj.Chunked(chunk=4, tile=4)):
        _, ys = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(ys, wanted, rtol=1e-10, atol=1e-10)
