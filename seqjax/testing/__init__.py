"""The conformance suite: for our cells and for anyone's."""

from seqjax.testing.laws import check_cell

__all__ = ["check_cell"]
