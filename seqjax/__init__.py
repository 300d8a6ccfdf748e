"""seqjax: write the gate equations as one pure function; get everything else."""

from seqjax import interop, nn, online
from seqjax.cells import catalogue
from seqjax.cells.block_stack import block_stack
from seqjax.cells.catalogue import *  # noqa: F403
from seqjax.core import initializers
from seqjax.core.affine import Complex, Coupled, Coupling, LogScaled, log_scaled
from seqjax.core.bidirectional import BidirectionalState, bidirectional
from seqjax.core.blocks import checkpointed, on_slice, prenorm, product
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.gates import Gates
from seqjax.core.heads import to_heads
from seqjax.core.layers import (
    dense,
    feed_forward,
    layer_norm,
    pointwise,
    rms_norm,
    standardize,
    zero_centred_rms_norm,
)
from seqjax.core.linear import diagonal, linear
from seqjax.core.masks import length_mask, segment_starts
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access, MatrixState, Scaled
from seqjax.core.noise import DropoutState, Randomness, dropout, seed_carry
from seqjax.core.parameter_kinds import parameter_kinds, weight_mask
from seqjax.core.parameter_shardings import parameter_specs
from seqjax.core.precision import Precision
from seqjax.core.shift import WindowState, short_convolution, token_shift, windowed
from seqjax.core.stack import learned_initial_carry, residual, stack
from seqjax.core.trees import cast
from seqjax.core.wide_carry import WideState, wide_carry
from seqjax.core.zoneout import ZoneoutState, zoneout
from seqjax.engines.memory_report import MemoryReport, memory_report
from seqjax.engines.methods import (
    Associative,
    Auto,
    Chunked,
    Fused,
    Newton,
    PipelineParallel,
    Plain,
    Recompute,
    SequenceParallel,
    Store,
)
from seqjax.engines.newton_report import newton_report
from seqjax.engines.newton_rounds import NewtonReport
from seqjax.engines.scan import scan, snapshots, trajectory
from seqjax.engines.scan_sum import scan_sum

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Associative",
    "Auto",
    "BidirectionalState",
    "Cell",
    "Chunked",
    "Complex",
    "Coupled",
    "Coupling",
    "DropoutState",
    "Fused",
    "Gates",
    "LogScaled",
    "MatrixState",
    "MemoryReport",
    "Newton",
    "NewtonReport",
    "PipelineParallel",
    "Plain",
    "Precision",
    "Randomness",
    "Recompute",
    "Scaled",
    "SequenceParallel",
    "Store",
    "WideState",
    "WindowState",
    "ZoneoutState",
    "bidirectional",
    "block_stack",
    "cast",
    "checkpointed",
    "dense",
    "diagonal",
    "dropout",
    "factory",
    "feed_forward",
    "gated",
    "initializers",
    "interop",
    "layer_norm",
    "learned_initial_carry",
    "length_mask",
    "linear",
    "log_scaled",
    "matrix_state",
    "memory_report",
    "newton_report",
    "nn",
    "on_slice",
    "online",
    "parameter_kinds",
    "parameter_specs",
    "pointwise",
    "prenorm",
    "product",
    "residual",
    "rms_norm",
    "scan",
    "scan_sum",
    "seed_carry",
    "segment_starts",
    "short_convolution",
    "snapshots",
    "stack",
    "standardize",
    "to_heads",
    "token_shift",
    "trajectory",
    "weight_mask",
    "wide_carry",
    "windowed",
    "zero_centred_rms_norm",
    "zoneout",
]
__all__ += catalogue.__all__
