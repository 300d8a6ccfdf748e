"""seqjax: write the gate equations as one pure function; get everything else."""

from seqjax import nn
from seqjax.cells.delta import (
    delta_net,
    gated_delta_net,
    gated_delta_net_block,
    kimi_delta_attention,
)
from seqjax.cells.elman import elman
from seqjax.cells.gru import gru
from seqjax.cells.linear_attention import gated_linear_attention, hgrn2, linear_attention
from seqjax.cells.lstm import LSTMState, lstm
from seqjax.cells.mamba2 import mamba2, mamba2_block
from seqjax.cells.minimal import minimal_gru, minimal_lstm
from seqjax.cells.minimal_gated import minimal_gated
from seqjax.cells.mlstm import mlstm, mlstm_block
from seqjax.cells.rwkv6 import rwkv6, rwkv6_block, rwkv6_channel_mix
from seqjax.cells.rwkv7 import rwkv7, rwkv7_block, rwkv7_channel_mix
from seqjax.core import initializers
from seqjax.core.affine import Complex, LogScaled, log_scaled
from seqjax.core.bidirectional import BidirectionalState, bidirectional
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.gates import Gates, layer_norm
from seqjax.core.layers import (
    centred_norm,
    dense,
    feed_forward,
    partly,
    pipeline,
    pointwise,
    prenorm,
    rms_norm,
)
from seqjax.core.linear import diagonal, linear
from seqjax.core.masks import length_mask, segment_starts
from seqjax.core.matrix import Access, MatrixState, Scaled, matrix_state, to_heads
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
    "Access",
    "BidirectionalState",
    "Cell",
    "Complex",
    "DropoutState",
    "Gates",
    "LSTMState",
    "LogScaled",
    "MatrixState",
    "MemoryReport",
    "Randomness",
    "Scaled",
    "StackState",
    "WindowState",
    "ZoneoutState",
    "bidirectional",
    "cast",
    "centred_norm",
    "delta_net",
    "dense",
    "diagonal",
    "dropout",
    "elman",
    "factory",
    "feed_forward",
    "gated",
    "gated_delta_net",
    "gated_delta_net_block",
    "gated_linear_attention",
    "gru",
    "hgrn2",
    "initializers",
    "kimi_delta_attention",
    "layer_norm",
    "learned_initial_carry",
    "length_mask",
    "linear",
    "linear_attention",
    "log_scaled",
    "lstm",
    "mamba2",
    "mamba2_block",
    "matrix_state",
    "memory_report",
    "minimal_gated",
    "minimal_gru",
    "minimal_lstm",
    "mlstm",
    "mlstm_block",
    "nn",
    "partly",
    "pipeline",
    "pointwise",
    "prenorm",
    "residual",
    "rms_norm",
    "rwkv6",
    "rwkv6_block",
    "rwkv6_channel_mix",
    "rwkv7",
    "rwkv7_block",
    "rwkv7_channel_mix",
    "scan",
    "scan_sum",
    "seed_carry",
    "segment_starts",
    "short_convolution",
    "stack",
    "to_heads",
    "token_shift",
    "trajectory",
    "windowed",
    "zoneout",
]
