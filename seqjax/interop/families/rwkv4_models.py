"""RWKV-4: transformers' names, and those of the released `.pth` files."""

from seqjax.cells.rwkv import rwkv4_block
from seqjax.core.layers import layer_norm
from seqjax.interop.families.trunks import LAYERS, VECTOR, ends, language_model, norm_rules
from seqjax.interop.operations import Stack, T
from seqjax.interop.table import Family, Rule, under


def _build(config, shapes, rngs):
    width, layers = config["hidden_size"], config["num_hidden_layers"]
    own = {
        "inner": config["attention_hidden_size"],
        "hidden": config["intermediate_size"],
        "norm_epsilon": config["layer_norm_epsilon"],
    }
    return language_model(
        config,
        [rwkv4_block(width, layer=layer, layers=layers, **own) for layer in range(layers)],
        layer_norm(width),
        rngs,
        first_norm=layer_norm(width, epsilon=config["layer_norm_epsilon"]),
    )


def _layer(time, channel, mix, r, k, v):
    """With the names of the two parts, of what they mix, and of what that is for."""
    names = ("receptance", "key", "value")
    rows = (*VECTOR, Stack(0))
    return (
        *norm_rules("ln1", "time.norm"),
        *norm_rules("ln2", "channel.norm"),
        *under(
            f"{time}.",
            "time.cell.",
            Rule((f"{mix}_{r}", f"{mix}_{k}", f"{mix}_{v}"), "mix.mu", rows),
            Rule(tuple(f"{name}.weight" for name in names), "mix.weights", (T, Stack(0))),
            Rule("time_decay", "memory.decay", float32=True),
            Rule("time_first", "memory.bonus", float32=True),
            Rule("output.weight", "memory.output", T),
        ),
        *under(
            f"{channel}.",
            "channel.cell.",
            Rule((f"{mix}_{r}", f"{mix}_{k}"), "mu", rows),
            *(Rule(f"{name}.weight", name, T) for name in names),
        ),
    )


RWKV4 = Family(
    "rwkv4",
    matches=lambda config, shapes: config.get("model_type") == "rwkv",
    build=_build,
    rules=lambda config: (
        *under(
            "rwkv.blocks.{layer}.",
            LAYERS,
            *_layer("attention", "feed_forward", "time_mix", "receptance", "key", "value"),
        ),
        *norm_rules("rwkv.blocks.0.pre_ln", "rnn.first_norm"),
        *ends("rwkv.embeddings", "rwkv.ln_out", head="head"),
    ),
    defaults={
        "vocab_size": 50277,
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "attention_hidden_size": None,
        "intermediate_size": None,
        "layer_norm_epsilon": 1e-5,
        "tie_word_embeddings": False,
    },
    tied={"head.weight": "rwkv.embeddings.weight"},
)


def _of_shapes(config, shapes, rngs):
    vocabulary, width = shapes["emb.weight"]
    own = {
        **RWKV4.defaults,
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": sum(name.endswith(".ln1.weight") for name in shapes),
        "attention_hidden_size": shapes["blocks.0.att.key.weight"][0],
        "intermediate_size": shapes["blocks.0.ffn.key.weight"][0],
    }
    return _build(own, shapes, rngs)


RWKV4_PTH = Family(
    "rwkv4_pth",
    matches=lambda config, shapes: (
        "blocks.0.att.time_mix_r" in shapes and "blocks.0.att.ln_x.weight" not in shapes
    ),
    build=_of_shapes,
    rules=lambda config: (
        *under("blocks.{layer}.", LAYERS, *_layer("att", "ffn", "time_mix", "r", "k", "v")),
        *norm_rules("blocks.0.ln0", "rnn.first_norm"),
        *ends("emb", "ln_out", head="head"),
    ),
)
