"""seqjax: write the gate equations as one pure function; get everything else."""

from seqjax import nn
from seqjax.cells.elman import elman
from seqjax.cells.gru import gru
from seqjax.cells.lstm import LSTMState, lstm
from seqjax.cells.minimal import minimal_gru, minimal_lstm
from seqjax.cells.minimal_gated import minimal_gated
from seqjax.core import initializers
from seqjax.core.affine import Complex, LogScaled, log_scaled
from seqjax.core.bidirectional import BidirectionalState, bidirectional
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.gates import Gates, layer_norm
from seqjax.core.linear import diagonal, linear
from seqjax.core.masks import length_mask, segment_starts
from seqjax.core.noise import (
    DropoutState,
    Randomness,
    ZoneoutState,
    dropout,
    seed_carry,
    zoneout,
)
from seqjax.core.shift import WindowState, short_convolution, token_shift, windowed
from seqjax.core.stack import StackState, learned_initial_carry, residual, stack
from seqjax.core.trees import cast
from seqjax.engines.memory import MemoryReport, memory_report
from seqjax.engines.scan import scan, trajectory
from seqjax.engines.sums import scan_sum

__version__ = "0.1.0"

__all__ = [
    "BidirectionalState",
    "Cell",
    "Complex",
    "DropoutState",
    "Gates",
    "LSTMState",
    "LogScaled",
    "MemoryReport",
    "Randomness",
    "StackState",
    "WindowState",
    "ZoneoutState",
    "bidirectional",
    "cast",
    "diagonal",
    "dropout",
    "elman",
    "factory",
    "gated",
    "gru",
    "initializers",
    "layer_norm",
    "learned_initial_carry",
    "length_mask",
    "linear",
    "log_scaled",
    "lstm",
    "memory_report",
    "minimal_gated",
    "minimal_gru",
    "minimal_lstm",
    "nn",
    "residual",
    "scan",
    "scan_sum",
    "seed_carry",
    "segment_starts",
    "short_convolution",
    "stack",
    "token_shift",
    "trajectory",
    "windowed",
    "zoneout",
]
