"""Every mistake gets one message: what was expected, what came, what to change."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest
from flax import nnx

import seqjax as sj
from tests.table import CELLS

cell = sj.lstm(4)
params = cell.init(jax.random.key(0), 3)
xs = jnp.ones((2, 5, 3))


def scan(**options):
    given = {"cell": cell, "params": params, "xs": xs} | options
    return sj.scan(given.pop("cell"), given.pop("params"), given.pop("xs"), **given)


class Pair(NamedTuple):
    hidden: object
    other: object


MISTAKES = {
    "not a cell": (lambda: scan(cell=sj.lstm), TypeError, "call the function"),
    "too few dims": (lambda: scan(xs=jnp.ones(3)), ValueError, "batch, time"),
    "wrong width": (lambda: scan(xs=jnp.ones((2, 5, 4))), ValueError, r"width 3.*\(2, 5, 4\)"),
    "wrong width of a cell of one width": (
        lambda: scan(cell=sj.rwkv7_time_mix(3), xs=jnp.ones((2, 5, 4))), ValueError,
        r"^rwkv7_time_mix\(3\): expected inputs of width 3.*\(2, 5, 4\)",
    ),
    "images of another size": (
        lambda: scan(
            cell=(c := sj.conv_gru(4, space=(6,))), params=c.init(jax.random.key(0), 3),
            xs=jnp.ones((2, 5, 7, 3)),
        ), ValueError, r"^conv_gru\(4, space=\(6,\)\): expected images of \(6,\) .*; got \(7,\)",
    ),
    "another cell's parameters": (
        lambda: scan(cell=sj.gru(4)), ValueError,
        r"^gru\(4\): expected parameters .*, with 'recurrent_bias'; got 'bias', 'input'",
    ),
    "parameters of another kind of cell": (
        lambda: scan(cell=sj.lru(4)), ValueError,
        r"^lru\(4\): expected parameters of `init\(key, 3\)` of .*, with .*; got 'bias', 'input'",
    ),
    "other gates": (
        lambda: scan(cell=sj.elman(4)), ValueError,
        r"^elman\(4\): expected parameters .*'bias' of shape \(1, 4\); got shape \(4, 4\)",
    ),
    "parameters of another width": (
        lambda: scan(params=sj.lstm(5).init(jax.random.key(0), 3)), ValueError,
        r"^lstm\(4\): .*`init\(key, 3\)`.*'bias' of shape \(4, 4\); got shape \(4, 5\)",
    ),
    "in a stack": (
        lambda: scan(
            cell=sj.stack(sj.dense(4), sj.gru(4)),
            params=sj.stack(sj.dense(5), sj.gru(4)).init(jax.random.key(0), 3),
        ), ValueError,
        r"^stack.*'dense_0.bias' of shape \(4,\); got shape \(5,\)",
    ),
    "in both directions": (
        lambda: scan(
            cell=sj.bidirectional(sj.gru(4)),
            params=sj.bidirectional(sj.gru(5)).init(jax.random.key(0), 3),
        ), ValueError,
        r"^bidirectional\(gru\(4\)\): .*'forward.bias' of shape \(3, 4\); got shape \(3, 5\)",
    ),
    "in a step": (
        lambda: cell.step(
            sj.lstm(5).init(jax.random.key(0), 3), cell.initial_carry(params), xs[0, 0]
        ), ValueError, r"'bias' of shape \(4, 4\); got shape \(4, 5\)",
    ),
    "parameters that put out more": (
        lambda: scan(cell=sj.lru(4), params=sj.lru(5).init(jax.random.key(0), 3)), ValueError,
        r"^lru\(4\): .*4\).*; got shape .*5",
    ),
    "no parameters": (lambda: scan(params=None), ValueError, r"'recurrent'; got None"),
    "no parameters for a carry": (
        lambda: cell.initial_carry(None), ValueError, r"`init\(key, in_features\)`.*; got None",
    ),
    "a batch size for a carry": (
        lambda: cell.initial_carry(params, 5), ValueError, r"tuple such as \(2,\) or \(\); got 5",
    ),
    "a seed": (
        lambda: sj.mamba_block(4).init(0, 4), ValueError,
        r"^mamba_block\(4\): .*jax.random.key\(0\).*; got 0 and 4",
    ),
    "streams of Flax": (
        lambda: cell.init(nnx.Rngs(0), 3), ValueError, "^lstm.*random.key.*; got an object Rngs",
    ),
    "arguments swapped": (
        lambda: cell.init(3, jax.random.key(0)), ValueError, "got 3 and a key",
    ),
    "a list of arrays": (lambda: scan(xs=list(xs)), ValueError, "one array, got a list"),
    "a list of lengths": (
        lambda: scan(xs=[[[1.0] * 3] * 2, [[1.0] * 3]]), ValueError, "several lengths.*`lengths`",
    ),
    "a step with a carry of another batch": (
        lambda: cell.step(params, cell.initial_carry(params, (5,)), xs[:, 0]), ValueError,
        r"batch \(2,\), with 'hidden' of shape \(2, 4\); got shape \(5, 4\)",
    ),
    "a step with a sequence": (
        lambda: cell.step(params, cell.initial_carry(params, (5,)), xs), ValueError,
        r"inputs of shape \(2, 5, 3\).* \(2, 5, 4\); got shape \(5, 4\).*sj.scan",
    ),
    "a step that would widen its carry": (
        lambda: (c := sj.retention(4, heads=2)).step(
            p := c.init(jax.random.key(0), 3), c.initial_carry(p), xs[:, 0]
        ), ValueError, r"^retention\(4, heads=2\): expected a carry for inputs of shape \(2, 3\)",
    ),
    "a step with a carry of another cell": (
        lambda: cell.step(params, jnp.ones((2, 4)), xs[:, 0]), ValueError,
        "'hidden', 'cell'; got one array",
    ),
    "a layer of another width than it says": (
        lambda: scan(
            cell=sj.pointwise(lambda p, x: x, features=2, init=lambda key, width: ()), params=()
        ), ValueError, "outputs of width 2, as `features` says; got 3",
    ),
    "nothing": (lambda: scan(xs={}), ValueError, "no arrays"),
    "mask dtype": (lambda: scan(mask=jnp.ones((2, 5))), TypeError, "bool.*float32"),
    "mask shape": (lambda: scan(mask=jnp.ones((5,), bool)), ValueError, r"\(2, 5\)"),
    "resets shape": (lambda: scan(resets=jnp.ones((2, 4), bool)), ValueError, "resets"),
    "lengths dtype": (lambda: scan(lengths=jnp.ones(2)), TypeError, "whole numbers"),
    "lengths bool": (lambda: scan(lengths=jnp.ones(2, bool)), TypeError, "mask="),
    "lengths shape": (lambda: scan(lengths=jnp.array([5])), ValueError, r"\(2,\)"),
    "lengths too long": (lambda: scan(lengths=jnp.array([5, 6])), ValueError, "0 and the 5"),
    "lengths negative": (lambda: scan(lengths=jnp.array([5, -1])), ValueError, "0 and the 5"),
    "truncate": (lambda: scan(truncate=0), ValueError, "positive whole number"),
    "checkpoint": (lambda: scan(checkpoint_every=2.5), ValueError, "positive whole number"),
    "reverse": (lambda: scan(reverse="yes"), TypeError, "True or False"),
    "method": (
        lambda: scan(method="fast"), ValueError, "'chunked', 'newton'; got 'fast'",
    ),
    "method of another cell": (
        lambda: scan(cell=CELLS["not_gated"], params={"decay": jnp.ones(3)}, method="store"),
        ValueError, "show which products.*'auto'",
    ),
    "sum of a cell without a step": (
        lambda: sj.scan_sum(jnp.sum, sj.bidirectional(cell), params, xs), ValueError, "sj.scan",
    ),
    "others of a sum": (
        lambda: sj.scan_sum(lambda ys, t: t.sum(), cell, params, xs, (jnp.ones((2, 4)),)),
        ValueError, r"\(2, 5\).*\(2, 4\)",
    ),
    "carry structure": (
        lambda: scan(carry=jnp.ones((2, 4))), ValueError, "'hidden', 'cell'; got one array",
    ),
    "carry shape": (
        lambda: scan(carry=cell.initial_carry(params)), ValueError, r"hidden.*\(2, 4\).*\(4,\)",
    ),
    "features": (lambda: sj.lstm(0), ValueError, "positive whole number, got 0"),
    "features float": (lambda: sj.gru(2.0), ValueError, "positive whole number"),
    "in_features": (lambda: cell.init(jax.random.key(0), 0), ValueError, "in_features"),
    "array argument": (
        lambda: sj.lstm(4, forget_bias=jnp.ones(4)), TypeError, "hashable.*no arrays",
    ),
    "gru reset": (lambda: sj.gru(4, reset="never"), ValueError, "'after' or 'before'"),
    "blocks": (lambda: sj.gru(4, blocks=3), ValueError, "does not divide"),
    "chrono": (lambda: sj.initializers.Chrono(2), ValueError, "at least 3"),
    "state class": (
        lambda: sj.gated(lambda h, x, r: h, features=2, gates=1, state=dict), ValueError,
        "NamedTuple",
    ),
    "hidden field": (
        lambda: sj.gated(lambda h, x, r: h, features=2, gates=1, state=Pair, hidden="cell"),
        ValueError, r"\['hidden', 'other'\]",
    ),
    "modulate alone": (
        lambda: sj.gated(lambda h, x, r: h, features=2, gates=1, modulated=1), ValueError,
        "go together",
    ),
    "gates of the input alone": (
        lambda: sj.gated(lambda h, x, r: h, features=2, gates=1, input_gates=1), ValueError,
        "`input_gates` must be fewer than `gates=1`, and not negative; got 1",
    ),
    "no room for recurrent weights": (
        lambda: sj.gru(2, recurrent_limit=0.0), ValueError,
        "`recurrent_limit` must be above 0, got 0.0",
    ),
    "taken name": (
        lambda: sj.gated(
            lambda h, x, r, p: h, features=2, gates=1,
            parameters={"bias": sj.initializers.Constant()},
        ), ValueError, "belong to gated",
    ),
    "gated without input weights, from another width": (
        lambda: sj.gated(lambda h, x, r: h, features=2, gates=3, input_weights=False).init(
            jax.random.key(0), 4
        ), ValueError, "3 times 2 wide.*in_features=4",
    ),
    "empty stack": (lambda: sj.stack(), ValueError, "at least one"),
    "stack of functions": (lambda: sj.stack(sj.lstm), TypeError, "expected a Cell"),
    "residual width": (
        lambda: sj.residual(sj.gru(4)).init(jax.random.key(0), 3), ValueError, "as wide",
    ),
    "dropout rate": (lambda: sj.dropout(sj.gru(4), 1.0), ValueError, r"\[0, 1\)"),
    "zoneout of a stack": (
        lambda: sj.zoneout(sj.stack(sj.gru(4)), 0.1), ValueError, "around the cells inside",
    ),
    "zoneout rates": (
        lambda: sj.zoneout(sj.lstm(4), (0.1, 0.2, 0.3)), ValueError, "do not fit",
    ),
    "sum of two widths": (
        lambda: sj.bidirectional(sj.gru(4), sj.gru(3), merge="sum"), ValueError, "4 and 3",
    ),
    "merge": (lambda: sj.bidirectional(sj.gru(4), merge="mean"), ValueError, "'sum'"),
    "step of both directions": (
        lambda: sj.bidirectional(sj.gru(4)).step((), (), xs[:, 0]), TypeError, "whole sequence",
    ),
    "step of a stack of them": (
        lambda: sj.stack(sj.bidirectional(sj.gru(4))).step((), (), xs[:, 0]), TypeError,
        "no step",
    ),
    "cell without functions": (lambda: sj.Cell(None, None, None, 3), TypeError, "function"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(name):
    make, kind, message = MISTAKES[name]
    with pytest.raises(kind, match=message):
        make()


@pytest.mark.parametrize("name", ["minimal_gru(4)", "linear_attention(4, heads=2)"])
def test_errors_name_the_call_that_made_the_cell(name):
    cell = eval(f"sj.{name}")
    params = cell.init(jax.random.key(0), 3)
    carry = cell.initial_carry(params)
    for run in (lambda x: sj.scan(cell, params, x[None]), lambda x: cell.step(params, carry, x)):
        with pytest.raises(ValueError, match=f"^{re.escape(name)}: expected inputs of width 3"):
            run(jnp.ones(5))


def test_an_update_that_changes_the_shape_of_the_state():
    own = sj.gated(lambda h, x, r: h[..., :1], features=4, gates=1)
    with pytest.raises(ValueError, match="update.*must return a state like"):
        sj.scan(own, own.init(jax.random.key(0), 3), xs)


def test_an_update_that_forgets_a_leaf():
    own = sj.gated(lambda s, x, r: s.hidden, features=4, gates=1, state=Pair)
    with pytest.raises(ValueError, match="update.*must return a state like"):
        sj.scan(own, own.init(jax.random.key(0), 3), xs)


def test_lists_of_numbers_are_an_array():
    _, ys = scan(xs=xs.tolist())
    assert ys.shape == (2, 5, 4)
    assert (ys == scan()[1]).all()


def test_the_error_of_a_step_of_ones_own_is_left_alone():
    def step(params, carry, x):
        raise ValueError("not today")

    own = sj.Cell(lambda key, width: (), lambda params, batch_shape=(): (), step, 3)
    for run in (lambda: sj.scan(own, (), xs), lambda: own.step((), (), xs[:, 0])):
        with pytest.raises(ValueError, match="^not today"):
            run()


def test_cells_of_equal_functions_are_equal():
    functions = cell.init, cell.initial_carry, cell.step
    assert sj.Cell(*functions, 4) == sj.Cell(*functions, 4)
    assert hash(sj.Cell(*functions, 4)) == hash(sj.Cell(*functions, 4))
