"""Inputs of whole numbers, and numbers that narrow floats cannot hold."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from tests.parameters import drawn
from tests.table import CELLS as EVERY_CELL
from tests.table import IN_FEATURES

CELLS = {
    "dense": sj.dense(4),
    "rms_norm": sj.rms_norm(4),
    "layer_norm": sj.layer_norm(4),
    "short_convolution": sj.short_convolution(4),
    "gru": sj.gru(4),
    "minimal_gru": sj.minimal_gru(4),
    "lru": sj.lru(4),
    "mlstm": sj.mlstm(4, heads=2),
    "minimal_gru_block": sj.minimal_gru_block(4),
    "griffin_block": sj.griffin_block(4, inner=4),
    "gated_delta_net_block": sj.gated_delta_net_block(4, heads=2),
    "mlstm_block": sj.mlstm_block(4, heads=2),
    "slstm_block": sj.slstm_block(4, heads=2),
    "rwkv7_block": sj.rwkv7_block(4, heads=2),
}


@pytest.mark.parametrize("name", CELLS)
def test_whole_numbers_are_numbers(name):
    cell = CELLS[name]
    params = drawn(cell, 4)
    xs = np.random.default_rng(1).integers(-3, 4, (2, 3, 4), np.int32)
    got, wanted = (sj.scan(cell, params, inputs)[1] for inputs in (xs, xs.astype(np.float32)))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [sj.convolution, sj.conv_lstm, sj.conv_gru])
def test_pixels_may_be_bytes(make):
    cell = make(2, space=(4, 4))
    params = drawn(cell, 3)
    xs = np.random.default_rng(1).integers(0, 256, (2, 5, 4, 4, 3), np.uint8)
    got, wanted = (sj.scan(cell, params, inputs)[1] for inputs in (xs, xs.astype(np.float32)))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)


def test_complex_inputs_are_refused(x64):
    """A real state would keep the real part alone."""
    step, sequence = (
        jax.ShapeDtypeStruct((*lead, IN_FEATURES), jnp.complex128) for lead in ((2,), (2, 3))
    )
    for cell in EVERY_CELL.values():
        if cell is EVERY_CELL["not_gated"]:
            continue
        params = jax.eval_shape(lambda cell=cell: cell.init(jax.random.key(0), IN_FEATURES))
        said = f"{re.escape(cell.call)}: (expected real inputs|.*memory is real)"
        with pytest.raises((TypeError, ValueError), match=said):
            if cell.causal:
                start = jax.eval_shape(lambda p, cell=cell: cell.initial_carry(p, (2,)), params)
                jax.eval_shape(cell.step, params, start, step)
            else:
                jax.eval_shape(lambda p, x, cell=cell: sj.scan(cell, p, x), params, sequence)


@pytest.mark.parametrize("method", ["auto", "store", "plain"])
def test_complex_inputs_of_gated_cells_by_every_method(method):
    cell = sj.lstm(4)
    params = drawn(cell, 3)
    with pytest.raises(TypeError, match=r"real inputs.*got complex64.*x\.real, x\.imag"):
        sj.scan(cell, params, jnp.ones((2, 3, 3), jnp.complex64), method=method)


def test_complex_parameters_take_complex_inputs():
    cell = sj.elman(2, activation=lambda x: x)
    random = np.random.default_rng(0)
    params = jax.tree.map(
        lambda p: (random.standard_normal(p.shape) + 1j * random.standard_normal(p.shape)) / 2,
        cell.init(jax.random.key(0), 2),
    )
    xs = random.standard_normal((3, 2)) + 1j * random.standard_normal((3, 2))
    params, xs = jax.tree.map(lambda leaf: leaf.astype(np.complex64), (params, xs))
    h = np.zeros(2)
    for x in xs:
        h = x @ params["input"][:, 0] + h @ params["recurrent"][:, 0] + params["bias"][0]
    np.testing.assert_allclose(sj.scan(cell, params, xs)[0], h, rtol=1e-4)
    with pytest.raises(TypeError, match="must have a dtype like float32, got complex64"):
        sj.scan(cell, drawn(cell, 2), xs.real, h.astype(np.complex64))


def test_sums_of_an_slstm_go_on_growing():
    """A thousand steps up, a thousand steps down: in bfloat16 alone, 256 + 1 is 256."""
    cell = sj.slstm(1)
    params = cell.init(jax.random.key(0), 1)
    # The candidate follows the input, the other gates are open.
    weights = jnp.zeros_like(params["input"]).at[:, 2].set(9.0)
    open_gates = jnp.array([[0.0], [7.0], [0.0], [20.0]])
    params |= {"input": weights, "bias": open_gates.reshape(params["bias"].shape)}
    xs = jnp.where(jnp.arange(2000) < 1000, 1.0, -1.0)[:, None]
    _, wanted = sj.scan(cell, params, xs)
    carry, got = sj.scan(cell, sj.cast(params, jnp.bfloat16), xs.astype(jnp.bfloat16))
    assert got.dtype == jnp.bfloat16 and carry.normalizer.dtype == jnp.float32
    np.testing.assert_allclose(got.astype(jnp.float32), wanted, atol=0.03)


@pytest.mark.parametrize("bound", [0.53, 0.9, 1e-9])
def test_a_bounded_gate_that_is_open_keeps_what_is_there(bound):
    """Rounded to bfloat16, the logarithm of a factor of 1 may be above 0: the memory would grow."""
    cell = sj.hgrn2(2, heads=1, lower_bound=bound)
    params = sj.cast(cell.init(jax.random.key(0), 2), jnp.bfloat16)
    gate = jnp.full(params["forget"].shape, 50.0, jnp.bfloat16)
    xs = jnp.ones((2000, 2), jnp.bfloat16)
    carry = jax.tree.map(jnp.ones_like, cell.initial_carry(params))
    for method in ("plain", "chunked"):
        end, _ = sj.scan(cell, params | {"forget": gate}, xs, carry, method=method)
        np.testing.assert_allclose(end.memory, 1.0, atol=1e-3)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_])
def test_a_carry_of_whole_numbers_is_a_mistake(dtype):
    cell = sj.gru(4)
    params = cell.init(jax.random.key(0), 3)
    with pytest.raises(TypeError, match="dtype like float32, got"):
        sj.scan(cell, params, jnp.ones((5, 3)), jnp.zeros(4, dtype))
