"""Cells that are linear in their state, and their kin, against NumPy loops from the papers."""

import jax
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


def gates(p, x):
    return [x @ p["input"][:, g] + p["bias"][g] for g in range(p["bias"].shape[0])]


def positive(u):
    return np.where(u >= 0, u + 0.5, sigmoid(u))


def minimal_gru(p, xs, candidate=lambda u: u):
    h, ys = np.zeros(F), []
    for x in xs:
        z, n = gates(p, x)
        h = (1 - sigmoid(z)) * h + sigmoid(z) * candidate(n)
        ys.append(h)
    return ys


def minimal_lstm(p, xs, candidate=lambda u: u):
    h, ys = np.zeros(F), []
    for x in xs:
        f, i, n = gates(p, x)
        f, i = sigmoid(f), sigmoid(i)
        h = f / (f + i) * h + i / (f + i) * candidate(n)
        ys.append(h)
    return ys


def qrnn(p, xs, pooling="fo"):
    kernel, bias = p["convolve"]["kernel"], p["convolve"]["bias"]
    width, past, c, ys = len(kernel), [np.zeros(IN)] * (len(kernel) - 1), np.zeros(F), []
    for x in xs:
        past = [*past, x]
        made = [sum(past[j] @ kernel[j, :, g] for j in range(width)) + bias[g]
                for g in range(len(bias))]  # fmt: skip
        past = past[1:]
        z, f = np.tanh(made[0]), sigmoid(made[1])
        c = f * c + (sigmoid(made[3]) if pooling == "ifo" else 1 - f) * z
        ys.append(c if pooling == "f" else sigmoid(made[2]) * c)
    return ys


def sru(p, xs, highway_bias=0.0):
    alpha, c, ys = np.sqrt(1 + 2 * np.exp(highway_bias)), np.zeros(F), []
    v = p.get("peephole", np.zeros((2, F)))
    for x in xs:
        u, f, r = (x @ p["input"][:, g] for g in range(3))
        skip = x @ p["input"][:, 3] if p["input"].shape[1] == 4 else x
        f = sigmoid(f + v[0] * c + p["bias"][0])
        r = sigmoid(r + v[1] * c + p["bias"][1])
        c = f * c + (1 - f) * u
        ys.append(r * c + (1 - r) * alpha * skip)
    return ys


def indrnn(p, xs):
    h, ys = np.zeros(F), []
    for x in xs:
        h = np.maximum(x @ p["input"][:, 0] + p["recurrent"][:, 0, 0, 0] * h + p["bias"][0], 0)
        ys.append(h)
    return ys


def both(p, name):
    return p[f"{name}_real"] + 1j * p[f"{name}_imaginary"]


def lru(p, xs):
    decay = np.exp(-np.exp(p["nu"]) + 1j * np.exp(p["theta"]))
    s, ys = np.zeros(len(decay), complex), []
    for x in xs:
        s = decay * s + np.exp(p["gamma"]) * (x @ both(p, "b"))
        skip = p["skip"] * x if p["skip"].ndim == 1 else x @ p["skip"]
        ys.append((s @ both(p, "c")).real + skip)
    return ys


def s4d(p, xs):
    a = -np.exp(p["a_real"]) + 1j * p["a_imaginary"]
    decay = np.exp(np.exp(p["step_size"])[:, None] * a)
    s, ys = np.zeros(a.shape, complex), []
    for x in xs:
        s = decay * s + (decay - 1) / a * x[:, None]
        ys.append(2 * (both(p, "c") * s).sum(1).real + p["skip"] * x)
    return ys


def s5(p, xs):
    a = np.minimum(p["a_real"], -1e-4) + 1j * p["a_imaginary"]
    decay = np.exp(np.exp(p["step_size"]) * a)
    s, ys = np.zeros(a.shape, complex), []
    for x in xs:
        s = decay * s + (decay - 1) / a * (x @ both(p, "b"))
        ys.append(2 * (s @ both(p, "c")).real + x @ p["skip"])
    return ys


def linoss(p, xs, implicit=False):
    """The equations of the paper, implicit ones solved as they stand."""
    A = p["stiffness"] ** 2 if implicit else np.maximum(p["stiffness"], 0)
    d, ys = sigmoid(p["step_size"]), []
    B, C = (p[f"{name}_real"] + 1j * p[f"{name}_imaginary"] for name in "bc")
    v = s = np.zeros(len(A), complex)
    for x in xs:
        right = v + d * (x @ B), s
        if implicit:
            solved = [
                np.linalg.solve([[1, d[n] * A[n]], [-d[n], 1]], [right[0][n], right[1][n]])
                for n in range(len(A))
            ]
            v, s = np.transpose(solved)
        else:
            v = right[0] - d * A * s
            s = s + d * v
        skip = p["skip"]
        ys.append((s @ C).real + (skip * x if skip.ndim == 1 else x @ skip))
    return ys


def rg_lru(p, xs, *, plain=False):
    p = p["memory"] if plain else p
    blocks, block = p["input"].shape[:2]
    h, ys = np.zeros(blocks * block), []
    for x in xs:
        apart = x.reshape(blocks, block)
        r, i = (
            sigmoid(np.concatenate([apart[b] @ p["input"][b, :, g] for b in range(blocks)])
                    + p["bias"][g])
            for g in range(2)
        )  # fmt: skip
        a = np.exp(-8 * r * softplus(p["decay"]))
        h = a * h + (1 if plain and not ys else np.sqrt(1 - a**2)) * (i * x)
        ys.append(h)
    return ys


def s6(p, xs, decay=np.exp, norm=lambda part: part):
    features, state = p["a"].shape
    rank = p["step_weights"].shape[0]
    s, ys = np.zeros((features, state)), []
    for x in xs:
        made = x @ p["selection"]
        delta, b, c = map(norm, np.split(made, [rank, rank + state]))
        d = softplus(delta @ p["step_weights"] + p["step_bias"])
        for j in range(features):
            s[j] = decay(-d[j] * np.exp(p["a"][j])) * s[j] + d[j] * b * x[j]
        ys.append(s @ c + p["skip"] * x)
    return ys


def mamba(p, xs, **options):
    own, gate = p["branches"]["recurrent"], p["branches"]["gate"]
    u, z = (xs @ part["weights"] + part.get("bias", 0) for part in (own["project"], gate))
    kernel, bias = own["convolve"]
    bias = 0 if bias is None else bias
    width = len(kernel)
    padded = np.concatenate([np.zeros((width - 1, u.shape[1])), u])
    u = np.array([(kernel * padded[t : t + width]).sum(0) + bias for t in range(len(xs))])
    u = u * sigmoid(u)
    u = np.array(s6(own["memory"], u, **options))
    return (u * z * sigmoid(z)) @ p["output"]["weights"] + p["output"].get("bias", 0)


def lmu(p, xs, memory, window):
    q = np.arange(memory)
    a = np.array([[(2 * i + 1) * (-1 if i < j else (-1) ** (i - j + 1)) for j in q] for i in q])
    b = (2 * q + 1) * (-1.0) ** q
    # The hold, by integrating the differential equation with many small steps.
    substeps = 20_000
    small = np.eye(memory) + a / (window * substeps)
    hold, drive = np.eye(memory), np.zeros(memory)
    for _ in range(substeps):
        hold, drive = small @ hold, small @ drive + b / (window * substeps)
    h, m, ys = np.zeros(F), np.zeros(memory), []
    for x in xs:
        u = x @ p["encode_input"] + h @ p["encode_hidden"] + m @ p["encode_memory"]
        m = hold @ m + drive * u
        h = np.tanh(x @ p["input"] + h @ p["recurrent"] + m @ p["read"])
        ys.append(h)
    return ys


def rwkv4_time_mix(p, xs):
    mixed, own = p["mix"], p["memory"]
    before, ys, keys, values = np.zeros(xs.shape[1]), [], [], []
    w = np.exp(own["decay"])
    for t, x in enumerate(xs):
        r, k, v = (
            (mu * x + (1 - mu) * before) @ weights
            for mu, weights in zip(mixed["mu"], mixed["weights"], strict=True)
        )
        before = x
        # The sum over the past as the paper writes it.
        weights = [np.exp(-(t - 1 - i) * w + keys[i]) for i in range(t)] + [
            np.exp(own["bonus"] + k)
        ]
        keys.append(k)
        values.append(v)
        above = sum(weight * value for weight, value in zip(weights, values, strict=True))
        ys.append((sigmoid(r) * above / sum(weights)) @ own["output"])
    return ys


def rwkv4_channel_mix(p, xs):
    before, ys = np.zeros(xs.shape[1]), []
    for x in xs:
        r, k = (mu * x + (1 - mu) * before for mu in p["mu"])
        before = x
        hidden = np.maximum(k @ p["key"], 0) ** 2
        ys.append(sigmoid(r @ p["receptance"]) * (hidden @ p["value"]))
    return ys


def slstm(p, xs, heads=2, recurrent=True):
    """Without any stabiliser: float64 holds these exponents."""
    c, n, h, ys = np.zeros(F), np.zeros(F), np.zeros(F), []
    size = F // heads
    for x in xs:
        made = gates(p, x)
        if recurrent:
            for head in range(heads):
                part = slice(head * size, (head + 1) * size)
                for g in range(4):
                    made[g][part] += h[part] @ p["recurrent"][head, :, g]
        i, f, z, o = made
        c = sigmoid(f) * c + np.exp(i) * np.tanh(z)
        n = sigmoid(f) * n + np.exp(i)
        h = sigmoid(o) * c / n
        ys.append(h)
    return ys


def slstm_layer(p, xs):
    """The loop above with all four inputs of the gates given, behind and before the rest."""
    kernel, bias = p["gates"]["convolution"]
    padded = np.concatenate([np.zeros((len(kernel) - 1, F)), xs])
    convolved = np.stack(
        [(kernel * padded[t : t + len(kernel)]).sum(0) + bias for t in range(len(xs))]
    )
    seen = convolved * sigmoid(convolved)
    heads = p["gates"]["weights"]
    width = heads.shape[1]
    made = []
    for g, source in enumerate([seen, seen, xs, xs]):
        parts = [source[:, h * width : (h + 1) * width] @ w[:, g] for h, w in enumerate(heads)]
        made.append(np.concatenate(parts, axis=1))
    inside = p["memory"] | {"input": np.eye(4 * F).reshape(4 * F, 4, F)}
    hidden = np.stack(slstm(inside, np.concatenate(made, axis=1)))
    apart = hidden.reshape(-1, len(heads), width)
    centred = apart - apart.mean(-1, keepdims=True)
    normal = centred / np.sqrt(apart.var(-1, keepdims=True) + 1e-5)
    return normal.reshape(-1, F) * p["norm"]


CASES = {
    "minimal_gru": (sj.minimal_gru(F), minimal_gru, {}),
    "minimal_gru log": (
        sj.minimal_gru(F, logarithmic=True), minimal_gru, {"candidate": positive},
    ),
    "minimal_lstm": (sj.minimal_lstm(F), minimal_lstm, {}),
    "minimal_lstm log": (
        sj.minimal_lstm(F, logarithmic=True), minimal_lstm, {"candidate": positive},
    ),
    "quasi f": (sj.qrnn(F, pooling="f"), qrnn, {"pooling": "f"}),
    "quasi fo": (sj.qrnn(F, width=3), qrnn, {}),
    "quasi ifo": (sj.qrnn(F, pooling="ifo"), qrnn, {"pooling": "ifo"}),
    "simple": (
        sj.sru(F, highway_bias=0.5), sru, {"highway_bias": 0.5},
    ),
    "simple linear": (sj.sru(F, peepholes=False), sru, {}),
    "indrnn": (sj.indrnn(F), indrnn, {}),
    "lru": (sj.lru(F, state=5), lru, {}),
    "lru skip": (sj.lru(IN), lru, {}),
    "s4d": (sj.s4d(IN, state=6), s4d, {}),
    "s4d inverse": (
        sj.s4d(IN, state=6, spectrum="inverse"), s4d, {},
    ),
    "s5": (sj.s5(F, state=8, blocks=2), s5, {}),
    "linoss": (sj.linoss(F, state=5), linoss, {}),
    "linoss implicit": (
        sj.linoss(IN, state=5, discretization="implicit", nonnegative="square"),
        linoss,
        {"implicit": True},
    ),
    "rg-lru": (sj.rg_lru(IN), rg_lru, {}),
    "rg-lru plain": (sj.rg_lru(IN, first_step="plain"), rg_lru, {"plain": True}),
    "rg-lru blocks": (sj.rg_lru(IN, blocks=3), rg_lru, {}),
    "s6": (sj.s6(IN, state=2), s6, {}),
    "s6 negative": (
        sj.s6(IN, state=2, negative_eigenvalues=True),
        s6,
        {"decay": lambda log: 2 * np.exp(log) - 1},
    ),
    "mamba": (sj.mamba(IN, state=2, rank=2), mamba, {}),
    "mamba falcon": (
        sj.mamba(
            IN, inner=5, state=2, rank=2, bias=True, convolution_bias=False, selection_norm=0.1
        ),
        mamba,
        {"norm": lambda part: part / np.sqrt((part**2).mean() + 0.1)},
    ),
    "rwkv4 time": (sj.rwkv4_time_mix(IN, inner=5), rwkv4_time_mix, {}),
    "rwkv4 channel": (sj.rwkv4_channel_mix(IN), rwkv4_channel_mix, {}),
    "slstm": (sj.slstm(F, heads=2), slstm, {}),
    "slstm_layer": (sj.slstm_layer(F, heads=2), slstm_layer, {}),
    "slstm linear": (sj.slstm(F, recurrent=False), slstm, {"recurrent": False}),
}  # fmt: skip


def arguments(cell, in_features=IN):
    """Random parameters and inputs."""
    return drawn(cell, in_features), np.random.default_rng(1).standard_normal((TIME, in_features))


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell, loop, options = CASES[name]
    params, xs = arguments(cell, F if loop is slstm_layer else IN)
    ys = sj.scan(cell, jax.tree.map(jnp.asarray, params), xs)[1]
    np.testing.assert_allclose(ys, loop(params, xs, **options), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", ["s4d", "s5"])
def test_small_steps_of_state_spaces(name, x64):
    """Where exp(d a) - 1 has lost digits in float32, there is a series in its place."""
    cell, loop, _ = CASES[name]
    params, xs = arguments(cell)
    # Nothing is added to what the state says, which is small.
    params |= {"step_size": params["step_size"] - 7, "skip": np.zeros_like(params["skip"])}
    ys = sj.scan(cell, jax.tree.map(jnp.asarray, params), xs)[1]
    np.testing.assert_allclose(ys, loop(params, xs), rtol=1e-10, atol=1e-15)


def test_lmu(x64):
    cell = sj.lmu(F, memory=3, window=5.0)
    params, xs = arguments(cell)
    ys = sj.scan(cell, jax.tree.map(jnp.asarray, params), xs)[1]
    np.testing.assert_allclose(ys, lmu(params, xs, 3, 5.0), atol=1e-4)


def test_the_memory_holds_a_window_of_its_signal(x64):
    """The first polynomial is constant: its coefficient is the mean over the window."""
    cell = sj.lmu(1, memory=8, window=50.0)
    params = jax.tree.map(jnp.zeros_like, cell.init(jax.random.key(0), 1))
    params["encode_input"] = jnp.ones((1,))
    signal = jnp.sin(jnp.linspace(0, 8, 200))[:, None]
    memory = sj.trajectory(cell, params, signal).memory
    means = jnp.array([signal[t - 49 : t + 1].mean() for t in range(60, 200)])
    np.testing.assert_allclose(memory[60:, 0], means, atol=0.01)
