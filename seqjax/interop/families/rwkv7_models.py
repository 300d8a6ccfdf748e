"""RWKV-7: the names of the released `.pth` files, and those of fla."""

from seqjax.cells.rwkv7 import rwkv7_block
from seqjax.interop.families.rwkv_trunk import released_config, rwkv_model
from seqjax.interop.families.trunks import LAYERS, VECTOR, ends, norm_rules
from seqjax.interop.operations import T, merge_axes
from seqjax.interop.table import Family, Rule, under


def _of_shapes(config, shapes, rngs):
    attention, nothing = "blocks.0.att.", (None, None)
    return rwkv_model(
        rwkv7_block,
        released_config(shapes),
        rngs,
        heads=shapes[attention + "r_k"][0],
        decay_rank=shapes[attention + "w1"][1],
        rate_rank=shapes[attention + "a1"][1],
        value_rank=shapes.get("blocks.1.att.v1", nothing)[1],
        gate_rank=shapes[attention + "g1"][1],
        hidden=shapes["blocks.0.ffn.key.weight"][0],
    )


PARTS = (("receptance", "r"), ("key", "k"), ("value", "v"))

RELEASED = (
    *norm_rules("ln1", "time.norm"),
    *norm_rules("ln2", "channel.norm"),
    *under(
        "att.",
        "time.cell.mix.",
        *(Rule(f"x_{z}", f"mu_{z}", VECTOR) for z in "rwkvag"),
        *(
            rule
            for z, name in (("w", "decay"), ("a", "rate"), ("v", "first"))
            for rule in (
                Rule(f"{z}0", name, VECTOR),
                Rule(f"{z}1", f"{name}_down"),
                Rule(f"{z}2", f"{name}_up"),
            )
        ),
        Rule("g1", "gate_down"),
        Rule("g2", "gate_up"),
        *(Rule(f"{name}.weight", name, T) for name, _ in PARTS),
    ),
    *under(
        "att.",
        "time.cell.memory.",
        Rule("k_k", "key_norm", VECTOR),
        Rule("k_a", "key_rate", VECTOR),
        Rule("ln_x.weight", "norm_gain"),
        Rule("ln_x.bias", "norm_bias"),
        Rule("output.weight", "output", T),
    ),
    Rule("ffn.x_k", "channel.cell.mu", VECTOR),
    *(Rule(f"ffn.{name}.weight", f"channel.cell.{name}", T) for name in ("key", "value")),
)

RWKV7_PTH = Family(
    "rwkv7_pth",
    matches=lambda config, shapes: "blocks.0.att.r_k" in shapes,
    build=_of_shapes,
    rules=lambda config: (
        *under("blocks.{layer}.", LAYERS, *RELEASED),
        Rule(
            "blocks.{layer}.att.r_k",
            LAYERS + "time.cell.memory.bonus",
            merge_axes(0, (-1, config["head_size"])),
        ),
        *norm_rules("blocks.0.ln0", "rnn.first_norm"),
        *ends("emb", "ln_out", head="head"),
    ),
    defaults={"head_size": 64},
    # The first layer has no values before its own.
    ignored=tuple(f"blocks.0.att.v{n}" for n in range(3)),
)


def _layer(config):
    width = config["head_dim"] or config["hidden_size"] // config["num_heads"]
    return (
        *norm_rules("attn_norm", "time.norm"),
        *norm_rules("ffn_norm", "channel.norm"),
        *under(
            "attn.",
            "time.cell.mix.",
            *(Rule(f"x_{z}", f"mu_{z}", VECTOR) for z in "rwkvag"),
            *(
                rule
                for z, name in (("w", "decay"), ("a", "rate"), ("v", "first"), ("g", "gate"))
                for rule in (
                    Rule(f"{z}_lora.lora.0.weight", f"{name}_down", T),
                    Rule(f"{z}_lora.lora.2.weight", f"{name}_up", T),
                    Rule(f"{z}_lora.lora.2.bias", name),
                )
                if rule.ours != ("gate",)
            ),
            *(Rule(f"{short}_proj.weight", name, T) for name, short in PARTS),
        ),
        *under(
            "attn.",
            "time.cell.memory.",
            Rule("k_k", "key_norm"),
            Rule("k_a", "key_rate"),
            Rule("r_k", "bonus", merge_axes(0, (-1, width))),
            Rule("g_norm.weight", "norm_gain"),
            Rule("g_norm.bias", "norm_bias"),
            Rule("o_proj.weight", "output", T),
        ),
        Rule("ffn.x_k", "channel.cell.mu"),
        *(Rule(f"ffn.{name}.weight", f"channel.cell.{name}", T) for name in ("key", "value")),
    )


def _of_config(config, shapes, rngs):
    width = config["head_dim"] or config["hidden_size"] // config["num_heads"]
    return rwkv_model(
        rwkv7_block,
        config,
        rngs,
        heads=config["hidden_size"] // width,
        decay_rank=config["decay_low_rank_dim"],
        rate_rank=config["a_low_rank_dim"],
        value_rank=config["v_low_rank_dim"],
        gate_rank=config["gate_low_rank_dim"],
        hidden=config["intermediate_size"] or 4 * config["hidden_size"],
        epsilon=width * config["norm_eps"],
    )


RWKV7 = Family(
    "rwkv7",
    matches=lambda config, shapes: config.get("model_type") == "rwkv7",
    build=_of_config,
    rules=lambda config: (
        *under("model.layers.{layer}.", LAYERS, *_layer(config)),
        *norm_rules("model.layers.0.pre_norm", "rnn.first_norm"),
        *ends("model.embeddings", "model.norm"),
    ),
    defaults={
        "vocab_size": 32000,
        "hidden_size": 2048,
        "num_hidden_layers": 24,
        "head_dim": 64,
        "num_heads": None,
        "decay_low_rank_dim": 64,
        "gate_low_rank_dim": 128,
        "a_low_rank_dim": 64,
        "v_low_rank_dim": 16,
        "intermediate_size": None,
        "norm_eps": 1e-5,
        "tie_word_embeddings": False,
    },
    requires={
        "norm_first": True,
        "norm_bias": True,
        "hidden_ratio": 4.0,
        "hidden_act": "sqrelu",
        "attn": None,
    },
    tied={"lm_head.weight": "model.embeddings.weight"},
)
