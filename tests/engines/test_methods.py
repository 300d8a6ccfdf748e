"""Methods as values: what they hold, what they refuse, and where they can be used."""

import chex
import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqjax as sj
from seqjax.engines.methods import BY_NAME, METHODS, as_method
from seqjax.testing import check_cell

CELL = sj.gru(3)
XS = jax.random.normal(jax.random.key(1), (2, 7, 2))


@pytest.fixture(scope="module")
def params():
    return CELL.init(jax.random.key(0), 2)


def test_a_name_is_the_method_with_its_defaults():
    classes = [
        sj.Auto,
        sj.Plain,
        sj.Recompute,
        sj.Store,
        sj.Fused,
        sj.Associative,
        sj.Chunked,
        sj.Newton,
    ]
    assert [as_method(name) for name in METHODS] == [make() for make in classes]
    assert as_method(sj.Store(tile=3)) == sj.Store(3) != as_method("store")
    assert len({*BY_NAME.values(), *(make() for make in classes)}) == len(METHODS)


def test_they_print_as_they_are_written():
    assert repr(sj.Chunked(chunk=64, inside="parallel")) == "Chunked(chunk=64, inside='parallel')"
    assert repr(sj.Recompute()) == "Recompute()"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sj.Recompute(tile=0), "Recompute: `tile` must be a positive whole number, got 0"),
        (lambda: sj.Store(forward_tile=2.5), "Store: `forward_tile`.*got 2.5"),
        (lambda: sj.Chunked(tile=True), "Chunked: `tile`.*got True"),
        (lambda: sj.Chunked(chunk=12), "Chunked: `chunk` must be a power of two, got 12"),
        (lambda: sj.Chunked(block=-4), "Chunked: `block`.*got -4"),
        (lambda: sj.Chunked(strong_block=3), "Chunked: `strong_block`.*power of two, got 3"),
        (lambda: sj.Chunked(inside="loop"), "`inside` must be 'steps', 'parallel' or None"),
        (lambda: sj.Chunked(4, inside="steps"), "leave out `chunk`, got 4"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_method_of_another_kind_of_cell_is_told_as_it_was_written(params):
    for method, spelled in (
        ("chunked", "'chunked'"),
        (sj.Chunked(), "'chunked'"),
        (sj.Chunked(4), "Chunked.chunk=4."),
        (sj.Associative(), "'associative'"),
    ):
        with pytest.raises(ValueError, match=f"method={spelled} needs cells that are linear"):
            sj.scan(CELL, params, XS, method=method)


def test_wherever_a_cell_is_run(params):
    """The same numbers by name, by value, and plain."""
    value = sj.Recompute(tile=2, forward_tile=3)
    wanted = sj.scan(CELL, params, XS, method="plain")
    rnn = sj.nn.RNN(CELL, 2, rngs=nnx.Rngs(0))
    for method in ("recompute", value):
        got = sj.scan(CELL, params, XS, method=method)
        chex.assert_trees_all_close(got, wanted, rtol=1e-5)
        states = sj.trajectory(CELL, params, XS, method=method)
        chex.assert_trees_all_close(states, wanted[1], rtol=1e-5)
        _, total = sj.scan_sum(jnp.sum, CELL, params, XS, checkpoint_every=4, method=method)
        chex.assert_trees_all_close(total, wanted[1].sum(), rtol=1e-5)
        ys = rnn(XS, method=method)[1]
        chex.assert_trees_all_close(ys, rnn(XS, method="plain")[1], rtol=1e-5)
    check_cell(sj.elman(2), in_features=2, methods=(value,))


def test_sizes_are_obeyed(params):
    """More tiles, more carries between them and fewer gates at once: another program each."""

    def program(method):
        loss = lambda p: sj.scan(CELL, p, XS, method=method)[1].sum()  # noqa: E731
        return jax.jit(jax.grad(loss)).lower(params).as_text()

    tiles = [program(sj.Recompute(tile=tile)) for tile in (1, 3, 7)]
    assert len(set(tiles)) == 3
    assert program(sj.Recompute(tile=7)) == program("recompute")
    assert program(sj.Store(tile=7)) == program("auto") != program("recompute")


def test_equal_methods_are_compiled_once(params):
    run = jax.jit(lambda p, method: sj.scan(CELL, p, XS, method=method), static_argnames="method")
    run(params, sj.Recompute(tile=2))
    run(params, sj.Recompute(tile=2))
    assert run._cache_size() == 1
