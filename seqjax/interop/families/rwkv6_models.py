"""RWKV-6: the names of the released `.pth` files, and those of fla."""

from seqjax.cells.rwkv6 import rwkv6_block
from seqjax.interop.families.rwkv_trunk import released_config, rwkv_model
from seqjax.interop.families.trunks import LAYERS, VECTOR, ends, norm_rules
from seqjax.interop.operations import Reorder, Split, SplitAxis, Squeeze, T, merge_axes
from seqjax.interop.table import Family, Rule, under


def _of_shapes(config, shapes, rngs):
    return rwkv_model(
        rwkv6_block,
        released_config(shapes),
        rngs,
        heads=shapes["blocks.0.att.time_faaaa"][0],
        mix_rank=shapes["blocks.0.att.time_maa_w2"][1],
        decay_rank=shapes["blocks.0.att.time_decay_w1"][1],
        hidden=shapes["blocks.0.ffn.key.weight"][0],
    )


RELEASED = (
    *norm_rules("ln1", "time.norm"),
    *norm_rules("ln2", "channel.norm"),
    *under(
        "att.",
        "time.cell.mix.",
        Rule("time_maa_x", "mu", VECTOR),
        *(Rule(f"time_maa_{z}", f"mu_{z}", VECTOR) for z in "wkvrg"),
        Rule("time_maa_w1", "mix_down"),
        Rule("time_maa_w2", "mix_up"),
        Rule("time_decay", "decay", VECTOR),
        Rule("time_decay_w1", "decay_down"),
        Rule("time_decay_w2", "decay_up"),
        *(Rule(f"{name}.weight", name, T) for name in ("receptance", "key", "value", "gate")),
    ),
    *under(
        "att.",
        "time.cell.memory.",
        Rule("ln_x.weight", "norm_gain"),
        Rule("ln_x.bias", "norm_bias"),
        Rule("output.weight", "output", T),
    ),
    *under(
        "ffn.",
        "channel.cell.",
        *(Rule(f"time_maa_{z}", f"mu_{z}", VECTOR) for z in "kr"),
        *(Rule(f"{name}.weight", name, T) for name in ("receptance", "key", "value")),
    ),
)

RWKV6_PTH = Family(
    "rwkv6_pth",
    matches=lambda config, shapes: "blocks.0.att.time_maa_w1" in shapes,
    build=_of_shapes,
    rules=lambda config: (
        *under("blocks.{layer}.", LAYERS, *RELEASED),
        Rule(
            "blocks.{layer}.att.time_faaaa",
            LAYERS + "time.cell.memory.bonus",
            merge_axes(0, (-1, config["head_size"])),
        ),
        *norm_rules("blocks.0.ln0", "rnn.first_norm"),
        *ends("emb", "ln_out", head="head"),
    ),
    defaults={"head_size": 64},
)

WKVRG = (1, 2, 3, 0, 4)
"""Where fla, whose order is r w k v g, has what we have in the order w k v r g."""


def _layer(config):
    width = config["hidden_size"] // config["num_heads"]
    parts = [("receptance", "r"), ("key", "k"), ("value", "v"), ("gate", "g")]
    rates = [f"mu_{z}" for z in "rwkvg"]
    lora = "w_proj.linear.lora."
    return (
        *norm_rules("attn_norm", "time.norm"),
        *norm_rules("ffn_norm", "channel.norm"),
        *under(
            "attn.",
            "time.cell.mix.",
            Rule("x_proj.0.mu", "mu"),
            Rule("x_bias", tuple(rates), (Split(0, 5), Squeeze(0))),
            Rule("x_proj.0.linear.weight", "mix_down", (T, Reorder(1, WKVRG))),
            Rule("x_proj.2.weight", "mix_up", (T, SplitAxis(0, (5, -1)), Reorder(0, WKVRG))),
            Rule(f"{lora}2.bias", "decay"),
            Rule(f"{lora}0.weight", "decay_down", T),
            Rule(f"{lora}2.weight", "decay_up", T),
            *(Rule(f"{short}_proj.linear.weight", name, T) for name, short in parts),
        ),
        *under(
            "attn.",
            "time.cell.memory.",
            Rule("bonus", "bonus", merge_axes(0, (-1, width))),
            Rule("g_norm.weight", "norm_gain"),
            Rule("g_norm.bias", "norm_bias"),
            Rule("o_proj.weight", "output", T),
        ),
        *under(
            "ffn.",
            "channel.cell.",
            *(Rule(f"{name}.mu", f"mu_{name[0]}") for name in ("key", "receptance")),
            *(Rule(f"{name}.linear.weight", name, T) for name in ("key", "receptance")),
            Rule("value.weight", "value", T),
        ),
    )


RWKV6 = Family(
    "rwkv6",
    matches=lambda config, shapes: config.get("model_type") == "rwkv6",
    build=lambda config, shapes, rngs: rwkv_model(
        rwkv6_block,
        config,
        rngs,
        heads=config["num_heads"],
        mix_rank=config["proj_low_rank_dim"],
        decay_rank=config["gate_low_rank_dim"],
        hidden=config["intermediate_size"] or -(-int(config["hidden_size"] * 3.5) // 32) * 32,
        epsilon=config["norm_eps"],
    ),
    rules=lambda config: (
        *under("model.layers.{layer}.", LAYERS, *_layer(config)),
        *norm_rules("model.layers.0.pre_norm", "rnn.first_norm"),
        *ends("model.embeddings", "model.norm"),
    ),
    defaults={
        "vocab_size": 32000,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "num_heads": 4,
        "proj_low_rank_dim": 32,
        "gate_low_rank_dim": 64,
        "intermediate_size": None,
        "norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "expand_k": 0.5,
    },
    requires={
        "expand_k": 1.0,
        "expand_v": 1.0,
        "norm_first": True,
        "norm_bias": True,
        "hidden_ratio": 3.5,
        "hidden_act": "sqrelu",
        "attn": None,
    },
    tied={"lm_head.weight": "model.embeddings.weight"},
)
