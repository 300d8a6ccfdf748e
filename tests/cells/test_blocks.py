"""Blocks of language models: the whole at once is the same as step by step."""

import inspect

import chex
import jax
import numpy as np
import pytest

import seqjax as sj
from seqjax.cells.block_stack import TRUNKS
from seqjax.cells.catalogue import CATALOGUE
from tests.parameters import drawn
from tests.rows import thorough_but

VAR_KEYWORD = inspect.Parameter.VAR_KEYWORD


NEW = ("comba", "gated_delta_net2", "gated_delta_product", "m2rnn")
"""Blocks of the same parts as another one's here, whose cells have laws of their own."""


@pytest.mark.parametrize("name", thorough_but([n for n in TRUNKS if n not in NEW], TRUNKS))
def test_a_stack_of_blocks_runs_step_by_step(name, x64):
    cell = sj.block_stack(name, 8, layers=2)
    params = drawn(cell, 8, scale=0.3)
    xs = np.random.default_rng(1).standard_normal((2, 7, 8))
    resets = np.zeros((2, 7), bool)
    # What begins at the reset stands in the second row as a sequence of its own.
    resets[0, 3], xs[1, :4] = True, xs[0, 3:]
    # By "auto", memories as small as here go step by step.
    method = "auto" if name in ("m2rnn", "xlstm") else "chunked"

    @jax.jit
    def run(params, xs):
        return [sj.scan(cell, params, xs, resets=resets, method=m) for m in (method, "plain")]

    (carry, ys), wanted = jax.device_get(run(params, xs))
    chex.assert_trees_all_close((carry, ys), wanted, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ys[0, 3:], ys[1, :4], rtol=1e-9, atol=1e-9)


def test_a_pattern_is_repeated_and_each_option_goes_where_it_belongs():
    """Options of one kind of block, of two kinds, and of none."""
    cell = sj.block_stack(
        ["griffin", "griffin", "attention"], 8, layers=5, window=4, inner=6, heads=2
    )
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))
    assert sorted(params["blocks"]) == [
        "attention_block_2", "griffin_block_0", "griffin_block_1", "griffin_block_3",
        "griffin_block_4",
    ]  # fmt: skip
    assert params["blocks"]["attention_block_2"]["time"]["cell"]["query"].shape == (8, 2, 4)
    assert params["blocks"]["griffin_block_3"]["time"]["cell"]["output"]["weights"].shape == (6, 8)
    carry = jax.eval_shape(lambda: cell.initial_carry(drawn(cell, 8), (3,)))
    assert carry["blocks"]["attention_block_2"]["time"]["cell"].keys.shape == (3, 4, 2, 4)
    for entry in CATALOGUE:
        kinds = [p.kind for p in inspect.signature(entry.make).parameters.values()]
        assert entry.family != "block" or (entry.inside is not None) == (VAR_KEYWORD in kinds)
    with pytest.raises(TypeError, match=r"no block of \['griffin', 'attention'\] takes 'state'"):
        sj.block_stack(["griffin", "attention"], 8, layers=2, state=3)


def test_a_pattern_runs_step_by_step(x64):
    """A convolution, a memory and attention, each as fast as it can."""
    cell = sj.block_stack(["mamba2", "attention"], 8, layers=2, window=3)
    params = drawn(cell, 8, scale=0.3)
    xs = np.random.default_rng(1).standard_normal((2, 7, 8))
    run = jax.jit(lambda p, x: [sj.scan(cell, p, x, method=m) for m in ("chunked", "plain")])
    fast, plain = run(params, xs)
    chex.assert_trees_all_close(fast, plain, rtol=1e-9, atol=1e-9)


def test_a_trunk_of_rwkv_begins_with_a_norm_whatever_its_length():
    for name in ("rwkv4", "rwkv6", "rwkv7"):
        for layers in (1, 2):
            params = drawn(sj.block_stack(name, 8, layers=layers), 8)
            assert sorted(params) == ["blocks", "first_norm", "last_norm"]
            assert sorted(params["first_norm"]) == ["bias", "gain"]


def test_which_trunks_end_with_a_layer_norm():
    """The others have no bias: theirs is a root mean square."""
    last = {name: drawn(sj.block_stack(name, 8, layers=1), 8)["last_norm"] for name in TRUNKS}
    of_layers = {name for name, norm in last.items() if "bias" in norm}
    assert of_layers == {"retnet", "rwkv4", "rwkv6", "rwkv7", "xlstm"}


def test_the_two_trunks_of_xlstm():
    """One block in eight has scalar memories; that of 7B has none, and its own start."""
    blocks = drawn(sj.block_stack("xlstm", 8, layers=10), 8)["blocks"]
    scalar = {name for name in blocks if name.startswith("slstm_block")}
    assert scalar == {"slstm_block_1", "slstm_block_9"} and len(blocks) == 10
    assert "convolve" in blocks["mlstm_layer_2"]["cell"]
    blocks = sj.block_stack("xlstm_7b", 8, layers=2).init(jax.random.key(0), 8)["blocks"]
    assert blocks["mlstm_block_1"]["time"]["cell"]["input_bias"].tolist() == [-10.0] * 4


def test_gates_of_a_wide_griffin_have_blocks():
    params = jax.eval_shape(lambda: sj.griffin_block(512).init(jax.random.key(0), 512))
    recurrence = params["time"]["cell"]["branches"]["recurrent"]["memory"]
    assert recurrence["input"].shape == (2, 342, 2, 342)


def test_no_such_block():
    with pytest.raises(ValueError, match="no block 'rwkv9'.*xlstm"):
        sj.block_stack("rwkv9", 8, layers=2)
    for pattern, missing in ((["mamba", "hawk"], "hawk"), ([], "")):
        with pytest.raises(ValueError, match=f"no block '{missing}'.*'griffin'"):
            sj.block_stack(pattern, 8, layers=2)


def test_products_are_of_one_width():
    with pytest.raises(ValueError, match=r"one width, got \[3, 4\]"):
        sj.product(sj.gru(3), sj.gru(4))


OPTIONS = {
    "gated_delta_net": {"key_heads": 1, "key_width": 2, "convolution_bias": False, "hidden": 5},
    "hawk": {"inner": 6, "blocks": 2, "convolution": 2, "hidden": 5, "bias": True},
    "mamba": {"inner": 5, "state": 3, "rank": 3, "width": 2, "convolution_bias": False},
    "mamba2": {"inner": 12, "states": 3, "convolution": 2, "bias": True, "heads": 2},
    "retnet": {"norm": "rms", "value_factor": 1, "hidden": 5},
    "rwkv4": {"inner": 6, "hidden": 5},
    "rwkv6": {"mix_rank": 3, "decay_rank": 5, "hidden": 6},
    "rwkv7": {"decay_rank": 1, "rate_rank": 2, "gate_rank": 4, "hidden": 5},
    "xlstm": {"convolution": 2},
    "xlstm_7b": {"key_features": 8, "heads": 2, "hidden": 5},
}


@pytest.mark.parametrize("name", OPTIONS)
def test_blocks_pass_their_options_on(name):
    """Each alone changes the number of parameters; an option that no part has is refused."""

    def sizes(**options):
        cell = sj.block_stack(name, 8, layers=2, **options)
        blocks = jax.eval_shape(lambda: cell.init(jax.random.key(0), 8))["blocks"]
        return [sum(leaf.size for leaf in jax.tree.leaves(block)) for block in blocks.values()]

    usual = sizes()
    for option, value in OPTIONS[name].items():
        pairs = zip(sizes(**{option: value}), usual, strict=True)
        assert all(made != of_default for made, of_default in pairs), option
    assert sizes(norm_epsilon=1e-3) == usual
    with pytest.raises(TypeError, match="unexpected keyword argument 'spin'"):
        sizes(spin=1)
