"""Programs for export: with open sizes, and written to a file and read again."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import export

import seqjax as sj
from tests import exports
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

"""A symbol of `jax.export` is no `int`."""

# Every engine, and every way of putting cells together that asks for sizes.
OPEN = (
    "lstm", "not_gated", "short_convolution", "minimal_gru", "lru", "rwkv4_time_mix",
    "gated_delta_net", "mlstm_block", "rwkv7_model", "attentive", "conv_lstm", "all_together",
    "bidirectional_inside", "retention", "sliding_window_attention",
)  # fmt: skip


def _open(*sizes):
    """Inputs of which some sizes are symbols."""
    shape = export.symbolic_shape(", ".join(map(str, (*sizes, IN_FEATURES))))
    return jax.ShapeDtypeStruct(shape, jnp.float32)


@pytest.mark.parametrize("name", OPEN)
def test_a_batch_and_time_of_any_size(name):
    cell = CELLS[name]
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), IN_FEATURES))
    xs = _open("rows", "steps")
    _, ys = jax.eval_shape(lambda params, xs: sj.scan(cell, params, xs), params, xs)
    assert ys.shape == (*xs.shape[:2], cell.features)


def test_an_exported_program_runs_on_every_size():
    cell = sj.stack(sj.lstm(4), sj.minimal_gru(4), sj.linear_attention(4, heads=2))
    params = drawn(cell, IN_FEATURES)
    run = jax.jit(
        lambda params, xs, lengths: sj.scan(cell, params, xs, lengths=lengths, reverse=True)
    )
    xs = _open("rows", "steps")
    lengths = jax.ShapeDtypeStruct(xs.shape[:1], jnp.int32)
    exported = export.export(run)(params, xs, lengths)
    for rows, steps in ((1, 4), (3, 7)):
        xs = np.random.default_rng(0).standard_normal((rows, steps, IN_FEATURES), np.float32)
        lengths = np.arange(rows) + 2
        got = exported.call(params, xs, lengths.astype(np.int32))
        wanted = sj.scan(cell, params, xs, lengths=lengths, reverse=True)
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, wanted
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "store"}, "method='store' goes by the sizes.*'auto' or 'plain'"),
        ({"checkpoint_every": 2}, "number must be known; got steps. Leave it out"),
    ],
)
def test_what_needs_a_number_says_so(options, message):
    cell = CELLS["lstm"]
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), IN_FEATURES))
    run = lambda params, xs: sj.scan(cell, params, xs, **options)  # noqa: E731
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(run, params, _open(2, "steps"))


def test_every_record_of_a_cell_can_be_written():
    """Parameters and carries of all cells, in one program."""
    pytest.importorskip("flatbuffers", reason="what exported programs are written with")

    def forms(cell):
        params = cell.init(jax.random.key(0), IN_FEATURES)
        return params, cell.initial_carry(params, (2,))

    trees = jax.eval_shape(lambda: {n: forms(cell) for n, cell in CELLS.items() if n != "flax_gru"})
    saved = export.export(jax.jit(lambda trees: trees))(trees).serialize()
    assert (
        jax.tree.structure(trees) == export.deserialize(saved).in_tree.children()[0].children()[0]
    )


@pytest.mark.parametrize("name", ["minimal_gru", "gated_delta_net", "conv_lstm"])
def test_a_program_for_all_platforms_goes_by_the_sizes_of_each(name):
    """What is lowered for a platform is what a program for that platform alone is."""
    cell = CELLS[name]
    run = functools.partial(exports.program, cell)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), IN_FEATURES))
    carry = jax.eval_shape(lambda params: cell.initial_carry(params, (2,)), params)
    xs = jax.ShapeDtypeStruct((2, 7, IN_FEATURES), jnp.float32)

    def operations(platform, *platforms):
        traced = run(sj.Auto(platforms=platforms)).trace(params, carry, xs)
        text = traced.lower(lowering_platforms=(platform,)).as_text()
        return sorted(
            re.findall(r"stablehlo\.(?:while|dot_general|convolution|exp\w+|slice)", text)
        )

    for platform in ("cpu", "tpu"):
        assert operations(platform, *exports.PLATFORMS) == operations(platform, platform)
    assert operations("cpu", "cpu") != operations("tpu", "tpu")


def test_a_program_for_all_platforms_runs_on_this_one():
    cell = CELLS["minimal_gru"]
    params, xs = drawn(cell, IN_FEATURES), np.ones((2, 7, IN_FEATURES), np.float32)
    carry = cell.initial_carry(params, (2,))
    got = exports.exported(cell, sj.Auto(platforms=exports.PLATFORMS)).call(params, carry, xs)
    wanted = exports.program(cell, sj.Auto())(params, carry, xs)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), got, wanted)


def test_platforms_are_those_of_jax():
    with pytest.raises(ValueError, match="Auto: `platforms` must be a tuple of some of .*'gpu'"):
        sj.Auto(platforms=("gpu",))
    with pytest.raises(ValueError, match="Store: `platforms` must be a tuple"):
        sj.Store(platforms="cpu")
