"""Every matrix-state cell against its paper, written out in NumPy one step at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

F, H, IN, TIME = 4, 2, 3, 6
W = F // H


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def silu(x):
    return x * sigmoid(x)


def softplus(x):
    return np.log1p(np.exp(x))


def rms(x, epsilon=1e-5):
    return x / np.sqrt((x**2).mean() + epsilon)


def layer_norm(x, epsilon=1e-5):
    return (x - x.mean()) / np.sqrt(x.var() + epsilon)


def unit(x, epsilon=1e-6):
    return x / np.sqrt((x**2).sum() + epsilon)


def convolved(history, p):
    """The causal convolution over inputs so far, and its activation."""
    kernel = p.kernel
    total = p.bias.copy()
    for back, x in enumerate(history[::-1][: len(kernel)]):
        total += kernel[len(kernel) - 1 - back] * x
    return silu(total)


def linear_attention(p, xs):
    phi = lambda x: np.where(x > 0, x + 1, np.exp(np.minimum(x, 0)))  # noqa: E731
    ys, S, z = [], np.zeros((H, W, W)), np.zeros((H, W))
    for x in xs:
        o = []
        for h in range(H):
            q, k, v = (x @ p[name][:, h] for name in ("query", "key", "value"))
            S[h] += np.outer(phi(k), v)
            z[h] += phi(k)
            o.append(S[h].T @ phi(q) / (z[h] @ phi(q) + 1e-6))
        ys.append(np.concatenate(o) @ p["output"])
    return np.array(ys)


def gated_linear_attention(p, xs):
    K = W // 2
    ys, S = [], np.zeros((H, K, W))
    for x in xs:
        o = []
        for h in range(H):
            q, k, v = (x @ p[name][:, h] for name in ("query", "key", "value"))
            low = x @ p["decay_down"]
            decay = sigmoid(low @ p["decay_up"][:, h] + p["decay_bias"][h]) ** (1 / 16)
            S[h] = np.diag(decay) @ S[h] + np.outer(k, v)
            read = rms(S[h].T @ (q / np.sqrt(K))) * p["norm_gain"]
            o.append(read * silu(x @ p["gate"][:, h]))
        ys.append(np.concatenate(o) @ p["output"])
    return np.array(ys)


def hgrn2(p, xs, bound):
    ys, S = [], np.zeros((H, W, W))
    for x in xs:
        o = []
        for h in range(H):
            forget = bound + (1 - bound) * sigmoid(x @ p["forget"][:, h])
            S[h] = forget[:, None] * S[h] + np.outer(1 - forget, x @ p["input"][:, h])
            o.append(S[h].T @ silu(x @ p["query"][:, h]))
        ys.append((rms(np.concatenate(o)) * p["norm_gain"]) @ p["output"])
    return np.array(ys)


def mlstm(p, xs, *, exponential, cap=None):
    """Without any stabiliser: the numbers are small."""
    K = W // 2
    ys, C, n = [], np.zeros((H, K, W)), np.zeros((H, K))
    bounded = lambda a: a if cap is None else cap * np.tanh(a / cap)  # noqa: E731
    for x in xs:
        hidden = []
        for h in range(H):
            q, k, v = (x @ p[name][:, h] for name in ("query", "key", "value"))
            q = q / np.sqrt(K)
            a = bounded(x @ p["input"][:, h] + p["input_bias"][h])
            i = np.exp(a) if exponential else sigmoid(a)
            f = sigmoid(bounded(x @ p["forget"][:, h] + p["forget_bias"][h]))
            C[h] = f * C[h] + i * np.outer(k, v)
            n[h] = f * n[h] + i * k
            hidden.append(layer_norm(C[h].T @ q / (max(abs(n[h] @ q), 1) + 1e-6), 1e-6))
        gate = sigmoid(x @ p["gate"])
        ys.append((gate * np.concatenate(hidden) * p["norm_gain"]) @ p["output"])
    return np.array(ys)


def mlstm_layer(p, xs):
    """Without any stabiliser."""
    m, inner, history = p["memory"], 2 * F, []
    W = inner // H
    ys, C, n = [], np.zeros((H, W, W)), np.zeros((H, W))
    for x in xs:
        u, z = np.split(x @ p["project"]["weights"], 2)
        history.append(u)
        c = convolved(history, p["convolve"])
        seen = []
        for name, a in [("query", c), ("key", c), ("value", u)]:
            pieces = np.split(a, len(m[name]))
            seen.append(np.concatenate([x @ w for x, w in zip(pieces, m[name], strict=True)]))
        all_seen = np.concatenate(seen)
        hidden = []
        for h in range(H):
            q, k, v = (part.reshape(H, W)[h] for part in seen)
            i = np.exp(all_seen @ m["input"][:, h] + m["input_bias"][h])
            f = sigmoid(all_seen @ m["forget"][:, h] + m["forget_bias"][h])
            C[h] = f * C[h] + i * np.outer(k, v)
            n[h] = f * n[h] + i * k
            q = q / np.sqrt(W)
            hidden.append(layer_norm(C[h].T @ q / (max(abs(n[h] @ q), 1) + 1e-6)))
        branch = np.concatenate(hidden) * m["norm_gain"] + m["skip"] * c
        ys.append((branch * silu(z)) @ m["output"])
    return np.array(ys)


def delta(p, xs, *, K, V, largest=1.0, decay=None, gate=None):
    ys, S, history = [], np.zeros((H, K, V)), []
    m, cuts = p["memory"], np.cumsum([H * K, H * K, H * V, H])
    inner = cuts[2]
    for x in xs:
        whole = x @ p["project"]["weights"]
        history.append(whole[:inner])
        whole = np.concatenate([convolved(history, p["convolve"]), whole[inner:]])
        q, k, v, rate, rest = np.split(whole, cuts)
        o = []
        for h in range(H):
            qh = unit(q[h * K : (h + 1) * K]) / np.sqrt(K)
            kh = unit(k[h * K : (h + 1) * K])
            beta = largest * sigmoid(rate[h])
            a = np.ones(K) if decay is None else decay(m, rest, h)
            S[h] = a[:, None] * S[h]
            S[h] = (np.eye(K) - beta * np.outer(kh, kh)) @ S[h]
            S[h] += beta * np.outer(kh, v[h * V : (h + 1) * V])
            o.append(rms(S[h].T @ qh) * m["norm_gain"])
        y = np.concatenate(o)
        ys.append((y if gate is None else y * gate(m, rest)) @ m["output"])
    return np.array(ys)


def gated_delta_net(p, xs):
    def decay(m, rest, h):
        return np.full(2, np.exp(-np.exp(m["A_log"][h]) * softplus(rest[h] + m["decay_bias"][h])))

    return delta(p, xs, K=2, V=4, decay=decay, gate=lambda m, rest: silu(rest[H:]))


def kimi_delta_attention(p, xs):
    def decay(m, rest, h):
        a = (rest[:W] @ m["decay_up"] + m["decay_bias"])[h * W : (h + 1) * W]
        return np.exp(-np.exp(m["A_log"][h]) * softplus(a))

    def gate(m, rest):
        return sigmoid(rest[W:] @ m["gate_up"])

    return delta(p, xs, K=W, V=W, decay=decay, gate=gate)


def mamba2(p, xs):
    heads, groups, N = 4, 2, 3
    inner = 2 * F
    P = inner // heads
    ys, S, history, m = [], np.zeros((heads, N, P)), [], p["memory"]
    conv = inner + 2 * groups * N
    for x in xs:
        whole = x @ p["project"]["weights"]
        history.append(whole[:conv])
        seen, step, z = (
            convolved(history, p["convolve"]),
            whole[conv : conv + heads],
            whole[-inner:],
        )
        u, B, C = np.split(seen, [inner, inner + groups * N])
        o = []
        for h in range(heads):
            group = slice(h // (heads // groups) * N, (h // (heads // groups) + 1) * N)
            uh = u[h * P : (h + 1) * P]
            d = softplus(step[h] + m["step_bias"][h])
            S[h] = np.exp(-np.exp(m["A_log"][h]) * d) * S[h] + np.outer(B[group], d * uh)
            o.append(S[h].T @ C[group] + m["D"][h] * uh)
        parts = np.split(np.concatenate(o) * silu(z), groups)
        y = np.concatenate([rms(part) for part in parts])
        ys.append((y * m["norm_gain"]) @ m["output"])
    return np.array(ys)


def rwkv6(p, xs):
    m, p = p["memory"], p["mix"]
    ys, S, before = [], np.zeros((H, W, W)), np.zeros(F)
    u = m["bonus"].reshape(H, W)
    rank = p["mix_up"].shape[1]
    for x in xs:
        d = before - x
        low = np.tanh((x + d * p["mu"]) @ p["mix_down"])
        seen = {}
        for n, z in enumerate("wkvrg"):
            seen[z] = x + d * (p[f"mu_{z}"] + low[n * rank : (n + 1) * rank] @ p["mix_up"][n])
        heads = lambda a: a.reshape(H, W)  # noqa: E731
        r, k, v = (
            heads(seen[z] @ p[n])
            for z, n in zip("rkv", ("receptance", "key", "value"), strict=True)
        )
        w = heads(
            np.exp(-np.exp(p["decay"] + np.tanh(seen["w"] @ p["decay_down"]) @ p["decay_up"]))
        )
        o = []
        for h in range(H):
            kv = np.outer(k[h], v[h])
            o.append(layer_norm((S[h] + u[h][:, None] * kv).T @ r[h], 64e-5))
            S[h] = w[h][:, None] * S[h] + kv
        y = np.concatenate(o) * m["norm_gain"] + m["norm_bias"]
        ys.append((y * silu(seen["g"] @ p["gate"])) @ m["output"])
        before = x
    return np.array(ys)


def rwkv7(p, xs, first=None):
    """With `first`, the values of the first layer, as a later layer that is the last."""
    m, p = p["memory"], p["mix"]
    ys, S, before, values = [], np.zeros((H, W, W)), np.zeros(F), []
    heads = lambda a: a.reshape(H, W)  # noqa: E731
    for t, x in enumerate(xs):
        seen = {z: x + (before - x) * p[f"mu_{z}"] for z in "rwkvag"}
        r, k, v = seen["r"] @ p["receptance"], seen["k"] @ p["key"], seen["v"] @ p["value"]
        if first is not None:
            share = sigmoid(p["first"] + seen["v"] @ p["first_down"] @ p["first_up"])
            v = v + (first[t] - v) * share
        values.append(v)
        pre = p["decay"] + np.tanh(seen["w"] @ p["decay_down"]) @ p["decay_up"]
        w = np.exp(-np.exp(-softplus(-pre) - 0.5))
        a = sigmoid(p["rate"] + seen["a"] @ p["rate_down"] @ p["rate_up"])
        g = sigmoid(seen["g"] @ p["gate_down"]) @ p["gate_up"]
        removal = np.concatenate([unit(part, 0) for part in heads(k * m["key_norm"])])
        k = k * (1 + (a - 1) * m["key_rate"])
        o = []
        for h, (rh, wh, kh, vh, ah, nh) in enumerate(
            zip(*map(heads, (r, w, k, v, a, removal)), strict=True)
        ):
            # The state of the paper is the transpose: rows are values.
            old = S[h].T
            new = old @ np.diag(wh) - np.outer(old @ nh, nh * ah) + np.outer(vh, kh)
            S[h] = new.T
            gain, bias = (heads(m[name])[h] for name in ("norm_gain", "norm_bias"))
            read = layer_norm(new @ rh, 64e-5) * gain + bias
            o.append(read + (rh * kh * heads(m["bonus"])[h]).sum() * vh)
        ys.append((np.concatenate(o) * g) @ m["output"])
        before = x
    return np.array(ys), np.array(values)


def disturbed(cell, in_features=IN):
    """Parameters none of which is 0 or 1, and inputs."""
    xs = np.random.default_rng(1).standard_normal((TIME, in_features))
    return drawn(cell, in_features), xs


CASES = {
    "linear_attention": (sj.linear_attention(F, heads=H), linear_attention),
    "gated_linear_attention": (
        sj.gated_linear_attention(F, heads=H, rank=2),
        gated_linear_attention,
    ),
    "hgrn2": (sj.hgrn2(F, heads=H), lambda p, x: hgrn2(p, x, 0.0)),
    "hgrn2_bound": (sj.hgrn2(F, heads=H, lower_bound=0.4), lambda p, x: hgrn2(p, x, 0.4)),
    "mlstm": (sj.mlstm(F, heads=H), lambda p, x: mlstm(p, x, exponential=True)),
    "mlstm_sigmoid": (
        sj.mlstm(F, heads=H, input_gate="sigmoid", soft_cap=2.0),
        lambda p, x: mlstm(p, x, exponential=False, cap=2.0),
    ),
    "mlstm_layer": (sj.mlstm_layer(F, heads=H, block=2), mlstm_layer, F),
    "delta_net": (sj.delta_net(F, heads=H), lambda p, x: delta(p, x, K=W, V=W)),
    "delta_net_negative": (
        sj.delta_net(F, heads=H, convolution=2, negative_eigenvalues=True),
        lambda p, x: delta(p, x, K=W, V=W, largest=2.0),
    ),
    "gated_delta_net": (sj.gated_delta_net(F, heads=H, key_width=2), gated_delta_net),
    "kimi_delta_attention": (sj.kimi_delta_attention(F, heads=H), kimi_delta_attention),
    "mamba2": (sj.mamba2(F, heads=4, groups=2, states=3), mamba2),
}


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell, equations, *in_features = CASES[name]
    params, xs = disturbed(cell, *in_features)
    wanted = equations(params, xs)
    for method in ("plain", "chunked"):
        _, ys = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(ys, wanted, rtol=1e-9, atol=1e-9)


def test_rwkv6(x64):
    cell = sj.rwkv6_time_mix(F, heads=H, mix_rank=2, decay_rank=2)
    params, xs = disturbed(cell, F)
    for method in ("plain", "chunked"):
        _, ys = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(ys, rwkv6(params, xs), rtol=1e-9, atol=1e-9)


def test_rwkv7(x64):
    """Alone, and with the values of the first layer travelling to the second."""
    alone = sj.rwkv7_time_mix(F, heads=H)
    params, xs = disturbed(alone, F)
    wanted, values = rwkv7(params, xs)
    for method in ("plain", "chunked"):
        np.testing.assert_allclose(
            sj.scan(alone, params, xs, method=method)[1], wanted, rtol=1e-9, atol=1e-9
        )
    first = sj.rwkv7_time_mix(F, heads=H, layer=0, layers=2)
    _, both = sj.scan(first, params, xs)
    np.testing.assert_allclose(both, np.concatenate([wanted, values], 1), rtol=1e-9, atol=1e-9)
    last = sj.rwkv7_time_mix(F, heads=H, layer=1, layers=2)
    params, _ = disturbed(last, 2 * F)
    wanted, _ = rwkv7(params, xs, first=values)
    _, ys = sj.scan(last, params, np.concatenate([xs, values], 1))
    np.testing.assert_allclose(ys, wanted, rtol=1e-9, atol=1e-9)


def test_the_channel_mixes(x64):
    cell = sj.rwkv7_channel_mix(F, hidden=5)
    p, xs = disturbed(cell, F)
    before = np.concatenate([np.zeros((1, F)), xs[:-1]])
    wanted = np.maximum((xs + (before - xs) * p["mu"]) @ p["key"], 0) ** 2 @ p["value"]
    np.testing.assert_allclose(sj.scan(cell, p, xs)[1], wanted, rtol=1e-9, atol=1e-9)
    cell = sj.rwkv6_channel_mix(F, hidden=5)
    p, xs = disturbed(cell, F)
    before = np.concatenate([np.zeros((1, F)), xs[:-1]])
    k = np.maximum((xs + (before - xs) * p["mu_k"]) @ p["key"], 0) ** 2
    r = sigmoid((xs + (before - xs) * p["mu_r"]) @ p["receptance"])
    np.testing.assert_allclose(sj.scan(cell, p, xs)[1], r * (k @ p["value"]), rtol=1e-9, atol=1e-9)


def test_layers_without_a_memory(x64):
    random = np.random.default_rng(0)
    x = jnp.asarray(random.standard_normal((2, IN)))
    p = sj.rms_norm(IN).init(jax.random.key(0), IN)
    wanted = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6)
    np.testing.assert_allclose(sj.rms_norm(IN).step(p, (), x)[1], wanted)
    cell = sj.layer_norm(IN)
    p = {"gain": jnp.full(IN, 2.0), "bias": jnp.full(IN, 1.0)}
    wanted = 2 * (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5) + 1
    np.testing.assert_allclose(cell.step(p, (), x)[1], wanted)
    cell = sj.feed_forward(2, hidden=5, activation=jnp.tanh)
    p = cell.init(jax.random.key(0), IN)
    wanted = (np.tanh(x @ p["gate"]) * (x @ p["up"])) @ p["down"]
    np.testing.assert_allclose(cell.step(p, (), x)[1], wanted)
    cell = sj.dense(2, activation=jnp.tanh)
    p = {"weights": jnp.asarray(random.standard_normal((IN, 2))), "bias": jnp.ones(2)}
    np.testing.assert_allclose(cell.step(p, (), x)[1], np.tanh(x @ p["weights"] + 1))
