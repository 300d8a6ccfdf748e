"""Whether the state of a cell falls into the blocks that it says."""

import jax
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.double_precision import double_precision
from seqjax.core.recurrence import Recurrence
from seqjax.core.types import Inputs, Params
from seqjax.engines.state_blocks import StateBlocks
from seqjax.testing.case import make_case


def check_state_blocks(
    cell: Cell,
    in_features: int,
    *,
    blocks: int | None = None,
    params: Params | None = None,
    inputs: Inputs | None = None,
    seed: int = 0,
) -> None:
    """Checks that in a step the new numbers of a block depend on no old ones of another.

    The whole Jacobian of a step, at a random state, in float64: what lies outside of the blocks
    must be zero.

    Args:
      cell: the cell.
      in_features: width of its inputs.
      blocks: into how many blocks each leaf of its state falls; by default what a gated cell says
        of itself, and 1, which always holds, for others.
      params, inputs, seed: as for `check_cell`.

    Raises:
      ValueError: if so many blocks do not divide each leaf.
      AssertionError: naming two numbers of the state, of different blocks, of which one depends on
        the other.

    Example:
      >>> import seqjax as sj
      >>> from seqjax.testing import check_state_blocks
      >>> check_state_blocks(sj.indrnn(4), in_features=3)
      >>> check_state_blocks(sj.gru(4), in_features=3, blocks=2)
      Traceback (most recent call last):
        ...
      AssertionError: check_state_blocks(gru(4)): in blocks=2, number 0 of block 0 depends on \
number 0 of block 1.
    """
    if blocks is None:
        blocks = cell.structure.state_blocks if isinstance(cell.structure, Recurrence) else 1
    with double_precision() as place:
        case = make_case(cell, in_features, inputs, seed, place(params))
        one = lambda leaf: leaf[0]  # noqa: E731
        carry, x = jax.tree.map(one, case.carry), jax.tree.map(lambda leaf: leaf[0, 0], case.xs)
        layout = StateBlocks.of(f"check_state_blocks({cell})", carry, 0, blocks)

        def step(packed, params, x):
            return layout.pack(cell.step(params, layout.unpack(packed), x)[0])

        jacobian = np.asarray(jax.jit(jax.jacfwd(step))(layout.pack(carry), case.params, x))
    for own, number, other, source in zip(*np.nonzero(jacobian), strict=True):
        if own != other:
            raise AssertionError(
                f"check_state_blocks({cell}): in blocks={blocks}, number {number} of block {own} "
                f"depends on number {source} of block {other}."
            )
