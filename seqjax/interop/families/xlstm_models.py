"""xLSTM 7B."""

from seqjax.cells.mlstm import mlstm_block
from seqjax.core.layers import rms_norm
from seqjax.interop.families.trunks import LAYERS, ends, language_model, projections
from seqjax.interop.operations import T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, multiple = config["hidden_size"], config["ffn_round_up_to_multiple_of"]
    block = mlstm_block(
        width,
        heads=config["num_heads"],
        key_features=int(width * config["qk_dim_factor"]),
        hidden=int((width * config["ffn_proj_factor"] + multiple - 1) // multiple) * multiple,
        soft_cap=config["gate_soft_cap"],
        epsilon=config["eps"],
        scaled_epsilon=True,
        norm_epsilon=config["norm_eps"],
    )
    return language_model(
        config,
        [block] * config["num_hidden_layers"],
        rms_norm(config["hidden_size"], epsilon=config["norm_eps"]),
        rngs,
        soft_cap=config["output_logit_soft_cap"],
    )


def _layer(config):
    heads = config["num_heads"]
    return (
        Rule("norm_mlstm.weight", "time.norm.gain"),
        Rule("norm_ffn.weight", "channel.norm.gain"),
        *under(
            "mlstm_layer.",
            "time.cell.",
            *projections(".weight", query=heads, key=heads, value=heads),
            Rule("ogate_preact.weight", "gate", T),
            Rule("igate_preact.weight", "input", T, float32=True),
            Rule("igate_preact.bias", "input_bias", float32=True),
            Rule("fgate_preact.weight", "forget", T, float32=True),
            Rule("fgate_preact.bias", "forget_bias", float32=True),
            Rule("multihead_norm.weight", "norm_gain"),
            Rule("out_proj.weight", "output", T),
        ),
        *under(
            "ffn.",
            "channel.cell.",
            Rule("proj_up_gate.weight", "gate", T),
            Rule("proj_up.weight", "up", T),
            Rule("proj_down.weight", "down", T),
        ),
    )


XLSTM = Family(
    "xlstm",
    matches=lambda config, shapes: config.get("model_type") == "xlstm",
    build=_build,
    rules=lambda config: (
        *under("backbone.blocks.{layer}.", LAYERS, *_layer(config)),
        *ends("backbone.embeddings", "backbone.out_norm"),
    ),
    defaults={
        "vocab_size": 50304,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_heads": 8,
        "norm_eps": 1e-6,
        "qk_dim_factor": 0.5,
        "eps": 1e-6,
        "ffn_proj_factor": 2.667,
        "ffn_round_up_to_multiple_of": 64,
        "gate_soft_cap": 15.0,
        "output_logit_soft_cap": 30.0,
        "tie_word_embeddings": False,
    },
    requires={
        "use_bias": False,
        "add_out_norm": True,
        "v_dim_factor": 1.0,
        "weight_mode": "single",
    },
)
