"""Writes a tiny random model of the package xlstm, like `make_published.py`.

    python -m tests.golden.make_published_xlstm [--check]

Its config is that of the package as JSON, its weights are the `state_dict()` of the model.
"""

import dataclasses
import json
import zlib
from typing import Any

import numpy as np

from tests.golden.make_published import (
    FOLDER,
    TIME,
    VOCABULARY,
    by_layer,
    command,
    log_scaled,
)


def config() -> Any:
    import xlstm

    scalar = xlstm.sLSTMLayerConfig(
        num_heads=2, backend="vanilla", enable_automatic_mixed_precision=False, dtype="float32"
    )
    matrix = xlstm.mLSTMLayerConfig(
        num_heads=2, qkv_proj_blocksize=2, conv1d_kernel_size=3, round_proj_up_to_multiple_of=4
    )
    after = xlstm.FeedForwardConfig(round_proj_up_to_multiple_of=3)
    return xlstm.xLSTMLMModelConfig(
        mlstm_block=xlstm.mLSTMBlockConfig(mlstm=matrix),
        slstm_block=xlstm.sLSTMBlockConfig(slstm=scalar, feedforward=after),
        context_length=TIME,
        num_blocks=3,
        embedding_dim=8,
        slstm_at=[1],
        vocab_size=VOCABULARY,
    )


def expected(model: Any) -> dict[str, np.ndarray]:
    import torch

    tokens = torch.arange(2 * TIME).reshape(2, TIME) * 5 % VOCABULARY
    with torch.no_grad():
        logits, states = model.eval()(tokens).numpy(), {}
        for n in range(TIME // 2):
            _, states = model.step(tokens[:, n : n + 1], state=states)
        found = [parts(states[f"block_{layer}"]) for layer in range(len(states))]
        return {"tokens": tokens.numpy(), "logits": logits, **by_layer(found)}


def parts(state: Any) -> dict[str, Any]:
    """What a block keeps, multiplied out where it is scaled."""
    own = {"convolution": state["conv_state"][0].mT}
    if "mlstm_state" in state:
        memory = log_scaled(*state["mlstm_state"])
        # Keys are divided by the root of their width there, queries here.
        return own | {"memory": memory * memory.shape[-2] ** 0.5}
    hidden, cell, normalizer, maximum = state["slstm_state"]
    scale = maximum.exp()
    return own | {"hidden": hidden, "cell": cell * scale, "normalizer": normalizer * scale}


def make(name: str) -> None:
    import torch
    from safetensors.torch import save_file
    from xlstm import xLSTMLMModel

    torch.manual_seed(zlib.crc32(name.encode()))
    model = xLSTMLMModel(config())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    (FOLDER / name).mkdir(exist_ok=True)
    description = json.dumps(dataclasses.asdict(model.config), indent=2)
    (FOLDER / name / "config.json").write_text(description)
    save_file(model.state_dict(), FOLDER / name / "model.safetensors")
    np.savez_compressed(FOLDER / name / "expected.npz", **expected(model))


def find(name: str) -> dict[str, np.ndarray]:
    from safetensors.torch import load_file
    from xlstm import xLSTMLMModel

    model = xLSTMLMModel(config())
    model.load_state_dict(load_file(FOLDER / name / "model.safetensors"))
    return expected(model)


if __name__ == "__main__":
    command(["xlstm_paper"], make, find)
