"""Every built-in cell, in every variant, as one row: what spans all cells runs over this."""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

import seqjax as sj
from seqjax.core.cell import Cell
from seqjax.engines.methods import METHODS
from tests.attention_cells import CELLS as ATTENTION_CELLS
from tests.matrix_cells import CELLS as MATRIX_CELLS

IN_FEATURES = 3


PLAIN = ("plain", "auto", "newton")
WITH_KEYS = (*PLAIN, "recompute", "store")
GATED = (*WITH_KEYS, "fused")
LINEAR = (*PLAIN, "fused", "associative", "chunked")
MATRIX = (*PLAIN, "fused", "chunked")
ANY_STEP = (*PLAIN, "recompute")
ANY = METHODS
"""The methods that a cell can be forced to."""


class Row(NamedTuple):
    """A cell, whether it is one of the few on which slow checks run, and its methods."""

    name: str
    cell: Cell
    core: bool = False
    methods: tuple[str, ...] = GATED


def _decayed_average():
    """A plain Cell that is not gated, with an integer leaf in its carry."""

    def init(key, in_features):
        return {"decay": jnp.full((in_features,), 0.5)}

    def initial_carry(params, batch_shape=()):
        width = params["decay"].shape[0]
        zeros = jnp.zeros((*batch_shape, width), params["decay"].dtype)
        return {"average": zeros, "steps": jnp.zeros(batch_shape, jnp.int32)}

    def step(params, carry, x):
        decay = jnp.broadcast_to(params["decay"], x.shape)
        average = (decay * carry["average"] + x).astype(carry["average"].dtype)
        return {"average": average, "steps": carry["steps"] + 1}, average

    return sj.Cell(init, initial_carry, step, IN_FEATURES)


flax_gru = functools.partial(
    nnx.GRUCell, hidden_features=4, dtype=jnp.float64, param_dtype=jnp.float64
)


def _over_space(cell, *space):
    """A convolutional cell over vectors whose entries are taken to lie in space."""
    there = sj.pointwise(
        lambda _, x: x.reshape(*x.shape[:-1], *space, 1),
        features=1,
        init=lambda key, in_features: (),
        output_ndim=len(space) + 1,
    )
    back = sj.pointwise(
        lambda _, x: x.reshape(*x.shape[: -1 - len(space)], -1),
        features=cell.features * IN_FEATURES,
        init=lambda key, in_features: (),
        input_ndim=len(space) + 1,
        output_ndim=1,
    )
    return sj.stack(there, cell, back)


LAYERS = sj.stack(
    norm=sj.layer_norm(3),
    wide=sj.dense(4, activation=jnp.tanh),
    block=sj.prenorm(sj.feed_forward(4, hidden=3)),
)

TABLE = [
    Row("elman", sj.elman(4), core=True),
    Row("elman_relu", sj.elman(4, activation=jax.nn.relu)),
    Row("elman_layer_norm", sj.elman(4, layer_norm=True)),
    Row("lstm", sj.lstm(4), core=True),
    Row("lstm_peepholes", sj.lstm(4, peepholes=True)),
    Row("lstm_coupled", sj.lstm(4, coupled=True, peepholes=True)),
    Row("lstm_projection", sj.lstm(4, projection=2)),
    Row("lstm_layer_norm", sj.lstm(4, layer_norm=True)),
    Row("lstm_heads", sj.lstm(4, blocks=2)),
    Row("gru", sj.gru(4), core=True),
    Row("gru_reset_before", sj.gru(4, reset="before")),
    Row("gru_diagonal", sj.gru(4, blocks=4)),
    Row(
        "gru_reset_before_heads_layer_norm",
        sj.gru(4, reset="before", blocks=2, layer_norm=True),
    ),
    Row("minimal_gated", sj.minimal_gated(4), core=True),
    Row("minimal_gated_reset_before", sj.minimal_gated(4, reset="before")),
    Row("ugrnn", sj.ugrnn(4)),
    Row("janet", sj.janet(4)),
    Row("li_gru", sj.li_gru(4)),
    Row("fast_grnn", sj.fast_grnn(4)),
    Row("star", sj.star(4)),
    Row("multiplicative_lstm", sj.multiplicative_lstm(4)),
    Row("phased_lstm", sj.phased_lstm(4)),
    Row("clockwork", sj.clockwork(4, periods=(1, 3)), methods=ANY_STEP),
    Row("lem", sj.lem(4, dt=0.5)),
    Row("cornn", sj.cornn(4), methods=ANY_STEP),
    Row("antisymmetric", sj.antisymmetric(4), methods=ANY_STEP),
    Row("cfc", sj.cfc(4, backbone=3), methods=ANY_STEP),
    Row("ltc", sj.ltc(4, unfolds=2), methods=ANY_STEP),
    Row("para_gru", sj.para_gru(4)),
    Row("para_lstm", sj.para_lstm(4)),
    Row("m2rnn", sj.m2rnn(4, heads=2, keys=3, convolution=2)),
    Row("not_gated", _decayed_average(), methods=PLAIN),
    Row("token_shift", sj.token_shift(IN_FEATURES), methods=ANY),
    Row(
        "short_convolution",
        sj.short_convolution(IN_FEATURES, activation=jax.nn.silu),
        core=True,
        methods=ANY,
    ),
    Row("minimal_gru", sj.minimal_gru(4), core=True, methods=LINEAR),
    Row("minimal_gru_logarithmic", sj.minimal_gru(2, logarithmic=True), methods=LINEAR),
    Row("minimal_lstm", sj.minimal_lstm(4), methods=LINEAR),
    Row("minimal_lstm_logarithmic", sj.minimal_lstm(2, logarithmic=True), methods=LINEAR),
    Row("qrnn_f", sj.qrnn(2, pooling="f"), methods=LINEAR),
    Row("qrnn", sj.qrnn(2), methods=LINEAR),
    Row("qrnn_ifo", sj.qrnn(2, width=3, pooling="ifo"), methods=LINEAR),
    Row("sru", sj.sru(4), methods=PLAIN),
    Row("sru_linear", sj.sru(4, peepholes=False), methods=LINEAR),
    Row("sru_skip", sj.sru(3, peepholes=False), methods=LINEAR),
    Row("indrnn", sj.indrnn(4, activation=jnp.tanh)),
    Row(
        "lru",
        sj.lru(4, state=2),
        core=True,
        methods=LINEAR,
    ),
    Row("lru_skip", sj.lru(3), methods=LINEAR),
    Row("s4d", sj.s4d(3, state=4), methods=LINEAR),
    Row("s5", sj.s5(4, state=4), methods=LINEAR),
    Row("linoss", sj.linoss(4, state=2), methods=LINEAR),
    Row(
        "linoss_implicit",
        sj.linoss(3, state=3, discretization="implicit", nonnegative="square"),
        methods=LINEAR,
    ),
    Row("rg_lru", sj.rg_lru(3), methods=LINEAR),
    Row("rg_lru_plain", sj.rg_lru(3, blocks=3, first_step="plain"), methods=LINEAR),
    Row("s6", sj.s6(3, state=2), methods=LINEAR),
    Row("mamba", sj.mamba(3, state=2, width=2), methods=LINEAR),
    Row(
        "mamba_negative",
        sj.mamba(3, state=2, width=2, negative_eigenvalues=True),
        methods=LINEAR,
    ),
    Row("lmu", sj.lmu(4, memory=3, window=5), methods=PLAIN),
    Row("rwkv4_time_mix", sj.rwkv4_time_mix(3), methods=LINEAR),
    Row("rwkv4_channel_mix", sj.rwkv4_channel_mix(3, layer=1, layers=3), methods=ANY),
    Row("slstm", sj.slstm(4, heads=2, recurrent_init=sj.initializers.Orthogonal())),
    Row("slstm_linear", sj.slstm(4, recurrent=False), methods=LINEAR),
    *(Row(name, cell, methods=MATRIX) for name, cell in MATRIX_CELLS.items()),
    Row(
        "sliding_window_attention",
        sj.sliding_window_attention(3, window=3, heads=2, key_heads=1, width=4, rotary=0.5),
        methods=ANY,
    ),
    Row(
        "sliding_window_attention_options",
        sj.sliding_window_attention(
            4, window=2, heads=2, soft_cap=2.0, norm="all", gate=True, bias=True, output_bias=True
        ),
        methods=ANY,
    ),
    Row(
        "latent_attention",
        sj.latent_attention(3, window=3, heads=2, rank=2, width=1, shared=2),
        methods=ANY,
    ),
    # With a norm behind it, so that large steps of training do not leave its range.
    Row(
        "minimal_gru_block",
        sj.stack(sj.minimal_gru_block(3), sj.rms_norm(3)),
        methods=LINEAR,
    ),
    Row("griffin_block", sj.griffin_block(3, inner=2), methods=LINEAR),
    Row("mamba_block", sj.mamba_block(3, state=2), methods=LINEAR),
    Row("rwkv4_block", sj.rwkv4_block(3), methods=LINEAR),
    Row("slstm_layer", sj.stack(sj.dense(4), sj.slstm_layer(4, heads=2, convolution=2))),
    Row("slstm_block", sj.slstm_block(3, heads=3, convolution=2)),
    Row("rwkv7_channel_mix", sj.rwkv7_channel_mix(3, hidden=2), methods=ANY),
    Row("attentive", ATTENTION_CELLS["attentive"], core=True),
    *(Row(name, ATTENTION_CELLS[name]) for name in list(ATTENTION_CELLS)[1:2]),
    *(Row(name, ATTENTION_CELLS[name], methods=ANY_STEP) for name in list(ATTENTION_CELLS)[2:]),
    Row("conv_lstm", _over_space(sj.conv_lstm(2, space=(3,)), 3), methods=ANY_STEP),
    Row("conv_gru", _over_space(sj.conv_gru(1, space=(3, 1)), 3, 1), methods=ANY_STEP),
    Row("layers", LAYERS, methods=ANY),
    Row("product", sj.product(sj.gru(2), sj.dense(2))),
    Row("on_slice", sj.on_slice(sj.gru(2), width=2, rest=1)),
    Row("stack", sj.stack(sj.lstm(3), sj.gru(4))),
    Row("residual", sj.residual(sj.gru(IN_FEATURES))),
    Row("learned_initial_carry", sj.learned_initial_carry(sj.lstm(4))),
    Row("dropout", sj.dropout(sj.gru(4), 0.4)),
    Row("dropout_variational", sj.dropout(sj.elman(4), 0.4, variational=True)),
    Row("zoneout", sj.zoneout(sj.lstm(4), sj.LSTMState(hidden=0.2, cell=0.5)), methods=WITH_KEYS),
    Row(
        "all_together",
        sj.stack(
            sj.dropout(sj.zoneout(sj.gru(IN_FEATURES), 0.3), 0.3),
            sj.residual(sj.learned_initial_carry(sj.elman(IN_FEATURES))),
        ),
        methods=WITH_KEYS,
    ),
    Row("bidirectional", sj.bidirectional(sj.gru(2)), core=True),
    Row("bidirectional_sum", sj.bidirectional(sj.lstm(2), sj.elman(2), merge="sum")),
    Row(
        "bidirectional_inside",
        sj.stack(
            sj.bidirectional(sj.learned_initial_carry(sj.elman(2)), merge=jnp.maximum),
            sj.dropout(sj.residual(sj.bidirectional(sj.elman(2), merge="sum")), 0.3),
        ),
    ),
    Row("flax_gru", sj.nn.from_flax(flax_gru, 4), methods=PLAIN),
]

ROWS = {row.name: row for row in TABLE}
CELLS = {row.name: row.cell for row in TABLE}
CORE = {row.name: row.cell for row in TABLE if row.core}
