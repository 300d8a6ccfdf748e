"""The cells that are timed against their own step loop, all as wide as their inputs."""

from collections.abc import Callable

from seqjax.cells.catalogue import CATALOGUE, Entry
from seqjax.cells.qrnn import sru
from seqjax.core.cell import Cell


def _timed(entry: Entry) -> Callable[[int], Cell]:
    assert entry.timed is not None
    options = entry.timed
    return lambda features: entry.make(features, **options(features))


CELLS: dict[str, Callable[[int], Cell]] = {
    **{entry.name: _timed(entry) for entry in CATALOGUE if entry.timed},
    # Without peepholes it is linear in its state, and other engines run it.
    "sru_linear": lambda features: sru(features, peepholes=False),
}
"""`features -> Cell` for each name."""
