"""The cells that are timed against their own step loop, all as wide as their inputs."""

from collections.abc import Callable

import jax.numpy as jnp

from seqjax.cells.delta import delta_net, gated_delta_net, kimi_delta_attention
from seqjax.cells.elman import elman
from seqjax.cells.griffin import real_gated_lru
from seqjax.cells.gru import gru
from seqjax.cells.legendre import legendre_memory
from seqjax.cells.linear_attention import gated_linear_attention, hgrn2, linear_attention
from seqjax.cells.lstm import lstm
from seqjax.cells.mamba import mamba
from seqjax.cells.mamba2 import mamba2
from seqjax.cells.minimal import minimal_gru, minimal_lstm
from seqjax.cells.mlstm import mlstm, mlstm_layer
from seqjax.cells.quasi_recurrent import independent, quasi_recurrent, simple_recurrent
from seqjax.cells.retention import retention
from seqjax.cells.rwkv import rwkv4_time_mix
from seqjax.cells.rwkv6 import rwkv6_time_mix
from seqjax.cells.rwkv7 import rwkv7_time_mix
from seqjax.cells.slstm import slstm
from seqjax.cells.state_space import (
    diagonal_state_space,
    linear_recurrent_unit,
    simplified_state_space,
)
from seqjax.core.cell import Cell

HEAD = 64
"""Width of a head, as the matrix-state models were published with 64 to 128."""


def _heads(features: int) -> int:
    return max(1, features // HEAD)


CELLS: dict[str, Callable[[int], Cell]] = {
    "elman": elman,
    "gru": gru,
    "lstm": lstm,
    "slstm": lambda features: slstm(features, heads=_heads(features)),
    "independent": lambda features: independent(features, activation=jnp.tanh),
    "simple_recurrent": simple_recurrent,
    "legendre_memory": lambda features: legendre_memory(features, memory=features, window=256),
    "minimal_gru": minimal_gru,
    "minimal_lstm": minimal_lstm,
    "quasi_recurrent": quasi_recurrent,
    "simple_recurrent_linear": lambda features: simple_recurrent(features, peepholes=False),
    "linear_recurrent_unit": linear_recurrent_unit,
    "diagonal_state_space": lambda features: diagonal_state_space(features, state=16),
    "simplified_state_space": simplified_state_space,
    "real_gated_lru": real_gated_lru,
    "mamba": mamba,
    "rwkv4_time_mix": rwkv4_time_mix,
    "linear_attention": lambda features: linear_attention(features, heads=_heads(features)),
    "gated_linear_attention": lambda features: gated_linear_attention(
        features, heads=_heads(features)
    ),
    "hgrn2": lambda features: hgrn2(features, heads=_heads(features)),
    "retention": lambda features: retention(features, heads=_heads(features)),
    "mamba2": mamba2,
    "mlstm": lambda features: mlstm(features, heads=_heads(features)),
    "mlstm_layer": mlstm_layer,
    "delta_net": lambda features: delta_net(features, heads=_heads(features)),
    "gated_delta_net": lambda features: gated_delta_net(features, heads=_heads(features)),
    "kimi_delta_attention": lambda features: kimi_delta_attention(features, heads=_heads(features)),
    "rwkv6_time_mix": rwkv6_time_mix,
    "rwkv7_time_mix": rwkv7_time_mix,
}
"""Name of the cell to its factory by the number of features."""
