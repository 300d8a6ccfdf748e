"""Mamba: transformers' names, and those of the first release."""

import functools
import math

from seqjax.cells.mamba import mamba
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell
from seqjax.core.layers import rms_norm
from seqjax.core.stack import stack
from seqjax.interop.operations import DEPTHWISE, Split, T
from seqjax.interop.table import Family, Rule, under
from seqjax.nn.language_model import LanguageModel


@functools.cache
def _norm(epsilon: float):
    return functools.partial(rms_norm, epsilon=epsilon)


def _build(config, shapes, rngs):
    width = config["hidden_size"]
    rank = config["time_step_rank"]
    block = prenorm(
        mamba(
            width,
            expand=config["expand"],
            state=config["state_size"],
            width=config["conv_kernel"],
            rank=math.ceil(width / 16) if rank == "auto" else rank,
        ),
        norm=_norm(config["layer_norm_epsilon"]),
    )
    blocks: dict[str, Cell] = {f"block_{i}": block for i in range(config["num_hidden_layers"])}
    cell = stack(blocks=stack(**blocks), last_norm=_norm(config["layer_norm_epsilon"])(width))
    return LanguageModel(
        config["vocab_size"],
        cell,
        embedding_size=width,
        tied=config["tie_word_embeddings"],
        rngs=rngs,
    )


LAYER = (
    Rule("norm.weight", "norm.gain"),
    *under(
        "mixer.",
        "cell.",
        Rule(
            "in_proj.weight",
            ("branches.recurrent.project.weights", "branches.gate.weights"),
            (T, Split(1, 2)),
        ),
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
        Rule("out_proj.weight", "output.weights", T),
    ),
)

REST = (
    *under("backbone.layers.{layer}.", "rnn.blocks.block_{layer}.", *LAYER),
    Rule("backbone.norm_f.weight", "rnn.last_norm.gain"),
    Rule("lm_head.weight", "head.kernel", T),
    Rule((), "bias", constant=0.0),
    Rule((), "head.bias", constant=0.0),
)

MAMBA = Family(
    "mamba",
    matches=lambda config, shapes: config.get("model_type") == "mamba",
    build=_build,
    rules=lambda config: (Rule("backbone.embeddings.weight", "embedding.embedding"), *REST),
    defaults={
        "vocab_size": 50280,
        "hidden_size": 768,
        "state_size": 16,
        "num_hidden_layers": 32,
        "layer_norm_epsilon": 1e-5,
        "expand": 2,
        "conv_kernel": 4,
        "time_step_rank": "auto",
        "tie_word_embeddings": True,
    },
    requires={"hidden_act": "silu"},
    tied={"lm_head.weight": "backbone.embeddings.weight"},
)


def _as_in_transformers(config, shapes, rngs):
    vocabulary, width = shapes["backbone.embedding.weight"]
    own = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": config["n_layer"],
        "state_size": shapes["backbone.layers.0.mixer.A_log"][1],
        "conv_kernel": shapes["backbone.layers.0.mixer.conv1d.weight"][2],
        "expand": shapes["backbone.layers.0.mixer.A_log"][0] // width,
        "time_step_rank": shapes["backbone.layers.0.mixer.dt_proj.weight"][1],
        "tie_word_embeddings": config["tie_embeddings"],
        "layer_norm_epsilon": 1e-5,
    }
    return _build(own, shapes, rngs)


MAMBA_ORIGINAL = Family(
    "mamba_original",
    matches=lambda config, shapes: (
        "d_model" in config and config.get("ssm_cfg", {}).get("layer", "Mamba1") == "Mamba1"
    ),
    build=_as_in_transformers,
    rules=lambda config: (Rule("backbone.embedding.weight", "embedding.embedding"), *REST),
    defaults={"tie_embeddings": True},
    requires={"rms_norm": True, "attn_layer_idx": []},
    tied={"lm_head.weight": "backbone.embedding.weight"},
)
