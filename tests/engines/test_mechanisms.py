"""What the laws over all cells leave out: other ways of every engine, each on one cell.

`tests/test_laws.py` holds every cell to a loop over single steps, with its engine in small tiles:
here are gates that are stored, steps without tiles, chunks and memories of every form, in sizes so
small that boundaries are crossed.
"""

import pytest

import seqjax as sj
from seqjax.testing import check_cell
from tests.matrix_cells import FORMS, form
from tests.rows import thorough_but
from tests.table import IN_FEATURES, ROWS

STORE = sj.Store(tile=3, forward_tile=2)
WITHOUT_TILES = sj.Recompute(tile=2, forward_tile=1)
AT_ONCE = sj.Chunked(tile=3, inside="parallel")
CHUNKS = sj.Chunked(chunk=2, tile=5)

CELLS = {
    "lstm_projection": STORE,  # A product that is not of gates.
    "gru": STORE,  # Inputs of which some are summed into products.
    "gru_reset_before_heads_layer_norm": STORE,  # Two products, no sums.
    "lstm": WITHOUT_TILES,  # Input and recurrent part in one product.
    "zoneout": WITHOUT_TILES,  # Keys in the carry.
    # States that are linear: arrays, complex, with a scale, and read before the step.
    "minimal_gru": CHUNKS,
    "lru": sj.Associative(),
    "slstm_linear": AT_ONCE,
    "rwkv4_time_mix": CHUNKS,
}


@pytest.mark.parametrize("name", thorough_but(("lstm_projection", "minimal_gru", "zoneout"), CELLS))
def test_cells(name):
    check_cell(ROWS[name].cell, IN_FEATURES, methods=(CELLS[name],), thorough=False)


def thorough(*row):
    return pytest.param(*row, marks=pytest.mark.thorough)


FOURS = sj.Chunked(chunk=4, tile=4)
STEPS = sj.Chunked(inside="steps", tile=4)

MEMORIES = [
    # Forms that no cell of the table has.
    thorough("head-add-before", FOURS),
    ("low_rank", FOURS),
    thorough("head-low_rank-before", FOURS),
    thorough("channel-low_rank", FOURS),
    thorough("stabilized", FOURS),
    ("bounded-add-before", FOURS),
    # One step after the other.
    ("channel-add-before", STEPS),
    thorough("head-stabilized", STEPS),
    # Chunks of one step, of two in one tile, one for all steps, and with blocks inside.
    ("channel-delta", sj.Chunked(chunk=1, tile=1)),
    thorough("channel-add-before", sj.Chunked(chunk=2)),
    thorough("head-stabilized", sj.Chunked(chunk=64)),
    ("channel-low_rank", sj.Chunked(chunk=8, block=4, strong_block=2)),
]


@pytest.mark.parametrize(("name", "method"), MEMORIES, ids=str)
def test_memories(name, method):
    check_cell(form(**FORMS[name]), IN_FEATURES, methods=(method,), thorough=False)
