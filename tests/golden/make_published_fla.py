"""Writes tiny random models of fla (flash-linear-attention), like `make_published.py`.

    python -m tests.golden.make_published_fla [--check] [name ...]

Its kernels are Triton's, whose interpreter runs them on a CPU.
"""

import os
import zlib
from typing import Any

import numpy as np

from tests.golden.make_published import FOLDER, TIME, VOCABULARY, by_layer, command

SMALL = {
    "vocab_size": VOCABULARY,
    "hidden_size": 8,
    "num_hidden_layers": 2,
    "intermediate_size": 5,
    "norm_eps": 1e-3,
}

OPTIONS: dict[str, dict[str, Any]] = {
    "retnet": {"num_heads": 2},
    "gla": {"num_heads": 2},
    "hgrn2": {"num_hidden_layers": 3, "expand_ratio": 4},
    "delta_net": {"num_heads": 2, "conv_size": 3, "allow_neg_eigval": True},
    "gated_deltanet": {"num_heads": 1, "num_v_heads": 2, "head_dim": 4, "expand_v": 1.5},
    "kda": {"num_heads": 2, "head_dim": 3},
    "rwkv6": {"num_heads": 2, "expand_k": 1.0, "proj_low_rank_dim": 2, "gate_low_rank_dim": 3},
    "rwkv7": {
        "head_dim": 4,
        "decay_low_rank_dim": 2,
        "a_low_rank_dim": 3,
        "v_low_rank_dim": 5,
        "gate_low_rank_dim": 6,
    },
}


def without_timing() -> None:
    """Kernels take the first of their configurations: there is no device to time them on."""
    os.environ["TRITON_INTERPRET"] = "1"
    from triton.runtime import autotuner

    def run(self, *args, **options):
        self.nargs = dict(zip(self.arg_names, args, strict=False))
        first = self.prune_configs(options)[0]
        return self.fn.run(*args, **{**options, **first.all_kwargs()})

    autotuner.Autotuner.run = run


def library():
    without_timing()
    import fla  # noqa: F401  Makes its models known to transformers.
    import transformers

    return transformers


def expected(model: Any) -> dict[str, np.ndarray]:
    import torch

    tokens = torch.arange(2 * TIME).reshape(2, TIME) * 5 % VOCABULARY
    with torch.no_grad():
        logits = model.eval()(tokens).logits.numpy()
        cache = model(tokens[:, : TIME // 2], use_cache=True).past_key_values
    return {"tokens": tokens.numpy(), "logits": logits, **by_layer([parts(one) for one in cache])}


def parts(layer: dict[str, Any]) -> dict[str, Any]:
    """Several convolutions are one here; RWKV keeps the last inputs of its two parts."""
    import torch

    inputs, channel = layer["conv_state"], layer["ffn_state"]
    several = isinstance(inputs, (list, tuple))
    found = {
        "memory": layer["recurrent_state"],
        "convolution": torch.cat(inputs, 1) if several else None,
        "time": None if several else inputs,
        "channel": channel,
    }
    return {name: tensor for name, tensor in found.items() if tensor is not None}


def make(name: str) -> None:
    transformers = library()
    import torch

    torch.manual_seed(zlib.crc32(name.encode()))
    config = transformers.AutoConfig.for_model(name, **{**SMALL, **OPTIONS[name]})
    model = transformers.AutoModelForCausalLM.from_config(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(FOLDER / name / "expected.npz", **expected(model))


def find(name: str) -> dict[str, np.ndarray]:
    return expected(library().AutoModelForCausalLM.from_pretrained(FOLDER / name))


if __name__ == "__main__":
    command(list(OPTIONS), make, find)
