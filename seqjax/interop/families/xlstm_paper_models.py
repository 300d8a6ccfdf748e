"""The xLSTM of the first paper, with matrix and scalar memories: the package xlstm."""

import math

from seqjax.cells.mlstm_layer import mlstm_layer
from seqjax.cells.slstm import slstm_block
from seqjax.core.blocks import prenorm
from seqjax.core.layers import layer_norm
from seqjax.core.reparametrized import ZeroCentred, reparametrized
from seqjax.interop.families.trunks import LAYERS, ends, language_model
from seqjax.interop.operations import DEPTHWISE, Split, SplitAxis, Stack, T, Transpose
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, layers = config["embedding_dim"], config["num_blocks"]
    scalar = range(layers) if config["slstm_at"] == "all" else config["slstm_at"]
    kinds = {True: _scalar_block, False: _matrix_block}
    norm = reparametrized(layer_norm(width, bias=False), ZeroCentred("gain"))
    named = {"hidden_size": width, "tie_word_embeddings": config["tie_weights"]}
    return language_model(
        {**config, **named},
        [kinds[layer in scalar](config, layer, layers) for layer in range(layers)],
        norm,
        rngs,
    )


def _matrix_block(config, layer, layers):
    own = {**MATRIX, **config["mlstm_block"]["mlstm"]}
    memory = mlstm_layer(
        config["embedding_dim"],
        heads=own["num_heads"],
        expand=round(own["proj_factor"]),
        convolution=own["conv1d_kernel_size"],
        block=own["qkv_proj_blocksize"],
        layers=layers,
        scaled_epsilon=True,
    )
    block = prenorm(memory, norm=layer_norm, bias=False)
    return reparametrized(block, ZeroCentred("gain", "norm_gain"))


MATRIX = {"num_heads": 4, "proj_factor": 2.0, "conv1d_kernel_size": 4, "qkv_proj_blocksize": 4}

SCALAR = {"num_heads": 4, "conv1d_kernel_size": 4}

WIDER = {"proj_factor": 1.3, "round_proj_up_to_multiple_of": 64}


def _scalar_block(config, layer, layers):
    own = {**SCALAR, **config["slstm_block"]["slstm"]}
    after = {**WIDER, **(config["slstm_block"].get("feedforward") or {})}
    multiple = after["round_proj_up_to_multiple_of"]
    block = slstm_block(
        config["embedding_dim"],
        hidden=math.ceil(after["proj_factor"] * config["embedding_dim"] / multiple) * multiple,
        layer=layer,
        layers=layers,
        norm_bias=False,
        heads=own["num_heads"],
        convolution=own["conv1d_kernel_size"],
    )
    return reparametrized(block, ZeroCentred("gain", "norm"))


CONVOLUTION = (
    Rule("conv1d.conv.weight", "kernel", DEPTHWISE),
    Rule("conv1d.conv.bias", "bias"),
)

BLOCKS = Transpose((0, 2, 1))
"""Blocks of a block-diagonal matrix."""


def _matrix_rules():
    own = (
        *(Rule(f"{name[0]}_proj.weight", name, BLOCKS) for name in ("query", "key", "value")),
        Rule("mlstm_cell.igate.weight", "input", T, float32=True),
        Rule("mlstm_cell.igate.bias", "input_bias", float32=True),
        Rule("mlstm_cell.fgate.weight", "forget", T, float32=True),
        Rule("mlstm_cell.fgate.bias", "forget_bias", float32=True),
        Rule("mlstm_cell.outnorm.weight", "norm_gain"),
        Rule("learnable_skip", "skip"),
        Rule("proj_down.weight", "output", T),
    )
    return (
        Rule("xlstm_norm.weight", "norm.gain"),
        Rule("xlstm.proj_up.weight", "cell.project.weights", T),
        *under("xlstm.", "cell.convolve.", *CONVOLUTION),
        *under("xlstm.", "cell.memory.", *own),
    )


def _scalar_rules():
    """What is called fgate there makes the first gate of the cell, the input gate."""
    gates = tuple(f"{name}gate.weight" for name in "fizo")
    recurrent = (SplitAxis(1, (4, -1)), Transpose((0, 3, 1, 2)))
    return (
        Rule("xlstm_norm.weight", "time.norm.gain"),
        Rule("ffn_norm.weight", "channel.norm.gain"),
        *under("xlstm.", "time.cell.gates.convolution.", *CONVOLUTION),
        *under(
            "xlstm.",
            "time.cell.",
            Rule(gates, "gates.weights", (BLOCKS, Stack(2))),
            Rule("slstm_cell._recurrent_kernel_", "memory.recurrent", recurrent),
            Rule("slstm_cell._bias_", "memory.bias", SplitAxis(0, (4, -1))),
            Rule("group_norm.weight", "norm"),
        ),
        Rule("ffn.proj_up.weight", ("channel.cell.gate", "channel.cell.up"), (T, Split(1, 2))),
        Rule("ffn.proj_down.weight", "channel.cell.down", T),
    )


def _rules(config):
    layer = (*_matrix_rules(), *_scalar_rules())
    return (
        *under("xlstm_block_stack.blocks.{layer}.", LAYERS, *layer),
        *ends("token_embedding", "xlstm_block_stack.post_blocks_norm"),
    )


XLSTM_PAPER = Family(
    "xlstm_paper",
    matches=lambda config, shapes: "mlstm_block" in config or "slstm_block" in config,
    build=_build,
    rules=_rules,
    defaults={"mlstm_block": None, "slstm_block": None, "slstm_at": (), "tie_weights": False},
    requires={"bias": False, "add_post_blocks_norm": True},
    tied={"lm_head.weight": "token_embedding.weight"},
    ignored=("*.mlstm_cell.causal_mask",),
)
