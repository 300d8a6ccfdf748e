"""seqjax: write the gate equations as one pure function; get everything else."""

from seqjax import nn
from seqjax.cells.attention import (
    AttentiveParameters,
    AttentiveState,
    attend_to,
    attentive,
)
from seqjax.cells.block_stack import block_stack
from seqjax.cells.convolutional import (
    ConvLSTMState,
    conv_gru,
    conv_lstm,
    convolution,
    space_mean,
    strided,
)
from seqjax.cells.delta import (
    delta_net,
    gated_delta_net,
    gated_delta_net_block,
    kimi_delta_attention,
)
from seqjax.cells.elman import elman
from seqjax.cells.griffin import griffin_block, rg_lru
from seqjax.cells.gru import gru
from seqjax.cells.linear_attention import gated_linear_attention, hgrn2, linear_attention
from seqjax.cells.lmu import LegendreState, lmu
from seqjax.cells.lstm import LSTMState, lstm
from seqjax.cells.mamba import MambaState, mamba, mamba_block, s6
from seqjax.cells.mamba2 import mamba2, mamba2_block
from seqjax.cells.minimal import minimal_gru, minimal_gru_block, minimal_lstm
from seqjax.cells.minimal_gated import minimal_gated
from seqjax.cells.mlstm import mlstm, mlstm_block, mlstm_layer
from seqjax.cells.qrnn import indrnn, qrnn, sru
from seqjax.cells.retention import retention, retention_block
from seqjax.cells.rwkv import rwkv4_block, rwkv4_channel_mix, rwkv4_time_mix
from seqjax.cells.rwkv6 import rwkv6_block, rwkv6_channel_mix, rwkv6_time_mix
from seqjax.cells.rwkv7 import rwkv7_block, rwkv7_channel_mix, rwkv7_time_mix
from seqjax.cells.slstm import SLSTMState, slstm, slstm_block, slstm_layer
from seqjax.cells.state_space import (
    lru,
    s4d,
    s5,
)
from seqjax.core import initializers
from seqjax.core.affine import Complex, LogScaled, log_scaled
from seqjax.core.bidirectional import BidirectionalState, bidirectional
from seqjax.core.blocks import checkpointed, partly, pipeline, prenorm, product
from seqjax.core.cell import Cell, factory
from seqjax.core.gated import gated
from seqjax.core.gates import Gates, layer_norm
from seqjax.core.layers import centred_norm, dense, feed_forward, pointwise, rms_norm
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
from seqjax.engines.memory_report import MemoryReport, memory_report
from seqjax.engines.methods import Associative, Auto, Chunked, Plain, Recompute, Store
from seqjax.engines.scan import scan, trajectory
from seqjax.engines.scan_sum import scan_sum

__version__ = "0.1.0"

__all__ = [
    "Access",
    "Associative",
    "AttentiveParameters",
    "AttentiveState",
    "Auto",
    "BidirectionalState",
    "Cell",
    "Chunked",
    "Complex",
    "ConvLSTMState",
    "DropoutState",
    "Gates",
    "LSTMState",
    "LegendreState",
    "LogScaled",
    "MambaState",
    "MatrixState",
    "MemoryReport",
    "Plain",
    "Randomness",
    "Recompute",
    "SLSTMState",
    "Scaled",
    "StackState",
    "Store",
    "WindowState",
    "ZoneoutState",
    "attend_to",
    "attentive",
    "bidirectional",
    "block_stack",
    "cast",
    "centred_norm",
    "checkpointed",
    "conv_gru",
    "conv_lstm",
    "convolution",
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
    "griffin_block",
    "gru",
    "hgrn2",
    "indrnn",
    "initializers",
    "kimi_delta_attention",
    "layer_norm",
    "learned_initial_carry",
    "length_mask",
    "linear",
    "linear_attention",
    "lmu",
    "log_scaled",
    "lru",
    "lstm",
    "mamba",
    "mamba2",
    "mamba2_block",
    "mamba_block",
    "matrix_state",
    "memory_report",
    "minimal_gated",
    "minimal_gru",
    "minimal_gru_block",
    "minimal_lstm",
    "mlstm",
    "mlstm_block",
    "mlstm_layer",
    "nn",
    "partly",
    "pipeline",
    "pointwise",
    "prenorm",
    "product",
    "qrnn",
    "residual",
    "retention",
    "retention_block",
    "rg_lru",
    "rms_norm",
    "rwkv4_block",
    "rwkv4_channel_mix",
    "rwkv4_time_mix",
    "rwkv6_block",
    "rwkv6_channel_mix",
    "rwkv6_time_mix",
    "rwkv7_block",
    "rwkv7_channel_mix",
    "rwkv7_time_mix",
    "s4d",
    "s5",
    "s6",
    "scan",
    "scan_sum",
    "seed_carry",
    "segment_starts",
    "short_convolution",
    "slstm",
    "slstm_block",
    "slstm_layer",
    "space_mean",
    "sru",
    "stack",
    "strided",
    "to_heads",
    "token_shift",
    "trajectory",
    "windowed",
    "zoneout",
]
