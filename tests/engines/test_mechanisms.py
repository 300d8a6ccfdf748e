"""Every mechanism of the engines once, with sizes so small that boundaries are crossed.

The laws hold a run to a loop over single steps with its gradient made by hand: values, and the
gradients of parameters, inputs and the initial carry, with masks, resets, truncation and
checkpoints, in both directions.
"""

import pytest

import seqjax as sj
from seqjax.testing import check_cell
from tests.matrix_cells import FORMS, form
from tests.table import IN_FEATURES, ROWS

# Tiles of which the last is shorter, and other ones without gradients.
RECOMPUTE = sj.Recompute(tile=3, forward_tile=2)
STORE = sj.Store(tile=3, forward_tile=2)
BY_STEP = sj.Recompute(tile=2, forward_tile=1)
TILES = sj.Recompute(tile=3)
# Inside of tiles step by step, all at once, and in chunks.
STEPS = sj.Chunked(tile=3, inside="steps")
AT_ONCE = sj.Chunked(tile=3, inside="parallel")
CHUNKS = sj.Chunked(chunk=2, tile=5)

CELLS = {
    # Cells that show their products.
    "elman": BY_STEP,
    "lstm": STORE,
    "lstm_peepholes": RECOMPUTE,  # Unit parameters.
    "lstm_projection": STORE,  # A product that is not of gates.
    "lstm_layer_norm": RECOMPUTE,  # Inputs that are not summed.
    "gru": STORE,  # Some that are.
    "gru_reset_before": RECOMPUTE,  # Two products.
    "gru_diagonal": STORE,
    "gru_reset_before_heads_layer_norm": STORE,
    "slstm": RECOMPUTE,  # A state wider than its parameters.
    "zoneout": BY_STEP,  # Keys in the carry.
    "all_together": RECOMPUTE,
    "bidirectional_inside": STORE,
    # Any step.
    "attentive_feeding": TILES,  # A memory among the parameters.
    "attentive_feeding_noise": TILES,
    "conv_lstm": TILES,
    # States that are linear: arrays, complex, with a scale; read before, after, and wide.
    "minimal_gru": CHUNKS,
    "lru": STEPS,
    "slstm_linear": CHUNKS,
    "rwkv4_time_mix": AT_ONCE,
    "s6": STEPS,
    "mamba": CHUNKS,
}


@pytest.mark.parametrize("name", CELLS)
def test_cells(name):
    check_cell(ROWS[name].cell, IN_FEATURES, methods=(CELLS[name],), thorough=False)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("lru", sj.Associative()),
        ("slstm_linear", STEPS),
        ("rwkv4_time_mix", STEPS),
        ("minimal_gru", AT_ONCE),
        ("gru", RECOMPUTE),
    ],
    ids=str,
)
def test_other_ways(name, method):
    check_cell(ROWS[name].cell, IN_FEATURES, methods=(method,), thorough=False)


FOURS = sj.Chunked(chunk=4, tile=4)
"""Each a tile of its own."""


@pytest.mark.parametrize("name", FORMS)
def test_memories_in_chunks(name):
    check_cell(form(**FORMS[name]), IN_FEATURES, methods=(FOURS,), thorough=False)


@pytest.mark.parametrize(
    "name", ["channel-add-before", "head-delta", "channel-low_rank", "head-stabilized"]
)
def test_memories_step_by_step(name):
    method = sj.Chunked(inside="steps", tile=4)
    check_cell(form(**FORMS[name]), IN_FEATURES, methods=(method,), thorough=False)


@pytest.mark.parametrize(
    ("name", "method"),
    [
        ("channel-delta", sj.Chunked(chunk=1, tile=1)),
        ("channel-add-before", sj.Chunked(chunk=2)),
        ("head-stabilized", sj.Chunked(chunk=64)),
        ("channel-low_rank", sj.Chunked(chunk=8, block=4, strong_block=2)),
    ],
    ids=str,
)
def test_memories_in_other_chunks(name, method):
    """Of one step, of two in one tile, one for all steps, and with blocks inside."""
    check_cell(form(**FORMS[name]), IN_FEATURES, methods=(method,), thorough=False)
