"""The conformance suite: for our cells and for anyone's."""

from seqjax.testing.laws import check_cell
from seqjax.testing.state_blocks_law import check_state_blocks

__all__ = ["check_cell", "check_state_blocks"]
