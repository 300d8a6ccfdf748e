"""Models of fla with the delta rule: DeltaNet, Gated DeltaNet, Kimi Delta Attention."""

from seqjax.cells.delta import delta_net, gated_delta_net, kimi_delta_attention
from seqjax.interop.families.fla_models import DEFAULTS, REQUIRES, TIED, rules, trunk
from seqjax.interop.operations import Squeeze, T, concatenate
from seqjax.interop.table import Family, Rule

CONVOLUTIONS = tuple(f"{name}_conv1d.weight" for name in "qkv")


def layer(inward: tuple[str, ...], sizes: tuple[int, ...], *more: Rule) -> tuple[Rule, ...]:
    """The rules of a layer whose products `inward`, q, k and v first, are one here."""
    return (
        Rule(
            tuple(f"{name}.weight" for name in inward),
            "project.weights",
            (T, concatenate(1, sizes)),
        ),
        Rule(CONVOLUTIONS, "convolve.kernel", (Squeeze(1), T, concatenate(1, sizes[:3]))),
        Rule("o_norm.weight", "memory.norm_gain"),
        Rule("o_proj.weight", "memory.output", T),
        *more,
    )


DECAYS = (
    Rule("A_log", "memory.A_log", float32=True),
    Rule("dt_bias", "memory.decay_bias", float32=True),
)

SHORT = {**REQUIRES, "use_short_conv": True}

DELTA_NET = Family(
    "delta_net",
    matches=lambda config, shapes: config.get("model_type") == "delta_net",
    build=lambda config, shapes, rngs: trunk(
        config,
        delta_net(
            config["hidden_size"],
            heads=config["num_heads"],
            convolution=config["conv_size"],
            convolution_bias=False,
            negative_eigenvalues=config["allow_neg_eigval"],
            epsilon=config["norm_eps"],
        ),
        rngs,
    ),
    rules=lambda config: rules(
        *layer(
            ("q_proj", "k_proj", "v_proj", "b_proj"),
            (config["hidden_size"],) * 3 + (config["num_heads"],),
        )
    ),
    defaults={**DEFAULTS, "num_heads": 16, "conv_size": 4, "allow_neg_eigval": False},
    requires={
        **SHORT,
        "expand_k": 1.0,
        "expand_v": 1.0,
        "use_gate": False,
        "use_beta": True,
        "use_output_norm": True,
        "qk_norm": "l2",
        "qk_activation": "silu",
    },
    tied=TIED,
)


def _gated_sizes(config):
    """Memories, and the widths of their keys and values."""
    heads = config["num_v_heads"] or config["num_heads"]
    return heads, config["head_dim"], int(config["head_dim"] * config["expand_v"])


def _gated_build(config, shapes, rngs):
    heads, keys, values = _gated_sizes(config)
    cell = gated_delta_net(
        config["hidden_size"],
        heads=heads,
        key_heads=config["num_heads"],
        key_width=keys,
        value_width=values,
        convolution=config["conv_size"],
        convolution_bias=False,
        negative_eigenvalues=config["allow_neg_eigval"],
        epsilon=config["norm_eps"],
    )
    return trunk(config, cell, rngs)


def _gated_rules(config):
    heads, keys, values = _gated_sizes(config)
    keys, values = config["num_heads"] * keys, heads * values
    inward = tuple(f"{name}_proj" for name in "qkvbag")
    return rules(*layer(inward, (keys, keys, values, heads, heads, values), *DECAYS))


GATED_DELTA_NET = Family(
    "gated_deltanet",
    matches=lambda config, shapes: config.get("model_type") == "gated_deltanet",
    build=_gated_build,
    rules=_gated_rules,
    defaults={
        **DEFAULTS,
        "num_hidden_layers": 21,
        "num_heads": 6,
        "num_v_heads": None,
        "head_dim": 256,
        "expand_v": 2.0,
        "conv_size": 4,
        "allow_neg_eigval": False,
    },
    requires={**SHORT, "use_gate": True},
    tied=TIED,
)


def _kda_rules(config):
    heads, width = config["num_heads"], config["head_dim"]
    inward = (*(f"{name}_proj" for name in "qkvb"), "f_proj.0", "g_proj.0")
    return rules(
        *layer(inward, (heads * width,) * 3 + (heads, width, width), *DECAYS),
        Rule("f_proj.1.weight", "memory.decay_up", T),
        Rule("g_proj.1.weight", "memory.gate_up", T),
        Rule("g_proj.1.bias", "memory.gate_bias"),
    )


KDA = Family(
    "kda",
    matches=lambda config, shapes: config.get("model_type") == "kda",
    build=lambda config, shapes, rngs: trunk(
        config,
        kimi_delta_attention(
            config["hidden_size"],
            heads=config["num_heads"],
            width=config["head_dim"],
            gate_bias=True,
            convolution=config["conv_size"],
            convolution_bias=False,
            negative_eigenvalues=config["allow_neg_eigval"],
            epsilon=config["norm_eps"],
        ),
        rngs,
    ),
    rules=_kda_rules,
    defaults={
        **DEFAULTS,
        "num_heads": 16,
        "head_dim": 128,
        "conv_size": 4,
        "allow_neg_eigval": False,
    },
    requires={**SHORT, "expand_v": 1.0, "num_v_heads": None, "safe_gate": False},
    tied=TIED,
)
