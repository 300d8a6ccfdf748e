"""Qwen3-Next and Qwen3.5: Gated DeltaNet, with gated attention in every fourth layer."""

from seqjax.core.blocks import prenorm
from seqjax.core.layers import zero_centred_rms_norm
from seqjax.core.stack import stack
from seqjax.interop.families.delta_models import DECAYS
from seqjax.interop.families.experts import (
    EXPERTS,
    expert_rules,
    feed_forwards,
    sparse_layers,
)
from seqjax.interop.families.hybrid_trunk import (
    LINEAR_SIZES,
    full_attention,
    linear_attention,
    linear_widths,
)
from seqjax.interop.families.trunks import (
    FEED_FORWARD,
    LAYERS,
    NORMS,
    ends,
    language_model,
    projections,
)
from seqjax.interop.operations import (
    DEPTHWISE,
    Reorder,
    Split,
    SplitAxis,
    T,
    concatenate,
    merge_axes,
)
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, epsilon = config["hidden_size"], config["rms_norm_eps"]
    options = {"norm": zero_centred_rms_norm, "epsilon": epsilon}
    attention = full_attention(
        {**config, "rope_parameters": _rotary(config)},
        width=config["head_dim"],
        norm="head",
        zero_centred=True,
        gate=True,
    )
    times = {
        "linear_attention": prenorm(linear_attention(config, epsilon=epsilon), **options),
        "full_attention": prenorm(attention, **options),
    }
    channels = {
        sparse: prenorm(channel, **options) for sparse, channel in feed_forwards(config).items()
    }
    kinds = zip(_layer_types(config), sparse_layers(config), strict=True)
    blocks = [stack(time=times[kind], channel=channels[sparse]) for kind, sparse in kinds]
    return language_model(config, blocks, zero_centred_rms_norm(width, epsilon=epsilon), rngs)


def _layer_types(config):
    regular = (["linear_attention"] * (config["full_attention_interval"] - 1)) + ["full_attention"]
    layers = config["num_hidden_layers"]
    return config["layer_types"] or (regular * layers)[:layers]


def _rotary(config):
    """Older configs have it outside."""
    own = {name: config[name] for name in ("rope_theta", "partial_rotary_factor")}
    return {**own, **(config["rope_parameters"] or {})}


def _attention(config):
    """Queries and gates come head by head."""
    queries, keys = config["num_attention_heads"], config["num_key_value_heads"]
    gated = (T, SplitAxis(1, (queries, -1)), Split(2, 2))
    return (
        Rule("q_proj.weight", ("query", "gate"), gated),
        *projections("_proj.weight", key=keys, value=keys),
        Rule("q_norm.weight", "query_gain"),
        Rule("k_norm.weight", "key_gain"),
        Rule("o_proj.weight", "output", T),
    )


LINEAR = (
    Rule("conv1d.weight", "convolve.kernel", DEPTHWISE),
    Rule("norm.weight", "memory.norm_gain"),
    Rule("out_proj.weight", "memory.output", T),
    *DECAYS,
)


def _grouped(config):
    """Of `[q k v z]` and `[b a]` by key heads ours makes `[q k v b a z]`."""
    memories, keys, values = linear_widths(config)
    heads = config["linear_num_key_heads"]
    each = tuple(size // heads for size in (keys, keys, values, values, memories, memories))
    order = (0, 1, 2, 4, 5, 3)
    inward = (
        T,
        SplitAxis(1, (heads, -1)),
        concatenate(2, (sum(each[:4]), sum(each[4:]))),
        Split(2, each),
        merge_axes(1, (heads, -1)),
        concatenate(1, tuple(heads * size for size in each)),
        Reorder(1, order, tuple(heads * size for size in each)),
    )
    return Rule(("in_proj_qkvz.weight", "in_proj_ba.weight"), "project.weights", inward)


def _apart(config):
    memories, keys, values = linear_widths(config)
    inward = tuple(f"in_proj_{name}.weight" for name in ("qkv", "b", "a", "z"))
    sizes = (2 * keys + values, memories, memories, values)
    return Rule(inward, "project.weights", (T, concatenate(1, sizes)))


def _rules(config, inward, prefix):
    layer = (
        *NORMS,
        *under("linear_attn.", "time.cell.", inward, *LINEAR),
        *under("self_attn.", "time.cell.", *_attention(config)),
        *under("mlp.", "", *FEED_FORWARD, *expert_rules(config)),
    )
    return (
        *under(f"{prefix}.layers.{{layer}}.", LAYERS, *layer),
        *ends(f"{prefix}.embed_tokens", f"{prefix}.norm"),
    )


REQUIRES = {"hidden_act": "silu", "attention_bias": False, "rope_scaling": None}

QWEN3_5_TEXT = Family(
    "qwen3_5_text",
    matches=lambda config, shapes: config.get("model_type") == "qwen3_5_text",
    build=_build,
    rules=lambda config: _rules(config, _apart(config), "model"),
    defaults={
        "vocab_size": 248320,
        "hidden_size": 4096,
        "intermediate_size": 12288,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "num_key_value_heads": 4,
        "head_dim": 256,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-6,
        "rope_parameters": None,
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.25,
        "layer_types": None,
        "full_attention_interval": 4,
        "tie_word_embeddings": False,
        **LINEAR_SIZES,
        **EXPERTS,
    },
    requires=REQUIRES,
    tied={"lm_head.weight": "model.embed_tokens.weight"},
    ignored=("mtp.*",),
)


def _text(config):
    """What the config of a model for images as well says of its text."""
    tied = {"tie_word_embeddings": config["tie_word_embeddings"]}
    return QWEN3_5_TEXT.complete({**tied, **config["text_config"]}, {})


QWEN3_5 = Family(
    "qwen3_5",
    matches=lambda config, shapes: config.get("model_type") == "qwen3_5",
    build=lambda config, shapes, rngs: _build(_text(config), shapes, rngs),
    rules=lambda config: _rules(_text(config), _apart(_text(config)), "model.language_model"),
    defaults={"tie_word_embeddings": False},
    tied={"lm_head.weight": "model.language_model.embed_tokens.weight"},
    ignored=("model.visual.*", "mtp.*"),
)


QWEN3_NEXT = Family(
    "qwen3_next",
    matches=lambda config, shapes: config.get("model_type") == "qwen3_next",
    build=_build,
    rules=lambda config: _rules(config, _grouped(config), "model"),
    defaults={
        **QWEN3_5_TEXT.defaults,
        "vocab_size": 151936,
        "hidden_size": 2048,
        "intermediate_size": 5632,
        "num_hidden_layers": 48,
        "num_key_value_heads": 2,
        "num_experts": 512,
    },
    requires=REQUIRES,
    tied=QWEN3_5_TEXT.tied,
    ignored=QWEN3_5_TEXT.ignored,
)
