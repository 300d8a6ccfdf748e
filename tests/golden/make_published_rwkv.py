"""Writes tiny random RWKV models with the names of the released `.pth` files.

    python -m tests.golden.make_published_rwkv [--check] [name ...]

like `make_published.py`, with the package `rwkv` to compute what they hold. It reads a `.pth`; the
folders hold the same arrays as `.safetensors`, and the width of a head, which is 64 in all that is
released.
"""

import json
import os
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

from tests.golden.make_published import FOLDER, TIME, VOCABULARY, by_layer, command

C, H, N, HIDDEN = 8, 2, 4, 6
R = {"w": 2, "a": 3, "v": 4, "g": 5}


def ends() -> dict[str, tuple[int, ...]]:
    vectors = ("blocks.0.ln0.weight", "blocks.0.ln0.bias", "ln_out.weight", "ln_out.bias")
    tables = {name: (VOCABULARY, C) for name in ("emb.weight", "head.weight")}
    return tables | dict.fromkeys(vectors, (C,))


def squares(part: str, *names: str) -> dict[str, tuple[int, ...]]:
    return {f"{part}.{name}.weight": (C, C) for name in names}


def vectors(*names: str) -> dict[str, tuple[int, ...]]:
    return dict.fromkeys(names, (1, 1, C))


NORMS = dict.fromkeys(("ln1.weight", "ln1.bias", "ln2.weight", "ln2.bias"), (C,))
HEAD_NORM = dict.fromkeys(("att.ln_x.weight", "att.ln_x.bias"), (C,))


def rwkv4_pth() -> dict[str, tuple[int, ...]]:
    return {
        **NORMS,
        **vectors(*(f"att.time_mix_{z}" for z in "kvr"), *(f"ffn.time_mix_{z}" for z in "kr")),
        **dict.fromkeys(("att.time_decay", "att.time_first"), (C,)),
        **squares("att", "receptance", "key", "value", "output"),
        **squares("ffn", "receptance"),
        "ffn.key.weight": (HIDDEN, C),
        "ffn.value.weight": (C, HIDDEN),
    }


def rwkv6_pth() -> dict[str, tuple[int, ...]]:
    return {
        **NORMS,
        **HEAD_NORM,
        **vectors(*(f"att.time_maa_{z}" for z in "xwkvrg"), *(f"ffn.time_maa_{z}" for z in "kr")),
        "att.time_maa_w1": (C, 5 * 3),
        "att.time_maa_w2": (5, 3, C),
        **vectors("att.time_decay"),
        "att.time_decay_w1": (C, 2),
        "att.time_decay_w2": (2, C),
        "att.time_faaaa": (H, N),
        **squares("att", "receptance", "key", "value", "gate", "output"),
        **squares("ffn", "receptance"),
        "ffn.key.weight": (HIDDEN, C),
        "ffn.value.weight": (C, HIDDEN),
    }


def rwkv7_pth() -> dict[str, tuple[int, ...]]:
    return {
        **NORMS,
        **HEAD_NORM,
        **vectors(*(f"att.x_{z}" for z in "rwkvag"), *(f"att.{z}0" for z in "wav")),
        **vectors("att.k_k", "att.k_a", "ffn.x_k"),
        **{f"att.{z}1": (C, rank) for z, rank in R.items()},
        **{f"att.{z}2": (rank, C) for z, rank in R.items()},
        "att.r_k": (H, N),
        **squares("att", "receptance", "key", "value", "output"),
        "ffn.key.weight": (4 * C, C),
        "ffn.value.weight": (C, 4 * C),
    }


MODELS = {make.__name__: make for make in (rwkv4_pth, rwkv6_pth, rwkv7_pth)}


def arrays(name: str) -> dict[str, np.ndarray]:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    layer = MODELS[name]()
    shapes = ends() | {f"blocks.{i}.{key}": shape for i in range(2) for key, shape in layer.items()}
    return {
        key: (0.5 * random.standard_normal(shape)).astype(np.float32)
        for key, shape in shapes.items()
    }


def expected(name: str, given: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    os.environ["RWKV_V7_ON"] = "1" if name == "rwkv7_pth" else "0"
    os.environ["RWKV_JIT_ON"] = "0"
    import torch

    # It reads its settings when it is imported.
    sys.modules.pop("rwkv.model", None)
    from rwkv.model import RWKV

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pth"
        torch.save({key: torch.tensor(array) for key, array in given.items()}, path)
        # The package adds the suffix.
        model = RWKV(model=str(path.with_suffix("")), strategy="cpu fp32")
    tokens = np.arange(2 * TIME).reshape(2, TIME) * 5 % VOCABULARY
    logits = [model.forward(row.tolist(), None, full_output=True)[0].numpy() for row in tokens]
    states = [model.forward(row[: TIME // 2].tolist(), None)[1] for row in tokens]
    # The parts of all layers in a row.
    parts = [torch.stack(list(rows)) for rows in zip(*states, strict=True)]
    names = PARTS[name]
    found = [
        dict(zip(names, parts[start : start + len(names)], strict=True))
        for start in range(0, len(parts), len(names))
    ]
    return {"tokens": tokens, "logits": np.stack(logits), **by_layer(found)}


PARTS = {
    "rwkv4_pth": ("time", "numerator", "denominator", "maximum", "channel"),
    "rwkv6_pth": ("time", "memory", "channel"),
    "rwkv7_pth": ("time", "memory", "channel"),
}


def make(name: str) -> None:
    from safetensors.numpy import save_file

    given = arrays(name)
    (FOLDER / name).mkdir(exist_ok=True)
    save_file(given, FOLDER / name / "model.safetensors")
    (FOLDER / name / "config.json").write_text(json.dumps({"head_size": N}))
    np.savez_compressed(FOLDER / name / "expected.npz", **expected(name, given))


def find(name: str) -> dict[str, np.ndarray]:
    from safetensors.numpy import load_file

    return expected(name, load_file(FOLDER / name / "model.safetensors"))


if __name__ == "__main__":
    command(list(MODELS), make, find)
