"""The cells that are timed against their own step loop, all as wide as their inputs."""

from collections.abc import Callable

import jax.numpy as jnp

from seqjax.cells.delta import delta_net, gated_delta_net, kimi_delta_attention
from seqjax.cells.elman import elman
from seqjax.cells.griffin import rg_lru
from seqjax.cells.gru import gru
from seqjax.cells.linear_attention import gated_linear_attention, hgrn2, linear_attention
from seqjax.cells.lmu import lmu
from seqjax.cells.lstm import lstm
from seqjax.cells.mamba import mamba
from seqjax.cells.mamba2 import mamba2
from seqjax.cells.minimal import minimal_gru, minimal_lstm
from seqjax.cells.mlstm import mlstm, mlstm_layer
from seqjax.cells.qrnn import indrnn, qrnn, sru
from seqjax.cells.retention import retention
from seqjax.cells.rwkv import rwkv4_time_mix
from seqjax.cells.rwkv6 import rwkv6_time_mix
from seqjax.cells.rwkv7 import rwkv7_time_mix
from seqjax.cells.slstm import slstm
from seqjax.cells.state_space import (
    lru,
    s4d,
    s5,
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
    "indrnn": lambda features: indrnn(features, activation=jnp.tanh),
    "sru": sru,
    "lmu": lambda features: lmu(features, memory=features, window=256),
    "minimal_gru": minimal_gru,
    "minimal_lstm": minimal_lstm,
    "qrnn": qrnn,
    "sru_linear": lambda features: sru(features, peepholes=False),
    "lru": lru,
    "s4d": lambda features: s4d(features, state=16),
    "s5": s5,
    "rg_lru": rg_lru,
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
