"""Every mistake gets one message: what was expected, what came, what to change."""

import re
from typing import NamedTuple

import jax
import jax.numpy as jnp
import pytest

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
    "wrong width": (lambda: scan(xs=jnp.ones((2, 5, 4))), ValueError, "width 3.*4"),
    "another cell's parameters": (
        lambda: scan(cell=sj.gru(4)), ValueError,
        r"^gru\(4\): expected parameters .*, with 'recurrent_bias'; got 'bias', 'input'",
    ),
    "parameters of another kind of cell": (
        lambda: scan(cell=sj.lru(4)), ValueError,
        r"^lru\(4\): expected parameters of `init` of this cell, with .*; got 'bias', 'input'",
    ),
    "other gates": (
        lambda: scan(cell=sj.elman(4)), ValueError,
        r"^elman\(4\): expected parameters with 1 gates, got 4: they are another cell's",
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
        lambda: scan(method="fast"), ValueError, "'associative', 'chunked'; got 'fast'",
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
    "carry structure": (lambda: scan(carry=jnp.ones((2, 4))), ValueError, "structure"),
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
        lambda: sj.zoneout(sj.stack(sj.gru(4)), 0.1), ValueError, "each layer inside",
    ),
    "zoneout rates": (
        lambda: scan(cell=sj.zoneout(sj.lstm(4), (0.1, 0.2, 0.3))), ValueError, "do not fit",
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
