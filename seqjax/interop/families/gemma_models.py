"""RecurrentGemma: the Griffin that was released."""

import jax
import numpy as np
from ml_dtypes import bfloat16

from seqjax.cells.griffin import griffin_block
from seqjax.cells.sliding_window_attention import attention_block
from seqjax.core.layers import zero_centred_rms_norm
from seqjax.interop.families.trunks import (
    FEED_FORWARD,
    LAYERS,
    ends,
    language_model,
    linear,
    projections,
)
from seqjax.interop.operations import DEPTHWISE, Stack, T, merge_axes
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, heads = config["hidden_size"], config["num_attention_heads"]
    epsilon = config["rms_norm_eps"]
    both = {
        "hidden": config["intermediate_size"] // 2,
        "bias": True,
        "norm_around": zero_centred_rms_norm,
        "norm_epsilon": epsilon,
    }
    rope = {**ROPE, **(config["rope_parameters"] or {})}
    kinds = {
        "recurrent": griffin_block(
            width,
            inner=config["lru_width"] or width,
            blocks=heads,
            convolution=config["conv1d_width"],
            first_step="plain",
            **both,
        ),
        "attention": attention_block(
            width,
            window=config["attention_window_size"],
            heads=heads,
            key_heads=config["num_key_value_heads"] or heads,
            rotary=rope["partial_rotary_factor"],
            base=rope["rope_theta"],
            output_bias=True,
            activation=jax.nn.gelu,
            **both,
        ),
    }
    names = config["block_types"]
    return language_model(
        config,
        [kinds[names[i % len(names)]] for i in range(config["num_hidden_layers"])],
        zero_centred_rms_norm(width, epsilon=epsilon),
        rngs,
        # As rounded there.
        embedding_scale=float(np.asarray(width**0.5, bfloat16)),
        soft_cap=config["logits_soft_cap"],
    )


ROPE = {"rope_theta": 10000.0, "partial_rotary_factor": 0.5}

GATES = ("recurrent_gate", "input_gate")


def _recurrent(config):
    width = config["lru_width"] or config["hidden_size"]
    heads = config["num_attention_heads"]
    flat = merge_axes(0, (heads, width // heads))
    return (
        *linear("linear_y", "branches.gate"),
        *linear("linear_x", "branches.recurrent.project"),
        *linear("linear_out", "output"),
        *under(
            "",
            "branches.recurrent.",
            Rule("conv_1d.weight", "convolve.kernel", DEPTHWISE),
            Rule("conv_1d.bias", "convolve.bias"),
            Rule("rg_lru.recurrent_param", "memory.decay", float32=True),
            Rule(tuple(f"rg_lru.{gate}_weight" for gate in GATES), "memory.input", Stack(2)),
            Rule(tuple(f"rg_lru.{gate}_bias" for gate in GATES), "memory.bias", (flat, Stack(0))),
        ),
    )


def _attention(config):
    heads = config["num_attention_heads"]
    keys = config["num_key_value_heads"] or heads
    return (
        *projections("_proj.weight", query=heads, key=keys, value=keys),
        Rule("o_proj.weight", "output", T),
        Rule("o_proj.bias", "output_bias"),
    )


def _rules(config):
    layer = (
        Rule("temporal_pre_norm.weight", "time.norm.gain"),
        Rule("channel_pre_norm.weight", "channel.norm.gain"),
        *under("temporal_block.", "time.cell.", *_recurrent(config), *_attention(config)),
        *under("mlp_block.", "", *FEED_FORWARD),
    )
    return (
        *under("model.layers.{layer}.", LAYERS, *layer),
        *ends("model.embed_tokens", "model.final_norm"),
    )


RECURRENT_GEMMA = Family(
    "recurrent_gemma",
    matches=lambda config, shapes: config.get("model_type") == "recurrent_gemma",
    build=_build,
    rules=_rules,
    defaults={
        "num_hidden_layers": 26,
        "vocab_size": 256000,
        "hidden_size": 2560,
        "intermediate_size": 7680,
        "num_attention_heads": 10,
        "num_key_value_heads": None,
        "lru_width": None,
        "attention_window_size": 2048,
        "conv1d_width": 4,
        "logits_soft_cap": 30.0,
        "rms_norm_eps": 1e-6,
        "rope_parameters": None,
        "block_types": ("recurrent", "recurrent", "attention"),
        "tie_word_embeddings": True,
    },
    requires={"hidden_activation": "gelu_pytorch_tanh", "attention_bias": False},
    tied={"lm_head.weight": "model.embed_tokens.weight"},
)
