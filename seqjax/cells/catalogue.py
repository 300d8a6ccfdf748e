"""The catalogue: one row for every cell, from which all that lists cells is made.

The public names of seqjax, `--cell` and `--block` on the command line, `sj.block_stack`,
`seqjax bench --cells` and the page of cells in the reference take their cells from here. To add a
cell, import it and add its row.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax.numpy as jnp

from seqjax.cells.attentive import AttentiveParameters, AttentiveState, attend_to, attentive
from seqjax.cells.clocks import ClockworkState, PhasedLSTMState, clockwork, phased_lstm
from seqjax.cells.comba import comba, comba_block
from seqjax.cells.convolutional import (
    ConvLSTMState,
    conv_gru,
    conv_lstm,
    convolution,
    space_mean,
)
from seqjax.cells.delta import (
    delta_net,
    gated_delta_net,
    gated_delta_net_block,
    kimi_delta_attention,
)
from seqjax.cells.differential_equations import CoRNNState, LEMState, antisymmetric, cornn, lem
from seqjax.cells.elman import elman
from seqjax.cells.gated_delta_net2 import gated_delta_net2, gated_delta_net2_block
from seqjax.cells.gated_delta_product import gated_delta_product, gated_delta_product_block
from seqjax.cells.griffin import griffin_block, rg_lru
from seqjax.cells.gru import gru
from seqjax.cells.latent_attention import latent_attention
from seqjax.cells.linear_attention import gated_linear_attention, hgrn2, linear_attention
from seqjax.cells.liquid import cfc, ltc
from seqjax.cells.lmu import LegendreState, lmu
from seqjax.cells.lstm import LSTMState, lstm
from seqjax.cells.m2rnn import m2rnn, m2rnn_block
from seqjax.cells.mamba import mamba, mamba_block, s6
from seqjax.cells.mamba2 import mamba2, mamba2_block
from seqjax.cells.mamba3 import mamba3, mamba3_block
from seqjax.cells.minimal import minimal_gru, minimal_gru_block, minimal_lstm
from seqjax.cells.minimal_gated import minimal_gated
from seqjax.cells.mlstm import mlstm, mlstm_block
from seqjax.cells.mlstm_layer import mlstm_layer
from seqjax.cells.multiplicative import multiplicative_lstm
from seqjax.cells.oscillators import linoss
from seqjax.cells.para_rnn import para_gru, para_lstm
from seqjax.cells.qrnn import indrnn, qrnn, sru
from seqjax.cells.retention import retention, retention_block
from seqjax.cells.rwkv import rwkv4_block, rwkv4_channel_mix, rwkv4_time_mix
from seqjax.cells.rwkv6 import rwkv6_block, rwkv6_channel_mix, rwkv6_time_mix
from seqjax.cells.rwkv7 import rwkv7_block, rwkv7_channel_mix, rwkv7_time_mix
from seqjax.cells.single_gate import fast_grnn, janet, li_gru, star, ugrnn
from seqjax.cells.sliding_window_attention import attention_block, sliding_window_attention
from seqjax.cells.slstm import SLSTMState, slstm, slstm_block, slstm_layer
from seqjax.cells.state_space import lru, s4d, s5
from seqjax.core.cell import Cell
from seqjax.core.heads import heads_of_64
from seqjax.core.key_ring import LatentAttentionState, WindowAttentionState
from seqjax.core.layers import layer_norm, rms_norm
from seqjax.core.over_space import strided

Family = Literal["gated", "linear", "matrix", "window", "block", "attention", "image"]
"""What keeps the state, or what the cell is for: a heading of the reference."""


class Trunk(NamedTuple):
    """How a block is stacked to the trunk of a language model.

    `name` is what `--block` and `sj.block_stack` call the trunk, `norm` makes the norm behind the
    last block, and with `first_norm` there is one more before the first block.
    """

    name: str
    norm: Callable[..., Cell] = rms_norm
    first_norm: bool = False


class Entry(NamedTuple):
    """A cell of the catalogue.

    Args:
      make: the function that makes it.
      family: which heading of the reference it stands under.
      beside: what else is exported with it, such as the class of its carry.
      timed: its options in `seqjax bench --cells`, by width; None if it is not timed.
      trunk: how it is stacked, if it is a block with a trunk of its own.
      inside: the cell to which a block hands on its further options.
    """

    make: Callable[..., Cell]
    family: Family
    beside: tuple[Any, ...] = ()
    timed: Callable[[int], dict[str, Any]] | None = None
    trunk: Trunk | None = None
    inside: Callable[..., Cell] | None = None

    @property
    def name(self) -> str:
        """The name under which seqjax exports the cell."""
        return self.make.__name__

    @property
    def takes_vectors(self) -> bool:
        """Whether its inputs are vectors and it needs no other cell, as `--cell` requires."""
        return self.family not in ("attention", "image")


def _as_it_is(features: int) -> dict[str, Any]:
    return {}


def _with_heads(features: int) -> dict[str, Any]:
    return {"heads": heads_of_64(features)}


CATALOGUE = (
    Entry(elman, "gated", timed=_as_it_is),
    Entry(gru, "gated", timed=_as_it_is),
    Entry(lstm, "gated", beside=(LSTMState,), timed=_as_it_is),
    Entry(minimal_gated, "gated"),
    Entry(indrnn, "gated", timed=lambda features: {"activation": jnp.tanh}),
    Entry(ugrnn, "gated"),
    Entry(janet, "gated"),
    Entry(li_gru, "gated"),
    Entry(fast_grnn, "gated"),
    Entry(star, "gated"),
    Entry(multiplicative_lstm, "gated"),
    Entry(phased_lstm, "gated", beside=(PhasedLSTMState,)),
    Entry(clockwork, "gated", beside=(ClockworkState,)),
    Entry(lem, "gated", beside=(LEMState,)),
    Entry(cornn, "gated", beside=(CoRNNState,)),
    Entry(antisymmetric, "gated"),
    Entry(cfc, "gated"),
    Entry(ltc, "gated"),
    Entry(para_gru, "gated", timed=_as_it_is),
    Entry(para_lstm, "gated", timed=_as_it_is),
    Entry(slstm, "gated", beside=(SLSTMState,), timed=_with_heads),
    Entry(slstm_layer, "gated"),
    Entry(m2rnn, "gated", timed=_with_heads),
    Entry(minimal_gru, "linear", timed=_as_it_is),
    Entry(minimal_lstm, "linear", timed=_as_it_is),
    Entry(qrnn, "linear", timed=_as_it_is),
    Entry(sru, "linear", timed=_as_it_is),
    Entry(lru, "linear", timed=_as_it_is),
    Entry(s4d, "linear", timed=lambda features: {"state": 16}),
    Entry(s5, "linear", timed=_as_it_is),
    Entry(linoss, "linear", timed=_as_it_is),
    Entry(rg_lru, "linear", timed=_as_it_is),
    Entry(s6, "linear"),
    Entry(mamba, "linear", timed=_as_it_is),
    Entry(
        lmu,
        "linear",
        beside=(LegendreState,),
        timed=lambda features: {"memory": features, "window": 256},
    ),
    Entry(rwkv4_time_mix, "linear", timed=_as_it_is),
    Entry(rwkv4_channel_mix, "linear"),
    Entry(linear_attention, "matrix", timed=_with_heads),
    Entry(gated_linear_attention, "matrix", timed=_with_heads),
    Entry(hgrn2, "matrix", timed=_with_heads),
    Entry(retention, "matrix", timed=_with_heads),
    Entry(mamba2, "matrix", timed=_as_it_is),
    Entry(mamba3, "matrix"),
    Entry(delta_net, "matrix", timed=_with_heads),
    Entry(gated_delta_net, "matrix", timed=_with_heads),
    Entry(kimi_delta_attention, "matrix", timed=_with_heads),
    Entry(gated_delta_product, "matrix"),
    Entry(gated_delta_net2, "matrix"),
    Entry(comba, "matrix"),
    Entry(mlstm, "matrix", timed=_with_heads),
    Entry(mlstm_layer, "matrix", timed=_as_it_is),
    Entry(rwkv6_time_mix, "matrix", timed=_as_it_is),
    Entry(rwkv6_channel_mix, "matrix"),
    Entry(rwkv7_time_mix, "matrix", timed=_as_it_is),
    Entry(rwkv7_channel_mix, "matrix"),
    Entry(
        sliding_window_attention,
        "window",
        beside=(WindowAttentionState,),
        timed=lambda features: {"heads": heads_of_64(features), "window": 256},
    ),
    Entry(
        latent_attention,
        "window",
        beside=(LatentAttentionState,),
        timed=lambda features: {"heads": heads_of_64(features), "window": 256},
    ),
    Entry(minimal_gru_block, "block", trunk=Trunk("minimal_gru")),
    Entry(griffin_block, "block", trunk=Trunk("hawk")),
    Entry(mamba_block, "block", trunk=Trunk("mamba"), inside=mamba),
    Entry(mamba2_block, "block", trunk=Trunk("mamba2"), inside=mamba2),
    Entry(retention_block, "block", trunk=Trunk("retnet", layer_norm), inside=retention),
    Entry(gated_delta_net_block, "block", trunk=Trunk("gated_delta_net"), inside=gated_delta_net),
    Entry(
        gated_delta_net2_block, "block", trunk=Trunk("gated_delta_net2"), inside=gated_delta_net2
    ),
    Entry(
        gated_delta_product_block,
        "block",
        trunk=Trunk("gated_delta_product"),
        inside=gated_delta_product,
    ),
    Entry(comba_block, "block", trunk=Trunk("comba"), inside=comba),
    Entry(mamba3_block, "block", trunk=Trunk("mamba3"), inside=mamba3),
    Entry(m2rnn_block, "block", trunk=Trunk("m2rnn"), inside=m2rnn),
    Entry(mlstm_block, "block", trunk=Trunk("xlstm_7b"), inside=mlstm),
    Entry(slstm_block, "block", inside=slstm_layer),
    Entry(rwkv4_block, "block", trunk=Trunk("rwkv4", layer_norm, first_norm=True)),
    Entry(
        rwkv6_block,
        "block",
        trunk=Trunk("rwkv6", layer_norm, first_norm=True),
        inside=rwkv6_time_mix,
    ),
    Entry(
        rwkv7_block,
        "block",
        trunk=Trunk("rwkv7", layer_norm, first_norm=True),
        inside=rwkv7_time_mix,
    ),
    Entry(attention_block, "block", trunk=Trunk("attention"), inside=sliding_window_attention),
    Entry(attentive, "attention", beside=(attend_to, AttentiveParameters, AttentiveState)),
    Entry(conv_gru, "image"),
    Entry(conv_lstm, "image", beside=(ConvLSTMState,)),
    Entry(convolution, "image", beside=(strided, space_mean)),
)

# Made from the rows, so that no name stands here twice.
__all__ = [  # pyright: ignore[reportUnsupportedDunderAll]
    item.__name__ for entry in CATALOGUE for item in (entry.make, *entry.beside)
]
