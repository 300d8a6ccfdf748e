"""A cell says which widths of the input it accepts."""

import jax
import jax.numpy as jnp
import pytest

import seqjax as sj
from seqjax.core.cell import Cell
from seqjax.train.model import CELLS as BY_WIDTH
from tests.table import CELLS


def accepts(cell: Cell, in_features: int) -> bool:
    try:
        jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))
    except ValueError:
        return False
    return True


def test_every_cell_tells_the_width_of_its_input(x64):
    cells = [*CELLS.values(), *(make(8) for name, make in BY_WIDTH.items() if name != "lmu")]
    for cell in cells:
        if cell.in_features is None:
            assert accepts(cell, 5) and accepts(cell, 7), cell
        else:
            assert accepts(cell, cell.in_features), cell
            assert not accepts(cell, cell.in_features + 1), cell


def test_two_layers_with_one_name():
    with pytest.raises(ValueError, match=r"two parts are called 'gru_0', gru\(2\) by its position"):
        sj.stack(sj.gru(2), gru_0=sj.gru(3))


def test_names_of_layers():
    """A wrapper with the parameters of its cell is called like the cell."""
    wrapped = [
        sj.residual(sj.gru(3)),
        sj.dropout(sj.gru(3), 0.1),
        sj.zoneout(sj.gru(3), 0.1),
        sj.checkpointed(sj.gru(3)),
        sj.on_slice(sj.gru(3), width=3, rest=0),
        sj.prenorm(sj.gru(3)),
    ]
    others = [
        sj.learned_initial_carry(sj.gru(3)),
        sj.mamba_block(3),
        sj.Cell(lambda key, n: (), lambda params, batch_shape=(): (), lambda p, c, x: (c, x), 3),
    ]
    params = sj.stack(*wrapped, *others, output=sj.dense(2)).init(jax.random.key(0), 3)
    names = [f"gru_{n}" for n in range(6)]
    names += ["learned_initial_carry_6", "mamba_block_7", "cell_8", "output"]
    assert sorted(params) == sorted(names)
    assert jnp.shape(params["gru_5"]["cell"]["recurrent"]) == (3, 3, 3)
