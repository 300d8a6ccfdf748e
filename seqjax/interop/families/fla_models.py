"""Models of fla: RetNet and GLA; what all of them have around their layers."""

from seqjax.cells.linear_attention import gated_linear_attention
from seqjax.cells.retention import retention
from seqjax.core.blocks import prenorm
from seqjax.core.cell import Cell
from seqjax.core.layers import feed_forward, rms_norm
from seqjax.core.stack import stack
from seqjax.interop.families.trunks import (
    FEED_FORWARD,
    LAYERS,
    ends,
    language_model,
    norm_rules,
    projections,
)
from seqjax.interop.operations import SplitAxis, T, concatenate
from seqjax.interop.table import Family, Rule, under

DEFAULTS = {
    "vocab_size": 32000,
    "hidden_size": 2048,
    "num_hidden_layers": 24,
    "hidden_ratio": 4,
    "intermediate_size": None,
    "norm_eps": 1e-6,
    "tie_word_embeddings": False,
}

REQUIRES = {"hidden_act": "swish", "attn": None, "attnres_block_size": None, "num_kv_heads": None}

TIED = {"lm_head.weight": "model.embeddings.weight"}


def block(config, cell: Cell) -> Cell:
    """A layer and a feed-forward layer, both behind norms."""
    width, epsilon = config["hidden_size"], config["norm_eps"]
    least = int(width * config["hidden_ratio"] * 2 / 3)
    hidden = config["intermediate_size"] or -(-least // 256) * 256
    channel = prenorm(feed_forward(width, hidden=hidden), epsilon=epsilon)
    return stack(time=prenorm(cell, epsilon=epsilon), channel=channel)


def trunk(config, cell: Cell, rngs):
    """A language model of equal blocks."""
    last = rms_norm(config["hidden_size"], epsilon=config["norm_eps"])
    return language_model(config, [block(config, cell)] * config["num_hidden_layers"], last, rngs)


def rules(*layer: Rule) -> tuple[Rule, ...]:
    """All rules of such a model, from those of its layer."""
    whole = (
        *norm_rules("attn_norm", "time.norm"),
        *norm_rules("mlp_norm", "channel.norm"),
        *under("attn.", "time.cell.", *layer),
        *under("mlp.", "", *FEED_FORWARD),
    )
    return (
        *under("model.layers.{layer}.", LAYERS, *whole),
        *ends("model.embeddings", "model.norm"),
    )


def _retnet_rules(config):
    keys = config["hidden_size"]
    values = int(config["expand_v"] * keys)
    inward = tuple(f"{name}_proj.weight" for name in "qkvg")
    return rules(
        Rule(inward, "project.weights", (T, concatenate(1, (keys, keys, values, values)))),
        Rule("g_norm_swish_gate.weight", "memory.norm_gain"),
        Rule("o_proj.weight", "memory.output", T),
    )


RETNET = Family(
    "retnet",
    matches=lambda config, shapes: config.get("model_type") == "retnet",
    build=lambda config, shapes, rngs: trunk(
        config,
        retention(
            config["hidden_size"],
            heads=config["num_heads"],
            value_factor=int(config["expand_v"]),
            norm="rms",
            epsilon=config["norm_eps"],
        ),
        rngs,
    ),
    rules=_retnet_rules,
    defaults={**DEFAULTS, "hidden_ratio": 2, "num_heads": 8, "expand_v": 2.0},
    requires={
        **REQUIRES,
        "expand_k": 1.0,
        "feature_map": None,
        "use_short_conv": False,
        "use_output_gate": True,
        "elementwise_affine": True,
        "fuse_norm": True,
    },
    tied=TIED,
)


def _gla_rules(config):
    count = config["num_heads"]
    heads = (count, -1)
    return rules(
        *projections("_proj.weight", query=count, key=count, value=count, gate=count),
        Rule("gk_proj.0.weight", "decay_down", T),
        Rule("gk_proj.1.weight", "decay_up", (T, SplitAxis(1, heads))),
        Rule("gk_proj.1.bias", "decay_bias", SplitAxis(0, heads)),
        Rule("g_norm_swish_gate.weight", "norm_gain"),
        Rule("o_proj.weight", "output", T),
    )


GLA = Family(
    "gla",
    matches=lambda config, shapes: config.get("model_type") == "gla",
    build=lambda config, shapes, rngs: trunk(
        config,
        gated_linear_attention(
            config["hidden_size"],
            heads=config["num_heads"],
            epsilon=config["norm_eps"],
        ),
        rngs,
    ),
    rules=_gla_rules,
    defaults={**DEFAULTS, "num_heads": 4},
    requires={
        **REQUIRES,
        "expand_k": 0.5,
        "expand_v": 1.0,
        "feature_map": None,
        "use_short_conv": False,
        "use_output_gate": True,
        "use_gk": True,
        "use_gv": False,
        "clamp_min": None,
        "elementwise_affine": True,
        "fuse_norm": True,
    },
    tied=TIED,
)
