"""Language models of other packages, which write greedily on a CPU."""

import contextlib
import importlib
import importlib.metadata
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from seqjax.core.errors import MissingPackageError

Write = Callable[[np.ndarray, int], int]
"""`(prompt, length) -> number of tokens that were written`."""


def of_transformers(folder: Path) -> tuple[str, Write]:
    """The model of a folder, and the version of transformers.

    Raises:
      ImportError: if it is not installed.
    """
    torch, package = (needed(name, "transformers torch") for name in ("torch", "transformers"))
    model = package.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()

    def write(prompt: np.ndarray, length: int) -> int:
        tokens = torch.tensor(prompt[None], dtype=torch.int64)
        with torch.inference_mode():
            found = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                min_new_tokens=length,
                max_new_tokens=length,
                pad_token_id=0,
            )
        return found.shape[1] - len(prompt)

    return _version("transformers"), write


def of_rwkv(path: Path) -> tuple[str, Write]:
    """The RWKV-7 of a `.pth` file, and the version of the package rwkv.

    Raises:
      ImportError: if it is not installed.
    """
    needed("torch", "rwkv torch")
    # It reads its settings when it is imported.
    os.environ |= {"RWKV_V7_ON": "1", "RWKV_JIT_ON": "1", "RWKV_CUDA_ON": "0"}
    with contextlib.redirect_stdout(io.StringIO()):
        package = needed("rwkv.model", "rwkv torch")
        # It adds the suffix itself.
        model = package.RWKV(model=str(path.with_suffix("")), strategy="cpu fp32")

    def write(prompt: np.ndarray, length: int) -> int:
        logits, state = model.forward(prompt.tolist(), None)
        tokens: list[int] = []
        while len(tokens) < length:
            tokens.append(int(logits.argmax()))
            logits, state = model.forward(tokens[-1], state)
        return len(tokens)

    return _version("rwkv"), write


def needed(module: str, packages: str | None = None) -> Any:
    """A module; `ImportError` with the packages to install if there is none."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingPackageError(
            f"{module} is not installed: pip install {packages or module}", name=error.name
        ) from None


def _version(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"
