"""Tokens a second that language models write, beside transformers on the same device."""

import dataclasses
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np
from flax import nnx

from seqjax.core.errors import MissingPackageError
from seqjax.decode.sampling import generate
from seqjax.interop.loaded import build

ROUNDS = 3

PROMPT = 16
"""Tokens before the first one that is written."""

CONFIGS: dict[str, dict[str, Any]] = {
    "mamba": {"hidden_size": 768, "num_hidden_layers": 24},
    "mamba2": {
        "hidden_size": 768,
        "num_hidden_layers": 24,
        "head_dim": 64,
        "num_heads": 24,
        "n_groups": 1,
        "vocab_size": 50288,
        "tie_word_embeddings": True,
    },
    "rwkv": {"hidden_size": 768, "num_hidden_layers": 12},
}
"""Models of 129, 129 and 169 million parameters, of the sizes that were published first."""


@dataclasses.dataclass(frozen=True)
class Writers:
    """Tokens a second of a model of one config, round by round."""

    model_type: str
    parameters: int
    ours: tuple[float, ...]
    theirs: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def writers(model_type: str, config: dict[str, Any], length: int) -> Writers:
    """Both write `length` tokens after the same prompt, greedily, in turn.

    The weights are random, of each library's own drawing: what is computed is compared elsewhere.
    """
    model = build({"model_type": model_type, **config}, rngs=nnx.Rngs(0)).model
    prompt = np.random.default_rng(0).integers(10, config.get("vocab_size", 50277), PROMPT)
    theirs = _transformers(model_type, config, prompt, length)

    def ours() -> None:
        pieces = generate(
            model,
            prompt.astype(np.int32),
            jax.random.key(0),
            length=length,
            boundary=0,
            temperature=0.0,
        )
        assert sum(map(len, pieces)) == length

    rates: list[list[float]] = [[], []]
    for _ in range(1 + ROUNDS):
        for found, write in zip(rates, (ours, theirs), strict=True):
            begun = time.perf_counter()
            write()
            found.append(length / (time.perf_counter() - begun))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
    # The first round compiles.
    return Writers(model_type, parameters, tuple(rates[0][1:]), tuple(rates[1][1:]))


def _transformers(
    model_type: str, config: dict[str, Any], prompt: np.ndarray, length: int
) -> Callable[[], None]:
    try:
        import torch  # pyright: ignore[reportMissingImports]
        from transformers import (  # pyright: ignore[reportMissingImports]
            AutoConfig,
            AutoModelForCausalLM,
        )
    except ImportError as error:
        raise MissingPackageError(
            "transformers and torch are not installed: pip install transformers torch",
            name=error.name,
        ) from None
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(model_type, **config)).eval()
    tokens = torch.tensor(prompt[None])

    def write() -> None:
        with torch.inference_mode():
            found = model.generate(
                tokens,
                attention_mask=torch.ones_like(tokens),
                do_sample=False,
                min_new_tokens=length,
                max_new_tokens=length,
                pad_token_id=0,
            )
        assert found.shape[1] == len(prompt) + length

    return write


def report(length: int) -> Iterator[str]:
    """Lines of a table, one for each model.

    Raises:
      ImportError: if transformers is not installed.
    """
    heading = f"{'model':<10} {'parameters':>12} {'seqjax':>9} {'theirs':>9} {'ratio':>7}"
    first = True
    for model_type, config in CONFIGS.items():
        found = writers(model_type, config, length)
        if first:
            version = importlib.metadata.version("transformers")
            yield f"tokens a second, one sequence, float32, beside transformers {version}"
            yield f"  {heading}"
            first = False
        ours, theirs = (statistics.median(rates) for rates in (found.ours, found.theirs))
        line = f"{found.model_type:<10} {found.parameters:>12,} {ours:>9.1f} {theirs:>9.1f}"
        yield f"  {line} {found.ratio:>6.2f}x"
