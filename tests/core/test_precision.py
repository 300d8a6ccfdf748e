"""Mixed precision: what is narrow, what is not, and that it makes a difference."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core.parameter_kinds import name_of
from seqjax.core.precision import WIDE, Precision
from tests.table import IN_FEATURES, TABLE

POLICY = Precision(compute=jnp.bfloat16)
OTHERS = {"flax_gru", "not_gated"}
"""Cells whose parameters are not named by us."""

CELLS = {row.name: row.cell for row in TABLE if row.cell.causal and row.name not in OTHERS}


def dtypes(tree):
    return [leaf.dtype for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("name", CELLS)
def test_activations_are_as_narrow_as_with_narrow_decays(name):
    """And the carry is as it would be."""
    cell = CELLS[name]

    def step(convert):
        params = convert(cell.init(jax.random.key(0), IN_FEATURES))
        carry = cell.initial_carry(params)
        x = jnp.zeros(IN_FEATURES, jnp.bfloat16)
        return carry, cell.step(params, carry, x)

    narrow = jax.eval_shape(lambda: step(lambda params: sj.cast(params, jnp.bfloat16)))
    mixed = jax.eval_shape(lambda: step(POLICY.to_compute))
    assert dtypes(mixed) == dtypes(narrow)


def test_every_wide_name_is_one_of_a_cell():
    found = set()
    for cell in CELLS.values():
        params = jax.eval_shape(lambda cell=cell: cell.init(jax.random.key(0), IN_FEATURES))
        found |= {name_of(path) for path, _ in jax.tree_util.tree_leaves_with_path(params)}
    assert WIDE - found <= {"lower_bound", "lower_bounds", "router", "correction"}


def test_gradients_have_the_dtype_of_parameters():
    """Of a state that decays by 1/1000 in a step: in bfloat16 the decay would be 1."""
    cell = sj.lru(4)
    params = cell.init(jax.random.key(0), 3)
    params["nu"] = jnp.full_like(params["nu"], np.log(1e-3))
    copy = POLICY.to_compute(params)
    assert {name for name, leaf in copy.items() if leaf.dtype == jnp.float32} == {
        "gamma",
        "nu",
        "theta",
    }

    def loss(params):
        carry = cell.initial_carry(params)
        _, y = cell.step(POLICY.to_compute(params), carry, jnp.ones(3, jnp.bfloat16))
        return y.astype(jnp.float32).sum()

    assert set(dtypes(jax.grad(loss)(params))) == {jnp.dtype(jnp.float32)}


def leaky(features):
    """A state to which every step adds a thousandth of what is missing to 1."""
    return sj.gated(_leak, features=features, gates=1)


def _leak(state, x, r):
    return state + (1 - state) / 1000 + 0 * (x[0] + r[0])


def test_a_wide_carry_does_not_stall():
    ends = {}
    for name, make in (("narrow", leaky), ("wide", lambda n: sj.wide_carry(leaky(n)))):
        cell = make(2)
        params = POLICY.to_compute(cell.init(jax.random.key(0), 1))
        _, ys = jax.jit(
            lambda params, cell=cell: sj.scan(cell, params, jnp.zeros((3000, 1), jnp.bfloat16))
        )(params)
        assert ys.dtype == jnp.bfloat16
        ends[name] = float(ys[-1, 0])
    assert ends["wide"] == pytest.approx(1 - 0.999**3000, rel=1e-2)
    assert ends["narrow"] < 0.8


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "gru before"])
def test_in_float32_it_is_the_same(name):
    """Values and gradients, by the cell's own engine and by the plain way."""
    options = {"reset": "before"} if "before" in name else {}
    cell = getattr(sj, name.split()[0])(4, **options)
    wide = sj.wide_carry(cell)
    assert wide.name == cell.name and sj.wide_carry(cell) is wide
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (2, 5, 3))

    def loss(params, cell, method):
        _, ys = sj.scan(cell, params, xs, method=method)
        return jnp.sin(ys).sum()

    wanted = jax.jit(jax.value_and_grad(lambda params: loss(params, cell, "auto")))(params)
    for method in ("auto", "plain"):
        found = jax.jit(jax.value_and_grad(lambda params, m=method: loss(params, wide, m)))(params)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-5, atol=1e-6), found, wanted
        )


def test_linear_cells_need_none():
    cell = sj.wide_carry(sj.lru(4))
    assert cell.name == "lru" and cell.structure == sj.lru(4).structure
