"""Kimi Linear: Kimi Delta Attention, with latent attention in every fourth layer, and experts."""

from seqjax.cells.delta import kimi_delta_attention
from seqjax.cells.latent_attention import latent_attention
from seqjax.core.blocks import prenorm
from seqjax.core.layers import feed_forward, rms_norm
from seqjax.core.mixture_of_experts import mixture_of_experts
from seqjax.core.stack import stack
from seqjax.interop.families.delta_models import layer
from seqjax.interop.families.experts import (
    EXPERTS_INWARD,
    EXPERTS_OUTWARD,
    PRODUCTS,
    stacked_experts,
)
from seqjax.interop.families.trunks import FEED_FORWARD, LAYERS, NORMS, ends, language_model
from seqjax.interop.operations import DEPTHWISE, Split, SplitAxis, Squeeze, T, Transpose
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    epsilon = config["rms_norm_eps"]
    times = {"linear_attention": _memory, "full_attention": _attention}
    channels = {"dense": _dense, "sparse": _experts}
    blocks = {
        (time, channel): stack(
            time=prenorm(times[time](config), epsilon=epsilon),
            channel=prenorm(channels[channel](config), epsilon=epsilon),
        )
        for time, channel in set(_layers(config))
    }
    last = rms_norm(config["hidden_size"], epsilon=epsilon)
    return language_model(config, [blocks[kinds] for kinds in _layers(config)], last, rngs)


def _memory(config):
    heads, width, convolution = _sizes(config)
    return kimi_delta_attention(
        config["hidden_size"],
        heads=heads,
        width=width,
        convolution=convolution,
        convolution_bias=False,
        epsilon=config["rms_norm_eps"],
    )


def _attention(config):
    return latent_attention(
        config["hidden_size"],
        window=config["model_max_length"],
        heads=config["num_attention_heads"],
        rank=config["kv_lora_rank"],
        query_rank=config["q_lora_rank"],
        width=config["qk_nope_head_dim"],
        value_width=config["v_head_dim"],
        shared=config["qk_rope_head_dim"],
        rotary=False,
    )


def _dense(config):
    return feed_forward(config["hidden_size"], hidden=config["intermediate_size"])


def _experts(config):
    return mixture_of_experts(
        config["hidden_size"],
        experts=config["num_experts"],
        chosen=config["num_experts_per_token"],
        hidden=config["moe_intermediate_size"],
        shared=config["moe_intermediate_size"] * config["num_shared_experts"],
        scores="sigmoid",
        correction=True,
        groups=config["num_expert_group"],
        chosen_groups=config["topk_group"],
        normalized=config["moe_renormalize"],
        scale=config["routed_scaling_factor"],
        shared_gate=False,
    )


def _sizes(config):
    """Heads, their width, and steps of the convolution; published configs have them one below."""
    below = config["linear_attn_config"]
    return (
        below.get("num_heads", config["linear_num_heads"]),
        below.get("head_dim", config["linear_head_dim"]),
        below.get("short_conv_kernel_size", config["linear_conv_kernel_dim"]),
    )


def _layers(config):
    """What each layer is in time and in channels; published configs count from 1."""
    count, dense = config["num_hidden_layers"], config["first_k_dense_replace"]
    full = config["linear_attn_config"].get("full_attn_layers", range(5, count + 1, 4))
    kinds = {False: "linear_attention", True: "full_attention"}
    times = config["layer_types"] or [kinds[number in full] for number in range(1, count + 1)]
    channels = config["mlp_layer_types"] or ["dense"] * dense + ["sparse"] * (count - dense)
    return list(zip(times, channels, strict=True))


def _rules(config):
    """The names that are published; those that transformers holds; those that it writes, in which
    dense layers are called as experts are."""
    whole = (
        *NORMS,
        *under("self_attn.", "time.cell.", *_memory_rules(config), *_attention_rules(config)),
        *under("mlp.", "", *FEED_FORWARD),
        *under("block_sparse_moe.", "", *_expert_rules(config), *FEED_FORWARD),
        *under("mlp.", "", *HELD, *_expert_rules(config)),
    )
    return (
        *under("model.layers.{layer}.", LAYERS, *whole),
        *ends("model.embed_tokens", "model.norm"),
    )


HELD = (
    Rule("experts.gate_up_proj", EXPERTS_INWARD, (Transpose((0, 2, 1)), Split(2, 2))),
    Rule("experts.down_proj", EXPERTS_OUTWARD, Transpose((0, 2, 1))),
)


def _memory_rules(config):
    heads, width, _ = _sizes(config)
    decay = (
        Rule("A_log", "memory.A_log", (Squeeze(0), Squeeze(0), Squeeze(1)), float32=True),
        Rule("dt_bias", "memory.decay_bias", float32=True),
        Rule("f_b_proj.weight", "memory.decay_up", T),
    )
    sizes = (heads * width,) * 3 + (heads, width, width)
    inward = (*(f"{name}_proj" for name in "qkvb"), "f_a_proj", "g_a_proj")
    held = (*inward[:4], "forget_gate.f_a_proj", "g_a_proj")
    return (
        *layer(inward, sizes, *decay),
        Rule("g_b_proj.weight", "memory.gate_up", T),
        *layer(held, sizes, *under("forget_gate.", "", *decay)),
        Rule("conv1d.weight", "convolve.kernel", DEPTHWISE),
    )


def _attention_rules(config):
    by_head = (T, SplitAxis(1, (config["num_attention_heads"], -1)))
    latent = Split(1, (config["kv_lora_rank"], config["qk_rope_head_dim"]))
    both = Split(2, (config["qk_nope_head_dim"], config["v_head_dim"]))
    query = "q_proj" if config["q_lora_rank"] is None else "q_b_proj"
    return (
        Rule("q_a_proj.weight", "query_down", T),
        Rule("q_a_layernorm.weight", "query_gain"),
        Rule(f"{query}.weight", "query", by_head),
        Rule("kv_a_proj_with_mqa.weight", ("latent", "shared"), (T, latent)),
        Rule("kv_a_layernorm.weight", "latent_gain"),
        Rule("kv_b_proj.weight", ("key", "value"), (*by_head, both)),
        Rule("o_proj.weight", "output", T),
    )


def _expert_rules(config):
    """Routers are in float32 there as well."""
    return (
        Rule("gate.weight", "channel.cell.router", T, float32=True),
        Rule("gate.e_score_correction_bias", "channel.cell.correction", float32=True),
        *(
            Rule(f"shared_experts.{name}_proj.weight", f"channel.cell.shared.{name}", T)
            for name in PRODUCTS
        ),
        *stacked_experts(config["num_experts"], "w1", "w3", "w2"),
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
        "model_max_length": 1048576,
        "num_attention_heads": 32,
        "kv_lora_rank": 512,
        "q_lora_rank": None,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "v_head_dim": 128,
        "linear_attn_config": {},
        "linear_num_heads": 32,
        "linear_head_dim": 128,
        "linear_conv_kernel_dim": 4,
        "num_experts": 256,
        "num_experts_per_token": 8,
        "num_shared_experts": 1,
        "moe_intermediate_size": 1024,
        "moe_renormalize": True,
        "routed_scaling_factor": 2.446,
        "num_expert_group": 1,
        "topk_group": 1,
        "layer_types": None,
        "mlp_layer_types": None,
        "first_k_dense_replace": 1,
        "tie_word_embeddings": False,
    },
    requires={
        "hidden_act": "silu",
        "attention_bias": False,
        "mla_use_nope": True,
        "moe_layer_freq": 1,
        "moe_router_activation_func": "sigmoid",
        "rope_scaling": None,
    },
    tied={"lm_head.weight": "model.embed_tokens.weight"},
)
