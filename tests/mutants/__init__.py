"""Faults that developers make, to see that the tests catch them: `python -m tests.mutants`."""

from tests.mutants import cells, core, data, engines, exports, models, training, weights

FAULTS = (
    *core.FAULTS,
    *engines.FAULTS,
    *cells.FAULTS,
    *data.FAULTS,
    *models.FAULTS,
    *training.FAULTS,
    *weights.FAULTS,
    *exports.FAULTS,
)
