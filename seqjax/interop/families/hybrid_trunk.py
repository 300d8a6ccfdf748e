"""What hybrids have in common: Gated DeltaNet and full attention with rotary positions."""

from typing import Any

from seqjax.cells.delta import gated_delta_net
from seqjax.cells.sliding_window_attention import sliding_window_attention
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError

LINEAR_SIZES = {
    "linear_num_key_heads": 16,
    "linear_num_value_heads": 32,
    "linear_key_head_dim": 128,
    "linear_value_head_dim": 128,
    "linear_conv_kernel_dim": 4,
}


def linear_attention(config, **options: Any) -> Cell:
    """The Gated DeltaNet of a config."""
    return gated_delta_net(
        config["hidden_size"],
        heads=config["linear_num_value_heads"],
        key_heads=config["linear_num_key_heads"],
        key_width=config["linear_key_head_dim"],
        value_width=config["linear_value_head_dim"],
        convolution=config["linear_conv_kernel_dim"],
        convolution_bias=False,
        **options,
    )


def full_attention(config, **options: Any) -> Cell:
    """Attention over all that a config allows, with its rotary positions or with none."""
    rope = config["rope_parameters"] or {}
    if rope.get("rope_type", "default") != "default":
        raise InputError(
            "full_attention: rope_type can be 'default' here; this model has "
            f"{rope['rope_type']!r}."
        )
    return sliding_window_attention(
        config["hidden_size"],
        window=config["max_position_embeddings"],
        heads=config["num_attention_heads"],
        key_heads=config["num_key_value_heads"],
        rotary=rope.get("partial_rotary_factor", float(bool(rope))),
        base=rope.get("rope_theta", 10000.0),
        epsilon=config["rms_norm_eps"],
        **options,
    )


def linear_widths(config) -> tuple[int, int, int]:
    """Memories, and the widths of all keys and of all values."""
    heads = config["linear_num_value_heads"]
    keys = config["linear_num_key_heads"] * config["linear_key_head_dim"]
    return heads, keys, heads * config["linear_value_head_dim"]
