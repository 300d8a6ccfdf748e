"""Kimi Linear: Kimi Delta Attention; latent attention and experts have no cell here."""

from seqjax.cells.delta import kimi_delta_attention
from seqjax.core.blocks import prenorm
from seqjax.core.errors import InputError
from seqjax.core.layers import feed_forward, rms_norm
from seqjax.core.stack import stack
from seqjax.interop.families.delta_models import layer
from seqjax.interop.families.trunks import FEED_FORWARD, LAYERS, ends, language_model
from seqjax.interop.operations import Squeeze, T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    _expect_known_layers(config)
    width, epsilon = config["hidden_size"], config["rms_norm_eps"]
    heads, head_width, convolution = _sizes(config)
    memory = kimi_delta_attention(
        width,
        heads=heads,
        width=head_width,
        convolution=convolution,
        convolution_bias=False,
        epsilon=epsilon,
    )
    forward = feed_forward(width, hidden=config["intermediate_size"])
    block = stack(time=prenorm(memory, epsilon=epsilon), channel=prenorm(forward, epsilon=epsilon))
    last = rms_norm(width, epsilon=epsilon)
    return language_model(config, [block] * config["num_hidden_layers"], last, rngs)


def _sizes(config):
    """Heads, their width, and steps of the convolution; published configs have them one below."""
    below = config["linear_attn_config"]
    return (
        below.get("num_heads", config["linear_num_heads"]),
        below.get("head_dim", config["linear_head_dim"]),
        below.get("short_conv_kernel_size", config["linear_conv_kernel_dim"]),
    )


def _expect_known_layers(config):
    """Layers of attention are counted from 1 in published configs."""
    count, below = config["num_hidden_layers"], config["linear_attn_config"]
    attention = [number - 1 for number in below.get("full_attn_layers", range(5, count + 1, 4))]
    dense = config["first_k_dense_replace"]
    linear = {False: "linear_attention", True: "full_attention"}
    kinds = config["layer_types"] or [linear[index in attention] for index in range(count)]
    forward = config["mlp_layer_types"] or ["dense"] * dense + ["sparse"] * (count - dense)
    for index, (kind, channel) in enumerate(zip(kinds, forward, strict=False)):
        what = {"full_attention": "self_attn is latent attention"}.get(kind)
        what = what or {"sparse": "mlp is a mixture of experts"}.get(channel)
        if what:
            raise InputError(
                f"kimi_linear: model.layers.{index}.{what}, for which there is no cell here; "
                "expected Kimi Delta Attention and dense feed-forward layers throughout."
            )


def _rules(config):
    heads, width, _ = _sizes(config)
    inward = (*(f"{name}_proj" for name in "qkvb"), "f_a_proj", "g_a_proj")
    own = (
        *layer(inward, (heads * width,) * 3 + (heads, width, width)),
        Rule("A_log", "memory.A_log", (Squeeze(0), Squeeze(0), Squeeze(1)), float32=True),
        Rule("dt_bias", "memory.decay_bias", float32=True),
        Rule("f_b_proj.weight", "memory.decay_up", T),
        Rule("g_b_proj.weight", "memory.gate_up", T),
    )
    whole = (
        Rule("input_layernorm.weight", "time.norm.gain"),
        Rule("post_attention_layernorm.weight", "channel.norm.gain"),
        *under("self_attn.", "time.cell.", *own),
        *under("mlp.", "", *FEED_FORWARD),
    )
    return (
        *under("model.layers.{layer}.", LAYERS, *whole),
        *ends("model.embed_tokens", "model.norm"),
    )


KIMI_LINEAR = Family(
    "kimi_linear",
    matches=lambda config, shapes: config.get("model_type") == "kimi_linear",
    build=_build,
    rules=_rules,
    defaults={
        "vocab_size": 163840,
        "hidden_size": 2304,
        "intermediate_size": 9216,
        "num_hidden_layers": 27,
        "rms_norm_eps": 1e-5,
        "linear_attn_config": {},
        "linear_num_heads": 32,
        "linear_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "layer_types": None,
        "mlp_layer_types": None,
        "first_k_dense_replace": 1,
        "tie_word_embeddings": False,
    },
    requires={"hidden_act": "silu"},
    tied={"lm_head.weight": "model.embed_tokens.weight"},
)
