"""Mamba: transformers' names, those of the first release, and Falcon Mamba."""

import math

from seqjax.cells.mamba import mamba_block
from seqjax.core.layers import rms_norm
from seqjax.interop.families.trunks import LAYERS, ends, language_model, linear
from seqjax.interop.operations import DEPTHWISE, Split, T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, rank = config["hidden_size"], config["time_step_rank"]
    block = mamba_block(
        width,
        inner=config.get("intermediate_size", int(config["expand"] * width)),
        state=config["state_size"],
        width=config["conv_kernel"],
        rank=math.ceil(width / 16) if rank == "auto" else rank,
        bias=config["use_bias"],
        convolution_bias=config["use_conv_bias"],
        selection_norm=config["mixer_rms_eps"],
        norm_epsilon=config["layer_norm_epsilon"],
    )
    return language_model(
        config,
        [block] * config["num_hidden_layers"],
        rms_norm(config["hidden_size"], epsilon=config["layer_norm_epsilon"]),
        rngs,
    )


HALVES = ("branches.recurrent.project", "branches.gate")

LAYER = (
    Rule("norm.weight", "norm.gain"),
    *under(
        "mixer.",
        "cell.",
        Rule("in_proj.weight", tuple(f"{half}.weights" for half in HALVES), (T, Split(1, 2))),
        Rule("in_proj.bias", tuple(f"{half}.bias" for half in HALVES), Split(0, 2)),
        Rule("conv1d.weight", "branches.recurrent.convolve.kernel", DEPTHWISE),
        Rule("conv1d.bias", "branches.recurrent.convolve.bias"),
        *under(
            "",
            "branches.recurrent.memory.",
            Rule("x_proj.weight", "selection", T),
            Rule("dt_proj.weight", "step_weights", T),
            Rule("dt_proj.bias", "step_bias", float32=True),
            Rule("A_log", "a", float32=True),
            Rule("D", "skip"),
        ),
        *linear("out_proj", "output"),
    ),
)
LAYER = under("backbone.layers.{layer}.", LAYERS, *LAYER)

MAMBA = Family(
    "mamba",
    matches=lambda config, shapes: config.get("model_type") == "mamba",
    build=_build,
    rules=lambda config: (*LAYER, *ends("backbone.embeddings", "backbone.norm_f")),
    defaults={
        "vocab_size": 50280,
        "hidden_size": 768,
        "state_size": 16,
        "num_hidden_layers": 32,
        "layer_norm_epsilon": 1e-5,
        "expand": 2,
        "conv_kernel": 4,
        "time_step_rank": "auto",
        "use_bias": False,
        "use_conv_bias": True,
        "mixer_rms_eps": None,
        "tie_word_embeddings": True,
    },
    requires={"hidden_act": "silu"},
    tied={"lm_head.weight": "backbone.embeddings.weight"},
)

FALCON_MAMBA = Family(
    "falcon_mamba",
    matches=lambda config, shapes: config.get("model_type") == "falcon_mamba",
    build=_build,
    rules=MAMBA.rules,
    defaults={**MAMBA.defaults, "mixer_rms_eps": 1e-6},
    requires=MAMBA.requires,
    tied=MAMBA.tied,
)


def _as_in_transformers(config, shapes, rngs):
    vocabulary, width = shapes["backbone.embedding.weight"]
    inner, state = shapes["backbone.layers.0.mixer.A_log"]
    own = {
        **MAMBA.defaults,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": config["n_layer"],
        "state_size": state,
        "conv_kernel": shapes["backbone.layers.0.mixer.conv1d.weight"][2],
        "expand": inner / width,
        "time_step_rank": shapes["backbone.layers.0.mixer.dt_proj.weight"][1],
        "tie_word_embeddings": config["tie_embeddings"],
    }
    return _build(own, shapes, rngs)


MAMBA_ORIGINAL = Family(
    "mamba_original",
    matches=lambda config, shapes: (
        "d_model" in config and config.get("ssm_cfg", {}).get("layer", "Mamba1") == "Mamba1"
    ),
    build=_as_in_transformers,
    rules=lambda config: (*LAYER, *ends("backbone.embedding", "backbone.norm_f")),
    defaults={"tie_embeddings": True},
    requires={"rms_norm": True, "attn_layer_idx": []},
    tied={"lm_head.weight": "backbone.embedding.weight"},
)
