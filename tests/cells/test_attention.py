"""Attention: its equations, its memory, and what its backward pass carries."""

import functools
import math

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core import attention
from seqjax.core.attention import Memory, attend, attend_in_tiles
from tests.jaxprs import array_bytes, loops
from tests.parameters import drawn

FORMS = {
    "additive": {"score": "additive"},
    "multiplicative": {"score": "multiplicative"},
    "additive_feeding": {"score": "additive", "input_feeding": True},
    "multiplicative_feeding": {"score": "multiplicative", "input_feeding": True},
}


def made(score="additive", input_feeding=False, batch=(2,), places=5):
    cell = sj.attentive(
        sj.gru(3), 4, features=3, attention=6, score=score, input_feeding=input_feeding
    )
    params, random = drawn(cell, 2), np.random.default_rng(1)
    dtype = params.weights["query"].dtype
    values, xs = (
        random.standard_normal((*batch, *shape)).astype(dtype) for shape in ((places, 4), (7, 2))
    )
    lengths = np.array([places, 2])[: batch[0], None] if batch else places
    return cell, params, *map(jnp.asarray, (values, np.arange(places) < lengths, xs))


@pytest.mark.parametrize("form", FORMS)
def test_equations(form, x64):
    cell, params, values, valid, xs = made(**FORMS[form])
    inner, weights = sj.gru(3), params.weights

    @jax.jit
    def run(params):
        ready = sj.attend_to(params, values, valid)
        return sj.scan(cell, ready, xs)[1], sj.trajectory(cell, ready, xs).weights

    ys, looked = jax.device_get(run(params))
    step = jax.jit(inner.step)
    for row in range(2):
        carry, y = inner.initial_carry(params.cell), np.zeros(3)
        memory = np.asarray(values)[row, np.asarray(valid)[row]]
        for t, x in enumerate(np.asarray(xs)[row]):
            seen = np.concatenate([x, y]) if "feeding" in form else x
            carry, h = step(params.cell, carry, seen)
            h = np.asarray(h)
            query, keys = h @ weights["query"], memory @ weights["key"]
            if form.startswith("additive"):
                score = np.tanh(query + keys) @ weights["score"]
            else:
                score = keys @ query
            share = np.exp(score - score.max()) / np.exp(score - score.max()).sum()
            read = share @ memory
            y = np.tanh(np.concatenate([h, read]) @ weights["output"] + weights["bias"])
            np.testing.assert_allclose(ys[row, t], y, rtol=1e-9)
            np.testing.assert_allclose(looked[row, t, : len(share)], share, rtol=1e-9)
            assert (looked[row, t, len(share) :] == 0).all()


@pytest.mark.parametrize("form", FORMS)
def test_nothing_of_padding_is_read(form):
    """Where there is nothing else, zeros are."""
    cell, params, values, valid, xs = made(**FORMS[form])

    @jax.jit
    @jax.value_and_grad
    def loss(values, valid):
        ready = sj.attend_to(params, values, valid)
        return jnp.square(sj.scan(cell, ready, xs)[1]).sum()

    keep = np.asarray(valid)
    spoiled = np.where(keep[..., None], values, np.nan)
    (clean, d_clean), (same, d_same) = (jax.device_get(loss(v, valid)) for v in (values, spoiled))
    np.testing.assert_array_equal(clean, same)
    np.testing.assert_array_equal(d_clean, d_same)
    assert (d_same[~keep] == 0).all()
    value, gradient = loss(values, np.zeros_like(keep))
    assert np.isfinite(value) and (gradient == 0).all()


@pytest.fixture
def row_by_row(monkeypatch):
    """Attention that reads for one row at a time: seven queries, eleven places."""
    monkeypatch.setattr(attention, "READ_BYTES", 7 * 11 * 6 * 4)
    jax.clear_caches()
    yield
    jax.clear_caches()


@pytest.mark.parametrize("form", FORMS)
def test_the_backward_loop_neither_carries_nor_makes_the_memory(form, row_by_row):
    """No loop over time or rows carries anything as large as the memory or a weight."""
    cell, params, values, valid, xs = made(**FORMS[form], places=11)

    def loss(params, values):
        ready = sj.attend_to(params, values, valid)
        return sj.scan(cell, ready, xs)[1].sum()

    jaxpr = jax.make_jaxpr(jax.grad(loss, (0, 1)))(params, values).jaxpr
    steps = [loop for loop in loops(jaxpr) if loop.innermost]
    assert len(steps) >= 2
    for loop in steps:
        # The state of two rows: the hidden state, the output, and one share for each place.
        assert all(math.prod(shape) <= 2 * 11 for shape in loop.carry), loop.carry
        assert not any((4, 6) in shapes for shapes in loop.products), "keys are made in a loop"


SHAPES = {
    "rows": ((5,), (5,)),
    "rows_of_rows": ((2, 3), (2, 3)),
    "unbatched": ((), ()),
    "shared": ((5,), ()),
    "shared_by_some": ((2, 3), (3,)),
    "of_beams": ((3, 2), (3, 1)),
}
QUERIES, PLACES, WIDTH = 7, 4, 6
QUERY_BYTES = PLACES * WIDTH * 8


def arguments(shape, owners, dtype=np.float64):
    random = np.random.default_rng(3)
    draw = lambda *shape: random.standard_normal(shape).astype(dtype)  # noqa: E731
    values, keys = draw(*owners, PLACES, 3), draw(*owners, PLACES, WIDTH)
    valid = random.random((*owners, PLACES)) < 0.7
    return values, keys, draw(*shape, QUERIES, WIDTH), draw(WIDTH), valid


def summed(function, values, keys, queries, vector, valid):
    found, weights = function(Memory(values, keys, valid), queries, vector)
    return jnp.sin(found).sum() + jnp.square(weights).sum(), (found, weights)


def derived(function):
    gradient = jax.value_and_grad(functools.partial(summed, function), range(4), has_aux=True)
    # Programs are not shared between sizes of tiles.
    return jax.jit(gradient)


@pytest.mark.parametrize("shape", SHAPES)
def test_many_queries_in_tiles(shape, x64, monkeypatch):
    """Of single queries, of some of a row, of one row, of two rows and a rest, of all."""
    given = arguments(*SHAPES[shape])
    wanted = derived(attend)(*given)
    for queries in (0, 3, QUERIES, 2 * QUERIES, 2**16):
        monkeypatch.setattr(attention, "READ_BYTES", max(1, queries * QUERY_BYTES))
        chex.assert_trees_all_close(
            derived(attend_in_tiles)(*given), wanted, rtol=1e-10, atol=1e-12
        )


def test_tiles_under_vmap(x64, monkeypatch):
    monkeypatch.setattr(attention, "READ_BYTES", 2 * QUERIES * QUERY_BYTES)
    given = arguments((3, 5), (3, 5))
    tiles, wanted = (
        jax.jit(jax.vmap(derived(function), (0, 0, 0, None, 0)))(*given)
        for function in (attend_in_tiles, attend)
    )
    chex.assert_trees_all_close(tiles, wanted, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rows", [1, 2, 3, 5])
def test_a_loop_over_rows_adds_up_no_memory(rows, monkeypatch):
    """Neither loop carries memories, and no part of either holds more than what fits."""
    fits = rows * QUERIES * PLACES * WIDTH * 4
    monkeypatch.setattr(attention, "READ_BYTES", fits)
    values, keys, queries, vector, valid = arguments((64,), (64,), np.float32)
    program = jax.make_jaxpr(derived(attend_in_tiles))(values, keys, queries, vector, valid)
    found = loops(program.jaxpr)
    assert len(found) == 2
    assert {shape for loop in found for shape in loop.carry} == {vector.shape}
    wholes = values.nbytes + keys.nbytes + queries.nbytes
    assert max(array_bytes(program.jaxpr)) <= max(fits, wholes)


def test_beams_share_the_memory_of_their_row():
    from seqjax.core.attention import map_memories

    cell, params, values, valid, xs = made()
    ready = sj.attend_to(params, values, valid)
    shared = map_memories(lambda memory: memory.beside(0), ready)
    x = np.asarray(xs)[:, 0]
    several = np.stack([x, 2 * x], 1)
    step = jax.jit(cell.step)
    _, y = step(shared, cell.initial_carry(shared, (2, 2)), several)
    for beam in range(2):
        _, alone = step(ready, cell.initial_carry(ready, (2,)), several[:, beam])
        np.testing.assert_allclose(y[:, beam], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sj.attentive(sj.gru(3), 4, score="dot"), "'additive', 'multiplicative'; got"),
        (lambda: sj.attentive(sj.bidirectional(sj.gru(3)), 4), "has no step"),
        (
            lambda: sj.attend_to(made()[1], jnp.ones((2, 5, 3))),
            "4 wide, its memory_features; got 3",
        ),
        (lambda: sj.attend_to(made()[1], jnp.ones(4)), r"must be \(\*batch, positions, width\)"),
        (
            lambda: sj.attend_to(made()[1], jnp.ones((2, 5, 4)), jnp.ones((2, 4), bool)),
            r"bool of the shape \(2, 5\)",
        ),
        (lambda: sj.attend_to({"a": jnp.ones(3)}, jnp.ones((5, 4))), "not the parameters of an"),
        (lambda: sj.scan(*made()[:2], made()[4]), "no memory to read. Pass sj.attend_to"),
    ],
)
def test_errors(call, message):
    with pytest.raises((ValueError, TypeError), match=message):
        call()
