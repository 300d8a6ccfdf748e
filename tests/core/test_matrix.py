"""What a step does to a matrix memory: numbers are repeated, and what does not fit is told."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj

HEADS, KEYS, VALUES = 2, 3, 4


def run(method="plain", rows=5, **changes):
    def access(p, x):
        q, k, v = (sj.to_heads(x, p[name]) for name in ("query", "key", "value"))
        made = {name: change(q) if callable(change) else change for name, change in changes.items()}
        return sj.Access(**{"query": q, "key": k, "value": v} | made)

    shapes = {"query": (HEADS, KEYS), "key": (HEADS, KEYS), "value": (HEADS, VALUES)}
    cell = sj.matrix_state(
        access, heads=HEADS, keys=KEYS, values=VALUES, init=shapes,
        **({"stabilized": True, "read_out": lambda p, o, x: o.values.reshape(*x.shape[:-1], -1)}
           if "log_input" in changes else {}),
    )  # fmt: skip
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (rows, 9, 3))
    return sj.scan(cell, params, xs, method=method)[1]


def full(number, *last):
    return lambda q: jnp.full((*q.shape[:-1], *last), number)


HALF = math.log(0.5)


@pytest.mark.parametrize("method", ["plain", "chunked"])
@pytest.mark.parametrize(
    ("short", "long"),
    [
        ({"log_decay": HALF}, {"log_decay": full(HALF)}),
        ({"log_decay": np.full(HEADS, HALF)}, {"log_decay": full(HALF)}),
        ({"log_decay": full(HALF, 1)}, {"log_decay": full(HALF, KEYS)}),
        ({"log_decay": 0, "rate": 0.5}, {"log_decay": full(0.0), "rate": full(0.5)}),
        ({"log_input": 0.25}, {"log_input": full(0.25)}),
    ],
)  # fmt: skip
def test_what_is_repeated(method, short, long):
    """With as many rows as there are heads, so that axes may be taken for others."""
    got, wanted = (run(method, HEADS, **changes) for changes in (short, long))
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


def test_a_number_decays_the_memory():
    assert abs(run(log_decay=HALF) - run(log_decay=0)).max() > 0.1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"log_decay": 0.9}, r"at most 0; got 0.9.*math.log\(0.9\)"),
        ({"log_decay": np.full(KEYS, HALF)}, r"log_decay.*for each channel; got \(3,\)"),
        ({"log_decay": np.full((HEADS, KEYS), HALF)}, r"log_decay.*for each channel; got \(2, 3\)"),
        ({"rate": np.ones((HEADS, KEYS))}, r"`rate`.*must have shape .*got \(2, 3\)"),
        ({"log_decay": lambda q: 1j * q}, "`log_decay`.*complex numbers, but the memory is real"),
        ({"query": lambda q: 1j * q}, "`query`.*complex numbers, but the memory is real"),
        ({"low_rank": lambda q: q}, r"`low_rank`.*a pair \(a, b\)"),
        (
            {"low_rank": lambda q: (q, 1j * q)},
            "`low_rank`.*complex numbers, but the memory is real",
        ),
    ],
)
def test_mistakes(changes, message):
    with pytest.raises((TypeError, ValueError), match=message):
        run(**changes)


def small_memory(least=None):
    """With strong decays, if there is a bound for them."""

    def access(p, x):
        q, k, v = (sj.to_heads(x, p[name]) for name in ("query", "key", "value"))
        return sj.Access(q, k, v, log_decay=jnp.full(q.shape, -200.0) if least else None)

    shapes = {name: (1, 2) for name in ("query", "key", "value")}
    return sj.matrix_state(
        access, heads=1, keys=2, values=2, init=shapes, least_log_decay=least
    )  # fmt: skip


def test_a_memory_is_complex_where_parameters_are():
    cell = small_memory()
    params = jax.tree.map(lambda p: p * (1 + 1j), cell.init(jax.random.key(0), 3))
    xs = jax.random.normal(jax.random.key(1), (9, 3))
    got, wanted = (sj.scan(cell, params, xs, method=m)[1] for m in ("chunked", "plain"))
    assert jnp.abs(wanted.imag).max() > 0.1
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["plain", "chunked"])
def test_decays_are_held_above_their_bound(method):
    """Where the bound was wrong, all methods still agree."""
    cell = small_memory(least=-0.5)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (9, 3))
    _, ys = sj.scan(cell, params, xs, method=method)
    q, k, v = (np.asarray(xs @ params[name][:, 0]) for name in ("query", "key", "value"))
    memory = np.zeros((2, 2))
    for t in range(9):
        memory = np.exp(-0.5) * memory + np.outer(k[t], v[t])
        np.testing.assert_allclose(ys[t], q[t] @ memory, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("least", [0.5, -math.inf, math.nan])
def test_a_bound_that_is_none(least):
    with pytest.raises(ValueError, match=r"finite number of at most 0.*got"):
        small_memory(least)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stabilized": True}, "`stabilized=True` a reading is an sj.Scaled"),
        ({"features": 3}, r"`features` is heads \* values = 2; got 3"),
        ({"init": {"query": 8}}, r"init\['query'\]` must be a shape, got 8"),
    ],
)
def test_cells_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        sj.matrix_state(**{
            "access": lambda p, x: None, "heads": 1, "keys": 2, "values": 2, "init": {}, **changes
        })  # fmt: skip


def test_inputs_may_be_images():
    """Two heads that read the rows of a picture."""

    def access(p, x):
        return sj.Access(*(scale * x[..., :2, :] for scale in (1.0, 0.5, 2.0)), rate=p)

    cell = sj.matrix_state(
        access, heads=2, keys=3, values=3, init=lambda key, n: jnp.float32(0.5), input_ndim=2
    )
    params, xs = cell.init(jax.random.key(0), 3), jnp.linspace(-1, 1, 150).reshape(5, 5, 2, 3)
    ys = [sj.scan(cell, params, xs, method=method)[1] for method in ("plain", "chunked")]
    assert ys[0].shape == (5, 5, 6)
    np.testing.assert_allclose(*ys, rtol=1e-5, atol=1e-6)
