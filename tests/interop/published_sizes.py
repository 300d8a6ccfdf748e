"""Models of every published size are built from their config, with the published number of
parameters.

    python -m tests.interop.published_sizes

builds all of them without arrays; the tests have the smallest of some families.
"""

import jax
from flax import nnx

import seqjax as sj


def mamba(width, layers):
    return {"model_type": "mamba", "hidden_size": width, "num_hidden_layers": layers}


def mamba2(width, layers):
    return {
        "d_model": width,
        "n_layer": layers,
        "vocab_size": 50277,
        "ssm_cfg": {"layer": "Mamba2"},
    }


def rwkv4(width, layers):
    return {"model_type": "rwkv", "hidden_size": width, "num_hidden_layers": layers}


def rwkv6(width, layers, mix=32, decay=64):
    return {
        "model_type": "rwkv6",
        "vocab_size": 65536,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_heads": width // 64,
        "expand_k": 1.0,
        "proj_low_rank_dim": mix,
        "gate_low_rank_dim": decay,
    }


def rwkv7(width, layers, decay, value, gate):
    return {
        "model_type": "rwkv7",
        "vocab_size": 65536,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "decay_low_rank_dim": decay,
        "a_low_rank_dim": decay,
        "v_low_rank_dim": value,
        "gate_low_rank_dim": gate,
    }


def qwen(width, layers, hidden, heads=16, memories=32, *, tied=False):
    return {
        "model_type": "qwen3_5_text",
        "hidden_size": width,
        "num_hidden_layers": layers,
        "intermediate_size": hidden,
        "num_attention_heads": heads,
        "linear_num_value_heads": memories,
        "tie_word_embeddings": tied,
    }


def gemma(width, layers, hidden, heads):
    return {
        "model_type": "recurrent_gemma",
        "hidden_size": width,
        "lru_width": width,
        "num_hidden_layers": layers,
        "intermediate_size": hidden,
        "num_attention_heads": heads,
        "num_key_value_heads": 1,
    }


KIMI = {
    "model_type": "kimi_linear",
    "linear_attn_config": {
        "full_attn_layers": [4, 8, 12, 16, 20, 24, 27],
        "head_dim": 128,
        "num_heads": 32,
        "short_conv_kernel_size": 4,
    },
    "first_k_dense_replace": 1,
}


SIZES = {
    # name: (config, the number of parameters as it was published)
    "mamba-130m": (mamba(768, 24), 129_135_360),
    "mamba-370m": (mamba(1024, 48), 371_516_416),
    "mamba-790m": (mamba(1536, 48), 793_204_224),
    "mamba-1.4b": (mamba(2048, 48), 1_372_178_432),
    "mamba-2.8b": (mamba(2560, 64), 2_768_345_600),
    "falcon-mamba-7b": (
        {
            "model_type": "falcon_mamba",
            "hidden_size": 4096,
            "intermediate_size": 8192,
            "num_hidden_layers": 64,
            "vocab_size": 65024,
            "tie_word_embeddings": False,
        },
        7.27e9,
    ),
    "mamba2-130m": (mamba2(768, 24), 129e6),
    "mamba2-370m": (mamba2(1024, 48), 368e6),
    "mamba2-780m": (mamba2(1536, 48), 780e6),
    "mamba2-1.3b": (mamba2(2048, 48), 1.34e9),
    "mamba2-2.7b": (mamba2(2560, 64), 2.70e9),
    "codestral-mamba-7b": ({"model_type": "mamba2"}, 7_285_403_648),
    "rwkv4-169m": (rwkv4(768, 12), 1.693e8),
    "rwkv4-430m": (rwkv4(1024, 24), 4.304e8),
    "rwkv4-1.5b": (rwkv4(2048, 24), 1.515e9),
    "rwkv4-3b": (rwkv4(2560, 32), 2.985e9),
    "rwkv4-7b": (rwkv4(4096, 32), 7.393e9),
    "rwkv4-14b": (rwkv4(5120, 40), 1.415e10),
    "rwkv6-1.6b": (rwkv6(2048, 24), 1.60e9),
    "rwkv6-3b": (rwkv6(2560, 32), 3.10e9),
    "rwkv6-7b": (rwkv6(4096, 32, 64, 128), 7.64e9),
    "rwkv6-14b": (rwkv6(4096, 61, 64, 128), 14.1e9),
    "rwkv7-0.1b": (rwkv7(768, 12, 64, 32, 128), 191_034_624),
    "rwkv7-0.4b": (rwkv7(1024, 24, 64, 32, 128), 450_767_872),
    "rwkv7-1.5b": (rwkv7(2048, 24, 96, 64, 256), 1_527_404_544),
    "rwkv7-2.9b": (rwkv7(2560, 32, 96, 64, 320), 2_947_735_040),
    "xlstm-7b": ({"model_type": "xlstm"}, 6_865_424_896),
    "gla-1.3b": ({"model_type": "gla", "intermediate_size": 5632}, 1.37e9),
    "hgrn2-1.3b": ({"model_type": "hgrn2", "intermediate_size": 5632}, 1.37e9),
    "delta_net-1.3b": ({"model_type": "delta_net", "intermediate_size": 5632}, 1.37e9),
    "recurrentgemma-2b": (gemma(2560, 26, 15360, 10), 2.68e9),
    # These as transformers counts them, for Kimi with the corrections of 26 routers, buffers there.
    "kimi-linear-48b-a3b": (KIMI, 49_122_675_072 + 26 * 256),
    "olmo-hybrid-7b": ({"model_type": "olmo_hybrid"}, 7_430_870_688),
    "qwen3-next-80b": ({"model_type": "qwen3_next"}, 79_674_391_296),
    "qwen3.5-4b": (qwen(2560, 32, 9216, tied=True), 4_205_751_296),
    "qwen3.5-9b": (qwen(4096, 32, 12288), 8_953_803_264),
    "qwen3.5-27b": (qwen(5120, 64, 17408, 24, 48), 26_895_998_464),
}


def check(name: str) -> None:
    """An exact number is met exactly, a rounded one to three digits."""
    config, published = SIZES[name]
    model = nnx.eval_shape(lambda: sj.interop.build(config, rngs=nnx.Rngs(0)).model)
    count = sum(leaf.size for leaf in jax.tree.leaves(model))
    tolerance = 0 if isinstance(published, int) else 5e-3
    assert abs(count - published) <= tolerance * published, (name, count, published)


if __name__ == "__main__":
    for name in SIZES:
        check(name)
        print(name)
