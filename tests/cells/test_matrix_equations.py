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
    total = np.zeros(kernel.shape[1]) if p.bias is None else p.bias.copy()
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


def mlstm(p, xs, *, exponential, cap=None, added=lambda m: 1e-6, norm_epsilon=1e-6):
    """Without any stabiliser: the numbers are small. `added` makes epsilon from the maximum m."""
    K = W // 2
    ys, C, n, m = [], np.zeros((H, K, W)), np.zeros((H, K)), np.zeros(H)
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
            m[h] = max(np.log(f) + m[h], np.log(i))
            read = C[h].T @ q / (max(abs(n[h] @ q), 1) + added(m[h]))
            hidden.append(layer_norm(read, norm_epsilon))
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


def delta(p, xs, *, K, V, largest=1.0, decay=None, gate=None, shared=1, epsilon=1e-5):
    """`shared`: how many memories have one q and one k."""
    ys, S, history = [], np.zeros((H, K, V)), []
    m, cuts = p["memory"], np.cumsum([H // shared * K, H // shared * K, H * V, H])
    inner = cuts[2]
    for x in xs:
        whole = x @ p["project"]["weights"]
        history.append(whole[:inner])
        whole = np.concatenate([convolved(history, p["convolve"]), whole[inner:]])
        q, k, v, rate, rest = np.split(whole, cuts)
        o = []
        for h in range(H):
            own = slice(h // shared * K, (h // shared + 1) * K)
            qh, kh = unit(q[own]) / np.sqrt(K), unit(k[own])
            beta = largest * sigmoid(rate[h])
            a = np.ones(K) if decay is None else decay(m, rest, h)
            S[h] = a[:, None] * S[h]
            S[h] = (np.eye(K) - beta * np.outer(kh, kh)) @ S[h]
            S[h] += beta * np.outer(kh, v[h * V : (h + 1) * V])
            o.append(rms(S[h].T @ qh, epsilon) * m["norm_gain"])
        y = np.concatenate(o)
        ys.append((y if gate is None else y * gate(m, rest)) @ m["output"])
    return np.array(ys)


def gated_delta_net(p, xs, **options):
    def decay(m, rest, h):
        return np.full(2, np.exp(-np.exp(m["A_log"][h]) * softplus(rest[h] + m["decay_bias"][h])))

    return delta(p, xs, K=2, V=4, decay=decay, gate=lambda m, rest: silu(rest[H:]), **options)


def kimi_delta_attention(p, xs, width=W, **options):
    def decay(m, rest, h):
        a = (rest[:width] @ m["decay_up"] + m["decay_bias"])[h * width : (h + 1) * width]
        return np.exp(-np.exp(m["A_log"][h]) * softplus(a))

    def gate(m, rest):
        return sigmoid(rest[width:] @ m["gate_up"] + m.get("gate_bias", 0))

    return delta(p, xs, K=width, V=width, decay=decay, gate=gate, **options)


def mamba2(p, xs, inner=2 * F, limit=(0, np.inf), epsilon=1e-5):
    heads, groups, N = 4, 2, 3
    P = inner // heads
    ys, S, history, m = [], np.zeros((heads, N, P)), [], p["memory"]
    conv = inner + 2 * groups * N
    for x in xs:
        whole = x @ p["project"]["weights"] + p["project"].get("bias", 0)
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
            d = np.clip(softplus(step[h] + m["step_bias"][h]), *limit)
            S[h] = np.exp(-np.exp(m["A_log"][h]) * d) * S[h] + np.outer(B[group], d * uh)
            o.append(S[h].T @ C[group] + m["D"][h] * uh)
        parts = np.split(np.concatenate(o) * silu(z), groups)
        y = np.concatenate([rms(part, epsilon) for part in parts])
        ys.append((y * m["norm_gain"]) @ m["output"] + m.get("output_bias", 0))
    return np.array(ys)


def rwkv6(p, xs, epsilon):
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
            o.append(layer_norm((S[h] + u[h][:, None] * kv).T @ r[h], epsilon))
            S[h] = w[h][:, None] * S[h] + kv
        y = np.concatenate(o) * m["norm_gain"] + m["norm_bias"]
        ys.append((y * silu(seen["g"] @ p["gate"])) @ m["output"])
        before = x
    return np.array(ys)


def rwkv7(p, xs, first=None, epsilon=64e-5):
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
            read = layer_norm(new @ rh, epsilon) * gain + bias
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
    "mlstm_scaled_epsilon": (
        sj.mlstm(F, heads=H, epsilon=0.3, scaled_epsilon=True, norm_epsilon=0.1),
        lambda p, x: mlstm(
            p, x, exponential=True, added=lambda m: 0.3 * np.exp(m), norm_epsilon=0.1
        ),
    ),
    "mlstm_layer": (sj.mlstm_layer(F, heads=H, block=2), mlstm_layer, F),
    "delta_net": (sj.delta_net(F, heads=H), lambda p, x: delta(p, x, K=W, V=W)),
    "delta_net_negative": (
        sj.delta_net(
            F,
            heads=H,
            convolution=2,
            convolution_bias=False,
            negative_eigenvalues=True,
            epsilon=0.1,
        ),
        lambda p, x: delta(p, x, K=W, V=W, largest=2.0, epsilon=0.1),
    ),
    "gated_delta_net": (
        sj.gated_delta_net(F, heads=H, key_heads=1, key_width=2, epsilon=0.1),
        lambda p, x: gated_delta_net(p, x, shared=2, epsilon=0.1),
    ),
    "kimi_delta_attention": (
        sj.kimi_delta_attention(F, heads=H, width=3, gate_bias=True, epsilon=0.1),
        lambda p, x: kimi_delta_attention(p, x, width=3, epsilon=0.1),
    ),
    "mamba2": (
        sj.mamba2(
            F,
            inner=12,
            heads=4,
            groups=2,
            states=3,
            bias=True,
            convolution_bias=False,
            step_limit=(0.5, 1.0),
            epsilon=0.1,
        ),
        lambda p, x: mamba2(p, x, inner=12, limit=(0.5, 1.0), epsilon=0.1),
    ),
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
    cell = sj.rwkv6_time_mix(F, heads=H, mix_rank=2, decay_rank=3, epsilon=0.1)
    params, xs = disturbed(cell, F)
    for method in ("plain", "chunked"):
        _, ys = sj.scan(cell, params, xs, method=method)
        np.testing.assert_allclose(ys, rwkv6(params, xs, 0.1), rtol=1e-9, atol=1e-9)


def test_rwkv7(x64):
    """Alone, and with the values of the first layer travelling to the second."""
    alone = sj.rwkv7_time_mix(F, heads=H, decay_rank=1, rate_rank=2, gate_rank=3, epsilon=0.1)
    params, xs = disturbed(alone, F)
    assert [params["mix"][f"{name}_down"].shape[1] for name in ("decay", "rate", "gate")] == [
        1,
        2,
        3,
    ]
    wanted, _ = rwkv7(params, xs, epsilon=0.1)
    for method in ("plain", "chunked"):
        np.testing.assert_allclose(
            sj.scan(alone, params, xs, method=method)[1], wanted, rtol=1e-9, atol=1e-9
        )
    first = sj.rwkv7_time_mix(F, heads=H, layer=0, layers=2)
    params, _ = disturbed(first, F)
    wanted, values = rwkv7(params, xs)
    _, both = sj.scan(first, params, xs)
    np.testing.assert_allclose(both, np.concatenate([wanted, values], 1), rtol=1e-9, atol=1e-9)
    last = sj.rwkv7_time_mix(F, heads=H, layer=1, layers=2, value_rank=1)
    params, _ = disturbed(last, 2 * F)
    assert params["mix"]["first_down"].shape == (F, 1)
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
    np.testing.assert_allclose(
        sj.layer_norm(IN, bias=False).step({"gain": p["gain"]}, (), x)[1], wanted - 1
    )
    cell = sj.feed_forward(2, hidden=5, activation=jnp.tanh)
    p = cell.init(jax.random.key(0), IN)
    wanted = (np.tanh(x @ p["gate"]) * (x @ p["up"])) @ p["down"]
    np.testing.assert_allclose(cell.step(p, (), x)[1], wanted)
    cell = sj.feed_forward(2, hidden=5, bias=True, activation=jnp.tanh)
    p = jax.tree.map(jnp.asarray, drawn(cell, IN))
    gate, up, down = ((p[name], p[f"{name}_bias"]) for name in ("gate", "up", "down"))
    inside = np.tanh(x @ gate[0] + gate[1][None]) * (x @ up[0] + up[1][None])
    wanted = inside @ down[0] + down[1][None]
    np.testing.assert_allclose(cell.step(p, (), x)[1], wanted, rtol=1e-12)
    cell = sj.dense(2, activation=jnp.tanh)
    p = {"weights": jnp.asarray(random.standard_normal((IN, 2))), "bias": jnp.ones(2)}
    np.testing.assert_allclose(cell.step(p, (), x)[1], np.tanh(x @ p["weights"] + 1))
