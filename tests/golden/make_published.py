"""Writes tiny random models as they are published: config, weights, and what they compute.

    pip install -r tests/golden/requirements.txt
    python -m tests.golden.make_published [--check] [name ...]

in an environment of its own, on a CPU. Each is a folder in `published/`, in the form of the Hugging
Face Hub, with `expected.npz` beside: tokens and logits, in float32. With `--check` nothing is
written: the library must read every folder and compute what it holds.
"""

import argparse
import zlib
from collections.abc import Callable
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


MODELS: dict[str, Callable[[], Any]] = {"mamba": mamba, "mamba_untied": mamba_untied}


def expected(model: Any) -> dict[str, np.ndarray]:
    import torch

    tokens = torch.arange(2 * TIME).reshape(2, TIME) * 5 % VOCABULARY
    with torch.no_grad():
        return {"tokens": tokens.numpy(), "logits": model.eval()(tokens).logits.numpy()}


def make(name: str) -> None:
    import torch

    torch.manual_seed(zlib.crc32(name.encode()))
    model = MODELS[name]()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    model.save_pretrained(FOLDER / name)
    (FOLDER / name / "generation_config.json").unlink(missing_ok=True)
    np.savez_compressed(FOLDER / name / "expected.npz", **expected(model))


def check(name: str) -> None:
    from transformers import AutoModelForCausalLM

    found = expected(AutoModelForCausalLM.from_pretrained(FOLDER / name))
    with np.load(FOLDER / name / "expected.npz") as file:
        np.testing.assert_array_equal(found["tokens"], file["tokens"])
        np.testing.assert_allclose(found["logits"], file["logits"], 1e-5, 1e-5, err_msg=name)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*", default=list(MODELS))
    parser.add_argument("--check", action="store_true")
    asked = parser.parse_args()
    for name in asked.names:
        (check if asked.check else make)(name)
        print(name)
