"""Mamba-2: transformers' names, and those of the first release."""

from seqjax.cells.mamba2 import mamba2_block
from seqjax.core.layers import rms_norm
from seqjax.interop.families.trunks import LAYERS, ends, language_model
from seqjax.interop.operations import DEPTHWISE, Reorder, T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    block = mamba2_block(
        config["hidden_size"],
        inner=int(config["expand"] * config["hidden_size"]),
        heads=config["num_heads"],
        states=config["state_size"],
        groups=config["n_groups"],
        convolution=config["conv_kernel"],
        bias=config["use_bias"],
        convolution_bias=config["use_conv_bias"],
        step_limit=tuple(map(_number, config["time_step_limit"])),
        epsilon=config["layer_norm_epsilon"],
        norm_epsilon=config["layer_norm_epsilon"],
    )
    return language_model(
        config,
        [block] * config["num_hidden_layers"],
        rms_norm(config["hidden_size"], epsilon=config["layer_norm_epsilon"]),
        rngs,
    )


def _number(value):
    """JSON has no infinity: transformers writes `{"__float__": "Infinity"}`."""
    return float(value["__float__"] if isinstance(value, dict) else value)


def _layer(config):
    """Of `[z, x B C, d]` ours makes `[x B C, d, z]`."""
    inner = int(config["expand"] * config["hidden_size"])
    sizes = (inner, inner + 2 * config["n_groups"] * config["state_size"], config["num_heads"])
    inward = Reorder(0, (1, 2, 0), sizes)
    own = (
        Rule("in_proj.weight", "project.weights", (inward, T)),
        Rule("in_proj.bias", "project.bias", inward),
        Rule("conv1d.weight", "convolve.kernel", DEPTHWISE),
        Rule("conv1d.bias", "convolve.bias"),
        Rule("dt_bias", "memory.step_bias", float32=True),
        Rule("A_log", "memory.A_log", float32=True),
        Rule("D", "memory.D"),
        Rule("norm.weight", "memory.norm_gain"),
        Rule("out_proj.weight", "memory.output", T),
        Rule("out_proj.bias", "memory.output_bias"),
    )
    layer = (Rule("norm.weight", "norm.gain"), *under("mixer.", "cell.", *own))
    return under("backbone.layers.{layer}.", LAYERS, *layer)


MAMBA2 = Family(
    "mamba2",
    matches=lambda config, shapes: config.get("model_type") == "mamba2",
    build=_build,
    rules=lambda config: (*_layer(config), *ends("backbone.embeddings", "backbone.norm_f")),
    defaults={
        "num_heads": 128,
        "vocab_size": 32768,
        "hidden_size": 4096,
        "state_size": 128,
        "num_hidden_layers": 64,
        "layer_norm_epsilon": 1e-5,
        "expand": 2,
        "conv_kernel": 4,
        "n_groups": 8,
        "use_bias": False,
        "use_conv_bias": True,
        "time_step_limit": (0.0, float("inf")),
        "tie_word_embeddings": False,
    },
    requires={"hidden_act": "silu"},
    tied={"lm_head.weight": "backbone.embeddings.weight"},
)


def _as_in_transformers(config):
    """With a vocabulary padded as the first release pads it."""
    multiple, own = config["pad_vocab_size_multiple"], {**SSM, **config["ssm_cfg"]}
    return {
        **MAMBA2.defaults,
        "hidden_size": config["d_model"],
        "num_hidden_layers": config["n_layer"],
        "vocab_size": -(-config["vocab_size"] // multiple) * multiple,
        "tie_word_embeddings": config["tie_embeddings"],
        "num_heads": own["expand"] * config["d_model"] // own["headdim"],
        "expand": own["expand"],
        "state_size": own["d_state"],
        "n_groups": own["ngroups"],
        "conv_kernel": own["d_conv"],
    }


SSM = {"d_state": 128, "headdim": 64, "ngroups": 1, "expand": 2, "d_conv": 4}
"""What the first release does not write into a config."""

MAMBA2_ORIGINAL = Family(
    "mamba2_original",
    matches=lambda config, shapes: config.get("ssm_cfg", {}).get("layer") == "Mamba2",
    build=lambda config, shapes, rngs: _build(_as_in_transformers(config), shapes, rngs),
    rules=lambda config: (
        *_layer(_as_in_transformers(config)),
        *ends("backbone.embedding", "backbone.norm_f"),
    ),
    defaults={"tie_embeddings": True, "pad_vocab_size_multiple": 16},
    requires={"rms_norm": True, "attn_layer_idx": [], "d_intermediate": 0},
    tied={"lm_head.weight": "backbone.embedding.weight"},
)
