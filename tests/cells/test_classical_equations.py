"""The classical cells against their equations, written out in NumPy from the papers.

Steps are taken one by one, outside of any program: `tests/test_laws.py` holds the scans to them.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn

F, IN, TIME = 4, 3, 6
TIMES = np.array([0.5, 0.9, 3.25, 3.3, 7.0, 11.5])


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gates(p, h, x):
    """What each gate sees: of the input, and of the hidden state."""
    count = p["bias"].shape[0]
    from_x = [x @ p["input"][:, g] + p["bias"][g] for g in range(count)]
    return from_x, [h @ p["recurrent"][:, g] for g in range(count)]


def ugrnn(p, h, x):
    (g, c), (g_h, c_h) = gates(p, h, x)
    g = sigmoid(g + g_h)
    h = g * h + (1 - g) * np.tanh(c + c_h)
    return h, h


def janet(p, h, x):
    (s, c), (s_h, c_h) = gates(p, h, x)
    s = s + s_h
    h = sigmoid(s) * h + (1 - sigmoid(s - 0.7)) * np.tanh(c + c_h)
    return h, h


def li_gru(p, h, x):
    (z, n), (z_h, n_h) = gates(p, h, x)
    z = sigmoid(z + z_h)
    h = z * h + (1 - z) * np.maximum(n + n_h, 0)
    return h, h


def fast_grnn(p, h, x):
    shared = x @ p["input"][:, 0] + h @ p["recurrent"][:, 0]
    gate_bias, candidate_bias = p["bias"][0], p["bias"][0] + p["candidate_bias"]
    z = sigmoid(shared + gate_bias)
    n = np.tanh(shared + candidate_bias)
    h = (sigmoid(p["zeta"]) * (1 - z) + sigmoid(p["nu"])) * n + z * h
    return h, h


def limited(p):
    """Recurrent weights and peepholes as they act, one for each gate and unit."""
    u = np.clip(p["recurrent"][:, 0, :, 0].T, -0.5, 0.5)
    return u, [np.clip(p.get(f"peephole_{gate}", 0.0), -0.5, 0.5) for gate in ("forget", "output")]


def para_gru(p, h, x):
    u, _ = limited(p)
    r, z, n = (x @ p["input"][:, g] + p["bias"][g] for g in range(3))
    z, r = sigmoid(z + u[1] * h), sigmoid(r + u[0] * h)
    h = z * h + (1 - z) * np.tanh(n + u[2] * (r * h))
    return h, h


def para_lstm(p, state, x):
    (h, c), (u, (p_f, p_o)) = state, limited(p)
    f, g, o = (x @ p["input"][:, n] + p["bias"][n] + u[n] * h for n in range(3))
    f = sigmoid(f + p_f * c)
    c = f * c + (1 - f) * np.tanh(g)
    h = sigmoid(o + p_o * c) * np.tanh(c)
    return (h, c), h


def star(p, h, x):
    k = sigmoid(x @ p["input"][:, 0] + h @ p["recurrent"][:, 0] + p["bias"][0])
    z = np.tanh(x @ p["input"][:, 1] + p["bias"][1])
    h = np.tanh((1 - k) * h + k * z)
    return h, h


def multiplicative_lstm(p, state, x):
    h, c = state
    W, U, b = p["input"], p["recurrent"], p["bias"]
    m = (x @ W[:, 0] + b[0]) * (h @ U[:, 0])
    i, f, g, o = (x @ W[:, n] + m @ U[:, n] + b[n] for n in range(1, 5))
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(c)
    return (h, c), h


def phased_lstm(p, state, x):
    """Of the paper, where the shift is a time."""
    h, c, t = state
    x, given = x if isinstance(x, tuple) else (x, None)
    t = t if given is None else np.full(F, given)
    period, ratio, leak = np.exp(p["log_period"]), 0.4, 0.1
    phase = np.mod(t - p["shift"] * period, period) / period
    k = np.select(
        [phase < ratio / 2, phase < ratio],
        [2 * phase / ratio, 2 - 2 * phase / ratio],
        leak * phase,
    )
    of_x, of_h = gates(p, h, x)
    i, f, g, o = np.add(of_x, of_h)
    new_c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    new_h = sigmoid(o) * np.tanh(new_c)
    h = k * new_h + (1 - k) * h
    return (h, k * new_c + (1 - k) * c, t + 1), h


def clockwork(p, state, x):
    """Module by module: periods 1 and 3, so all clocks strike together every third step."""
    h, t = state
    new = h.copy()
    half = F // 2
    for module, period in enumerate((1, 3)):
        if t % period == 0:
            own, from_here = slice(module * half, (module + 1) * half), slice(module * half, F)
            made = x @ p["input"][:, own] + p["bias"][own]
            new[own] = np.tanh(made + h[from_here] @ p["recurrent"][from_here, own])
    return (new, (t + 1) % 3), new


def lem(p, state, x):
    y, z = state
    W, U, b = p["input"], p["recurrent"], p["bias"]
    slow = 0.5 * sigmoid(x @ W[:, 0] + y @ U[:, 0] + b[0])
    fast = 0.5 * sigmoid(x @ W[:, 1] + y @ U[:, 1] + b[1])
    z = (1 - slow) * z + slow * np.tanh(x @ W[:, 2] + y @ U[:, 2] + b[2])
    y = (1 - fast) * y + fast * np.tanh(x @ W[:, 3] + z @ U[:, 3] + b[3])
    return (y, z), y


def cornn(p, state, x):
    y, z = state
    force = np.tanh(x @ p["input"] + y @ p["recurrent"] + z @ p["velocity"] + p["bias"])
    z = z + 0.1 * (force - 2.0 * y - 3.0 * z)
    y = y + 0.1 * z
    return (y, z), y


def antisymmetric(p, h, x):
    # The weights of the paper stand on the left of a column.
    V = p["recurrent"].T
    seen = (V - V.T - 0.2 * np.eye(F)) @ h
    pre = [seen + x @ p["input"][:, g] + p["bias"][g] for g in range(len(p["bias"]))]
    gate = sigmoid(pre[1]) if len(pre) > 1 else 1.0
    h = h + 0.3 * gate * np.tanh(pre[0])
    return h, h


def cfc(p, h, x):
    x, dt = x if isinstance(x, tuple) else (x, 1.0)
    u = np.concatenate([x, h]) @ np.concatenate([p["input"], p["recurrent"]]) + p["bias"]
    u = 1.7159 * np.tanh(0.666 * u)
    f, g, a, b = (u @ p["gates"][:, n] + p["gate_bias"][n] for n in range(4))
    s = sigmoid(a * dt + b)
    h = np.tanh(f) * (1 - s) + s * np.tanh(g)
    return h, h


def ltc(p, v, x):
    """Neuron by neuron, as the fused solver of the paper."""
    x, dt = x if isinstance(x, tuple) else (x, 1.0)
    positive = {n: np.log1p(np.exp(p[n])) for n in ("weight", "capacitance", "leak")}
    small = dt / 3
    for _ in range(3):
        before, v = np.concatenate([x, v]), np.empty(F)
        for n in range(F):
            g = positive["weight"][:, n] * sigmoid(p["sigma"][:, n] * (before - p["mu"][:, n]))
            leak, pace = positive["leak"][n], positive["capacitance"][n] / small
            total = pace * before[IN + n] + leak * p["rest"][n] + g @ p["reversal"][:, n]
            v[n] = total / (pace + leak + g.sum())
    return v, v


phased = functools.partial(sj.phased_lstm, F, open_ratio=0.4, leak=0.1)

CASES = {
    "ugrnn": (sj.ugrnn(F), ugrnn),
    "janet": (sj.janet(F, beta=0.7), janet),
    "li_gru": (sj.li_gru(F), li_gru),
    "fast_grnn": (sj.fast_grnn(F), fast_grnn),
    "star": (sj.star(F), star),
    "para_gru": (sj.para_gru(F), para_gru),
    "para_lstm": (sj.para_lstm(F), para_lstm),
    "multiplicative_lstm": (sj.multiplicative_lstm(F), multiplicative_lstm),
    "phased_lstm": (phased(), phased_lstm),
    "phased_lstm timed": (phased(timed=True), phased_lstm),
    "clockwork": (sj.clockwork(F, periods=(1, 3)), clockwork),
    "lem": (sj.lem(F, dt=0.5), lem),
    "cornn": (sj.cornn(F, dt=0.1, gamma=2.0, epsilon=3.0), cornn),
    "antisymmetric": (sj.antisymmetric(F, epsilon=0.3, gamma=0.2), antisymmetric),
    "antisymmetric gate": (sj.antisymmetric(F, gate=True, epsilon=0.3, gamma=0.2), antisymmetric),
    "cfc": (sj.cfc(F, backbone=5), cfc),
    "cfc timed": (sj.cfc(F, backbone=5, timed=True), cfc),
    "ltc": (sj.ltc(F, unfolds=3), ltc),
    "ltc timed": (sj.ltc(F, unfolds=3, timed=True), ltc),
}


@pytest.mark.parametrize("name", CASES)
def test_equations(name, x64):
    cell, step = CASES[name]
    params = drawn(cell, IN, scale=1.0)
    xs = np.random.default_rng(0).standard_normal((TIME, IN))
    carry = cell.initial_carry(params)
    state = jax.tree.map(np.asarray, carry)
    state = tuple(state) if isinstance(state, tuple) else state
    for t, x in enumerate(xs):
        timed = name.endswith(" timed")
        state, wanted = step(params, state, (x, TIMES[t]) if timed else x)
        ours = (jnp.asarray(x), jnp.asarray(TIMES[t])) if timed else jnp.asarray(x)
        carry, y = cell.step(jax.tree.map(jnp.asarray, params), carry, ours)
        np.testing.assert_allclose(y, wanted, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(np.hstack(carry), np.hstack(state), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("make", [sj.phased_lstm, sj.cfc, sj.ltc])
def test_times_that_are_those_of_steps_change_nothing(make, x64):
    """In scans too, over a batch, with padding."""
    params = drawn(make(F), IN)
    xs = jax.random.normal(jax.random.key(0), (2, 5, IN))
    times = jnp.tile(jnp.arange(5.0), (2, 1)) if make is sj.phased_lstm else jnp.ones((2, 5))
    lengths = jnp.array([5, 3])
    got = sj.scan(make(F, timed=True), params, (xs, times), lengths=lengths)
    wanted = sj.scan(make(F), params, xs, lengths=lengths)
    for ours, theirs in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: sj.phased_lstm(F, shortest=9.0, longest=3.0), "shortest <= longest, got"),
        (lambda: sj.phased_lstm(F, open_ratio=0.0), r"`open_ratio` must be in \(0, 1\], got 0.0"),
        (lambda: sj.clockwork(F, periods=(1, 2, 4)), "3 periods need modules of equal width"),
    ],
)
def test_errors(call, said):
    with pytest.raises(ValueError, match=said):
        call()


def test_starts():
    """As in the papers."""
    cells = {
        "janet": (sj.janet(50, longest=784), "bias"),
        "star": (sj.star(F), "bias"),
        "phased_lstm": (sj.phased_lstm(50, shortest=2.0, longest=8.0), "log_period", "shift"),
        "ltc": (sj.ltc(20), "capacitance", "weight", "reversal"),
        "lem": (sj.lem(25), "recurrent"),
        "para_gru": (sj.para_gru(500), "bias", "recurrent"),
        "para_lstm": (sj.para_lstm(500), "bias", "peephole_output"),
    }

    @jax.jit
    def start(key):
        params = {name: cell.init(key, IN) for name, (cell, *_) in cells.items()}
        return {name: [params[name][leaf] for leaf in cells[name][1:]] for name in cells}

    found = jax.device_get(start(jax.random.key(0)))
    [(forget, candidate)] = found["janet"]
    assert forget.min() >= 0 and 4 < forget.max() <= np.log(783) and not candidate.any()
    [(gate, candidate)] = found["star"]
    assert (gate == 1).all() and not candidate.any()
    period, shift = found["phased_lstm"]
    assert np.log(2) <= period.min() < 0.9 and 1.9 < period.max() <= np.log(8)
    assert shift.min() >= 0 and shift.min() < 0.2 and 0.8 < shift.max() <= 1
    capacitance, weight, reversal = found["ltc"]
    capacitance, weight = (np.log1p(np.exp(part)) for part in (capacitance, weight))
    assert 0.4 <= capacitance.min() < capacitance.max() <= 0.6
    assert 0.001 <= weight.min() < 0.1 and 0.9 < weight.max() <= 1
    assert set(np.unique(reversal)) == {-1, 1} and 0.6 < (reversal > 0).mean() < 0.73
    assert 0.15 < np.abs(found["lem"][0]).max() <= 0.2
    # Their z is our 1 - z.
    for name, gate, last in (("para_gru", 1, 1.0), ("para_lstm", 0, -1.0)):
        bias, small = found[name]
        np.testing.assert_allclose(bias[gate], np.linspace(0, last, 500), atol=1e-6)
        assert not np.delete(bias, gate, 0).any() and 0.03 < small.std() < 0.05
