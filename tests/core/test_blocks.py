"""Checkpointed cells: the numbers of the cell, and little memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.core import blocks
from seqjax.core.steps import Steps
from seqjax.gradients import run_layers
from seqjax.testing import check_cell

CELL = sj.stack(sj.short_convolution(3, width=2), sj.minimal_gru(2))


@pytest.fixture
def short_stretches(monkeypatch):
    """Of two steps, whatever the size of the inputs."""
    monkeypatch.setattr(blocks, "WHOLE_BYTES", 0)
    monkeypatch.setattr(blocks, "STRETCH_BYTES", 1)
    monkeypatch.setattr(blocks, "FEWEST_STEPS", 2)
    jax.clear_caches()
    yield
    jax.clear_caches()


def test_laws(short_stretches):
    lengths = []

    def sequence(scan, params, carry, initial, xs, steps):
        lengths.append(xs.shape[0])
        return CELL.sequence(scan, params, carry, initial, xs, steps)

    watched = sj.Cell(CELL.init, CELL.initial_carry, CELL.step, 2, sequence=sequence)
    check_cell(sj.checkpointed(watched), in_features=3, methods=("auto",), thorough=False)
    assert max(lengths) == 2


@pytest.mark.parametrize("rows, time, stretch", [(1, 4096, None), (1, 8192, 1024), (8, 4096, 128)])
def test_length_of_the_stretches(rows, time, stretch):
    asked = []

    def scan(cell, params, carry, initial, xs, steps):
        asked.append(steps.checkpoint_every)

    xs = jnp.zeros((time, rows, 128))
    cell = sj.checkpointed(sj.stack(sj.minimal_gru(2)))
    cell.sequence(scan, None, None, None, xs, Steps())
    cell.sequence(scan, None, None, None, xs, Steps(devices=8))  # Each runs rows like these.
    cell.sequence(scan, None, None, None, xs, Steps(checkpoint_every=7))
    assert asked == [stretch, stretch, 7]


@pytest.mark.parametrize("name", ["delta_net", "mamba", "mlstm_layer", "rwkv4_time_mix"])
def test_what_the_backward_pass_stores(name):
    """Of twice as long a sequence no more than its inputs and outputs, and carries between."""
    cell = getattr(sj, name)(32)
    params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 32))
    stored = [
        sj.memory_report(cell, params, jax.ShapeDtypeStruct((time, 32), jnp.float32)).saved
        for time in (32768, 65536)
    ]
    assert stored[1] - stored[0] < 3 * 32768 * 32 * 4


def test_diagnostics_see_the_layer_whole(short_stretches):
    cell = sj.checkpointed(CELL)
    params = cell.init(jax.random.key(0), 3)
    xs = jax.random.normal(jax.random.key(1), (5, 3))
    seen = []

    def look(layer):
        seen.append((layer.name, layer.time))
        return layer.run()

    _, ys = run_layers(look, cell, params, xs)
    assert seen == [("1 minimal_gru(2)", 5)]
    np.testing.assert_allclose(ys, sj.scan(CELL, params, xs)[1], rtol=1e-5)


def test_mistakes():
    with pytest.raises(ValueError, match=r"expected a causal cell.*needs the whole sequence"):
        sj.checkpointed(sj.bidirectional(sj.gru(2)))
    with pytest.raises(ValueError, match=r"on_slice: expected a causal cell"):
        sj.on_slice(sj.bidirectional(sj.gru(2)), width=2, rest=1)
    with pytest.raises(TypeError, match=r"expected a Cell.*call the function"):
        sj.checkpointed(sj.gru)
