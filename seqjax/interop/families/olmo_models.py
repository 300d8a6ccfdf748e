"""OLMo Hybrid: Gated DeltaNet, with attention in every fourth layer."""

from seqjax.core.blocks import prenorm
from seqjax.core.layers import feed_forward, rms_norm
from seqjax.core.stack import residual, stack
from seqjax.interop.families.delta_models import DECAYS, layer
from seqjax.interop.families.hybrid_trunk import full_attention, linear_attention, linear_widths
from seqjax.interop.families.trunks import FEED_FORWARD, LAYERS, ends, language_model
from seqjax.interop.operations import SplitAxis, T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, epsilon = config["hidden_size"], config["rms_norm_eps"]
    forward = feed_forward(width, hidden=config["intermediate_size"])
    norm = rms_norm(width, epsilon=epsilon)
    memory = linear_attention(config, negative_eigenvalues=config["linear_allow_neg_eigval"])
    attention = full_attention(config, norm="all")
    kinds = {
        "linear_attention": stack(
            time=prenorm(memory, epsilon=epsilon), channel=prenorm(forward, epsilon=epsilon)
        ),
        # Norms of these are behind what they are for.
        "full_attention": stack(
            time=residual(stack(cell=attention, behind=norm)),
            channel=residual(stack(cell=forward, behind=norm)),
        ),
    }
    return language_model(config, [kinds[kind] for kind in config["layer_types"]], norm, rngs)


def _linear(config):
    heads, keys, values = linear_widths(config)
    inward = tuple(f"{name}_proj" for name in "qkvbag")
    return layer(inward, (keys, keys, values, heads, heads, values), *DECAYS)


def _attention(config):
    queries, keys = config["num_attention_heads"], config["num_key_value_heads"]
    each = (("query", queries), ("key", keys), ("value", keys))
    return (
        *(
            Rule(f"{name[0]}_proj.weight", name, (T, SplitAxis(1, (heads, -1))))
            for name, heads in each
        ),
        *(
            Rule(f"{name[0]}_norm.weight", f"{name}_gain", SplitAxis(0, (heads, -1)))
            for name, heads in each[:2]
        ),
        Rule("o_proj.weight", "output", T),
    )


def _rules(config):
    whole = (
        Rule("attention_layer_norm.weight", "time.norm.gain"),
        Rule("feedforward_layer_norm.weight", "channel.norm.gain"),
        Rule("post_attention_layernorm.weight", "time.behind.gain"),
        Rule("post_feedforward_layernorm.weight", "channel.behind.gain"),
        *under("linear_attn.", "time.cell.", *_linear(config)),
        *under("self_attn.", "time.cell.", *_attention(config)),
        *under("mlp.", "", *FEED_FORWARD),
    )
    return (
        *under("model.layers.{layer}.", LAYERS, *whole),
        *ends("model.embed_tokens", "model.norm"),
    )


OLMO_HYBRID = Family(
    "olmo_hybrid",
    matches=lambda config, shapes: config.get("model_type") == "olmo_hybrid",
    build=_build,
    rules=_rules,
    defaults={
        "vocab_size": 100352,
        "hidden_size": 3840,
        "intermediate_size": 11008,
        "num_attention_heads": 30,
        "num_key_value_heads": 30,
        "max_position_embeddings": 65536,
        "rms_norm_eps": 1e-6,
        "rope_parameters": None,
        "linear_num_key_heads": 30,
        "linear_num_value_heads": 30,
        "linear_key_head_dim": 96,
        "linear_value_head_dim": 192,
        "linear_conv_kernel_dim": 4,
        "linear_allow_neg_eigval": True,
        "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 8,
        "tie_word_embeddings": False,
    },
    requires={"hidden_act": "silu", "attention_bias": False},
    tied={"lm_head.weight": "model.embed_tokens.weight"},
)
