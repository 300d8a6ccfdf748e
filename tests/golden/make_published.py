"""Writes tiny random models as they are published: config, weights, and what they compute.

    pip install -r tests/golden/requirements.txt
    python -m tests.golden.make_published [--check] [name ...]

in an environment of its own, on a CPU. Each is a folder in `published/`, in the form of the Hugging
Face Hub, with `expected.npz` beside: tokens, logits, and the state after half of the tokens, in
float32. With `--check` nothing is
written: the library must read every folder and compute what it holds.
"""

import argparse
import json
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parent / "published"
VOCABULARY, TIME = 13, 8

SMALL = {"vocab_size": VOCABULARY, "hidden_size": 6, "num_hidden_layers": 2}


def mamba() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    own = {"state_size": 3, "expand": 3, "time_step_rank": 2, "conv_kernel": 3}
    return MambaForCausalLM(MambaConfig(**SMALL, **own))


def mamba_untied() -> Any:
    from transformers import MambaConfig, MambaForCausalLM

    return MambaForCausalLM(MambaConfig(**SMALL, state_size=3, tie_word_embeddings=False))


def falcon_mamba() -> Any:
    from transformers import FalconMambaConfig, FalconMambaForCausalLM

    own = {"state_size": 3, "time_step_rank": 2, "use_bias": True, "use_conv_bias": False}
    return FalconMambaForCausalLM(FalconMambaConfig(**SMALL, **own, mixer_rms_eps=1e-2))


def mamba2() -> Any:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    own = {"num_heads": 4, "head_dim": 3, "n_groups": 2, "state_size": 3, "conv_kernel": 3}
    config = Mamba2Config(**SMALL, **own, use_bias=True, time_step_limit=(0.1, 1.0))
    return Mamba2ForCausalLM(config)


def mamba2_tied() -> Any:
    from transformers import Mamba2Config, Mamba2ForCausalLM

    own = {"num_heads": 2, "head_dim": 6, "n_groups": 1, "state_size": 3, "use_conv_bias": False}
    return Mamba2ForCausalLM(Mamba2Config(**SMALL, **own, tie_word_embeddings=True))


def rwkv4() -> Any:
    from transformers import RwkvConfig, RwkvForCausalLM

    own = {"intermediate_size": 5, "layer_norm_epsilon": 1e-3}
    return RwkvForCausalLM(RwkvConfig(**SMALL, **own))


def xlstm() -> Any:
    from transformers import xLSTMConfig, xLSTMForCausalLM

    own = {"num_heads": 2, "hidden_size": 8, "autocast_kernel_dtype": "float32", "use_cache": False}
    config = xLSTMConfig(**{**SMALL, **own}, ffn_round_up_to_multiple_of=3, gate_soft_cap=2.0)
    return xLSTMForCausalLM(config)


def recurrent_gemma() -> Any:
    from transformers import RecurrentGemmaConfig, RecurrentGemmaForCausalLM

    own = {"hidden_size": 8, "lru_width": 6, "num_attention_heads": 2, "num_key_value_heads": 1}
    own |= {"num_hidden_layers": 3, "intermediate_size": 10, "attention_window_size": 3}
    # Its recurrence remembers the last call where there is a cache.
    config = RecurrentGemmaConfig(**{**SMALL, **own}, use_cache=False, logits_soft_cap=2.0)
    return RecurrentGemmaForCausalLM(config)


def olmo_hybrid() -> Any:
    from transformers import OlmoHybridConfig, OlmoHybridForCausalLM

    own = {"hidden_size": 8, "intermediate_size": 5, "num_attention_heads": 2}
    own |= {"num_key_value_heads": 1, "linear_num_key_heads": 1, "linear_num_value_heads": 2}
    own |= {"linear_key_head_dim": 3, "linear_value_head_dim": 4, "num_hidden_layers": 2}
    layers = ["linear_attention", "full_attention"]
    own |= {"max_position_embeddings": 16, "pad_token_id": 0, "rms_norm_eps": 1e-3}
    config = OlmoHybridConfig(**{**SMALL, **own}, layer_types=layers)
    return OlmoHybridForCausalLM(config)


QWEN = {
    "hidden_size": 8, "intermediate_size": 5, "num_attention_heads": 2, "num_key_value_heads": 1,
    "head_dim": 8, "linear_num_key_heads": 2, "linear_num_value_heads": 4,
    "linear_key_head_dim": 3, "linear_value_head_dim": 2, "max_position_embeddings": 16,
    "layer_types": ["linear_attention", "full_attention"], "rms_norm_eps": 1e-3,
}  # fmt: skip


def qwen3_next() -> Any:
    from transformers import Qwen3NextConfig, Qwen3NextForCausalLM

    experts = {"num_experts": 4, "num_experts_per_tok": 2, "mlp_only_layers": [0]}
    experts |= {"moe_intermediate_size": 4, "shared_expert_intermediate_size": 2}
    return Qwen3NextForCausalLM(Qwen3NextConfig(**{**SMALL, **QWEN}, **experts))


def qwen3_5_text() -> Any:
    from transformers import Qwen3_5ForCausalLM, Qwen3_5TextConfig

    # Heads that do not divide the width, as in the model of 27 billion parameters.
    return Qwen3_5ForCausalLM(Qwen3_5TextConfig(**{**SMALL, **QWEN, "hidden_size": 6}))


def qwen3_5() -> Any:
    """With what it sees images with, which is not read."""
    from transformers import Qwen3_5Config, Qwen3_5ForConditionalGeneration

    eye = {"depth": 1, "hidden_size": 8, "intermediate_size": 4, "num_heads": 1, "patch_size": 2}
    eye |= {"out_hidden_size": 8, "num_position_embeddings": 4, "temporal_patch_size": 1}
    text = {**SMALL, **QWEN, "tie_word_embeddings": True}
    config = Qwen3_5Config(text_config=text, vision_config=eye, tie_word_embeddings=True)
    return Qwen3_5ForConditionalGeneration(config)


def kimi_linear() -> Any:
    import torch
    from transformers import KimiLinearConfig, KimiLinearForCausalLM

    own = {"hidden_size": 8, "intermediate_size": 5, "linear_num_heads": 2, "linear_head_dim": 3}
    own |= {"layer_types": ["linear_attention", "full_attention"], "max_position_embeddings": 16}
    own |= {"num_attention_heads": 2, "num_key_value_heads": 2, "kv_lora_rank": 3}
    own |= {"qk_nope_head_dim": 4, "qk_rope_head_dim": 2, "v_head_dim": 3}
    experts = {"num_local_experts": 6, "num_experts_per_tok": 2, "n_group": 2, "topk_group": 1}
    experts |= {"moe_intermediate_size": 4, "mlp_layer_types": ["dense", "sparse"]}
    own |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    model = KimiLinearForCausalLM(KimiLinearConfig(**{**SMALL, **own}, **experts))
    for name, buffer in model.named_buffers():
        if name.endswith("correction_bias"):
            torch.nn.init.normal_(buffer, std=0.5)
    return model


def mamba_original() -> Any:
    return mamba_of(ORIGINAL["mamba_original"])


def mamba2_original() -> Any:
    return mamba_of(ORIGINAL["mamba2_original"])


ORIGINAL: dict[str, dict[str, Any]] = {
    name: {
        "d_model": 8,
        "n_layer": 2,
        "vocab_size": VOCABULARY,
        "ssm_cfg": own,
        "rms_norm": True,
        "residual_in_fp32": True,
        "fused_add_norm": True,
        "pad_vocab_size_multiple": 8,
    }
    for name, own in {
        "mamba_original": {"d_state": 3, "expand": 3, "dt_rank": 2},
        "mamba2_original": {"layer": "Mamba2", "d_state": 3, "headdim": 4, "ngroups": 1},
    }.items()
}
"""Configs of `mamba_ssm`, whose kernels need a GPU: transformers has the same models."""


def mamba_of(original: dict[str, Any]) -> Any:
    """What transformers has for a config of `mamba_ssm`."""
    import transformers

    ssm, multiple = original["ssm_cfg"], original["pad_vocab_size_multiple"]
    both = {
        "vocab_size": -(-original["vocab_size"] // multiple) * multiple,
        "hidden_size": original["d_model"],
        "num_hidden_layers": original["n_layer"],
        "state_size": ssm["d_state"],
        "tie_word_embeddings": True,
    }
    if ssm.get("layer") != "Mamba2":
        own = {"expand": ssm["expand"], "time_step_rank": ssm["dt_rank"]}
        return transformers.MambaForCausalLM(transformers.MambaConfig(**both, **own))
    own = {"head_dim": ssm["headdim"], "num_heads": 2 * original["d_model"] // ssm["headdim"]}
    config = transformers.Mamba2Config(**both, **own, n_groups=ssm["ngroups"])
    return transformers.Mamba2ForCausalLM(config)


MODELS: dict[str, Callable[[], Any]] = {
    make.__name__: make
    for make in (
        mamba,
        mamba_untied,
        falcon_mamba,
        mamba2,
        mamba2_tied,
        rwkv4,
        xlstm,
        recurrent_gemma,
        olmo_hybrid,
        qwen3_next,
        qwen3_5_text,
        qwen3_5,
        kimi_linear,
        mamba_original,
        mamba2_original,
    )
}


def olmo_hybrid_names(arrays: dict[str, Any]) -> dict[str, Any]:
    """As in the files that are published; `save_pretrained` cuts its convolution in equal parts."""
    published = {}
    for name, array in arrays.items():
        if name.endswith("linear_attn.conv1d.weight"):
            parts = np.split(array, [3, 6])
            published |= {
                name.replace("conv1d", f"{z}_conv1d"): part
                for z, part in zip("qkv", parts, strict=True)
            }
        elif ".0.input_layernorm" in name:
            published[name.replace("input_layernorm", "attention_layer_norm")] = array
        elif ".0.post_attention_layernorm" in name:
            published[name.replace("post_attention_layernorm", "feedforward_layer_norm")] = array
        else:
            published[name] = array
    return published


def kimi_linear_names(arrays: dict[str, Any]) -> dict[str, Any]:
    """As in the file that is published; `save_pretrained` writes dense layers as experts."""
    published = {}
    for name, array in arrays.items():
        short = name.replace("forget_gate.", "")
        experts = name.replace("mlp.", "block_sparse_moe.")
        if name.endswith("conv1d.weight"):
            cut = zip("qkv", np.split(array, 3), strict=True)
            published |= {short.replace("conv1d", f"{z}_conv1d"): part for z, part in cut}
        elif name.endswith("experts.gate_up_proj"):
            for number, both in enumerate(array):
                for w, part in zip(("w1", "w3"), np.split(both, 2), strict=True):
                    published[experts.replace("gate_up_proj", f"{number}.{w}.weight")] = part
        elif name.endswith("experts.down_proj"):
            for number, part in enumerate(array):
                published[experts.replace("down_proj", f"{number}.w2.weight")] = part
        elif "mlp.gate." in name or "mlp.shared_experts" in name:
            published[experts] = array
        else:
            published[short] = array
    return published


def original_names(arrays: dict[str, Any]) -> dict[str, Any]:
    """As `mamba_ssm` calls them; a tied head is written as well."""
    return {name.replace("embeddings", "embedding"): array for name, array in arrays.items()}


NAMES: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "olmo_hybrid": olmo_hybrid_names,
    "kimi_linear": kimi_linear_names,
    "mamba_original": original_names,
    "mamba2_original": original_names,
}
"""For models that transformers holds, and writes, otherwise than they are published."""


def expected(model: Any) -> dict[str, np.ndarray]:
    import torch

    tokens = torch.arange(2 * TIME).reshape(2, TIME) * 5 % VOCABULARY
    with torch.no_grad():
        logits = model.eval()(tokens).logits.numpy()
        return {"tokens": tokens.numpy(), "logits": logits, **cached(model, tokens[:, : TIME // 2])}


def cached(model: Any, tokens: Any) -> dict[str, np.ndarray]:
    """What the library keeps of tokens for those that follow, by layer, if it says so."""
    config = model.config.get_text_config()
    if config.model_type == "recurrent_gemma":
        model(tokens, use_cache=True)
        return by_layer([held(layer.temporal_block) for layer in model.model.layers])
    if config.model_type == "xlstm":
        return by_layer(xlstm_states(model, tokens))
    output = model(tokens, use_cache=True)
    if "state" in output:
        by_part = (tensor.unbind(-1) for tensor in output.state)
        found = [dict(zip(RWKV4, each, strict=True)) for each in zip(*by_part, strict=True)]
    else:
        cache = output.get("cache_params", output.get("past_key_values"))
        found = [parts(layer) for layer in cache.layers]
    return by_layer(found)


def by_layer(found: Sequence[dict[str, Any]]) -> dict[str, np.ndarray]:
    """What each layer keeps, as it is called in a golden file."""
    return {
        f"cache.{index}.{name}": tensor.numpy()
        for index, one in enumerate(found)
        for name, tensor in one.items()
    }


def xlstm_states(model: Any, tokens: Any) -> list[dict[str, Any]]:
    """Block by block, as the cache there has room for heads of published widths alone."""
    hidden, found = model.backbone.embeddings(tokens), []
    for block in model.backbone.blocks:
        hidden, (memory, normalizer, maximum) = block(hidden, None)
        found.append({"memory": log_scaled(memory, normalizer, maximum)})
    return found


def log_scaled(memory: Any, normalizer: Any, maximum: Any) -> Any:
    """A memory with its normalizer behind the values, multiplied out."""
    import torch

    both = torch.cat([memory, normalizer.reshape(*memory.shape[:-1], 1)], -1)
    return both * maximum.reshape(*memory.shape[:2], 1, 1).exp()


RWKV4 = ("channel", "time", "numerator", "denominator", "maximum")


def held(block: Any) -> dict[str, Any]:
    """What a recurrent layer of RecurrentGemma holds itself; there is no cache."""
    if not hasattr(block, "rg_lru"):
        return {}
    return {"convolution": block.conv1d_state, "memory": block.rg_lru.recurrent_states}


def parts(layer: Any) -> dict[str, Any]:
    if hasattr(layer, "recurrent_states"):
        return {"convolution": layer.conv_states[0], "memory": layer.recurrent_states[0]}
    return {"keys": layer.keys, "values": layer.values}


def make(name: str) -> None:
    import torch
    from safetensors.numpy import save_file

    torch.manual_seed(zlib.crc32(name.encode()))
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(FOLDER / name)
    if name in ORIGINAL:
        (FOLDER / name / "config.json").write_text(json.dumps(ORIGINAL[name]))
    if name in NAMES:
        arrays = {key: tensor.numpy() for key, tensor in model.state_dict().items()}
        save_file(NAMES[name](arrays), FOLDER / name / "model.safetensors")
    (FOLDER / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(FOLDER / name / "expected.npz", **expected(model))


def find(name: str) -> dict[str, np.ndarray]:
    """What the library computes with the weights in the folder."""
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM

    if name in ORIGINAL:
        model = mamba_of(json.loads((FOLDER / name / "config.json").read_text()))
        arrays = load_file(FOLDER / name / "model.safetensors")
        names = {key.replace("embedding.", "embeddings."): one for key, one in arrays.items()}
        model.load_state_dict(names)
        return expected(model)
    return expected(AutoModelForCausalLM.from_pretrained(FOLDER / name))


def check(name: str, found: dict[str, np.ndarray]) -> None:
    with np.load(FOLDER / name / "expected.npz") as file:
        assert found.keys() == set(file.files), name
        for key, array in found.items():
            np.testing.assert_allclose(array, file[key], 1e-5, 1e-5, err_msg=f"{name} {key}")


def command(
    names: list[str],
    make: Callable[[str], None],
    find: Callable[[str], dict[str, np.ndarray]],
) -> None:
    """Makes or checks the folders that the command line names, or all."""
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=names)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--expected", action="store_true", help="write what is found, no weights")
    asked = parser.parse_args()
    for name in asked.names:
        if asked.check:
            check(name, find(name))
        elif asked.expected:
            np.savez_compressed(FOLDER / name / "expected.npz", **find(name))
        else:
            make(name)
        print(name)


if __name__ == "__main__":
    command(list(MODELS), make, find)
