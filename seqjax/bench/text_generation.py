"""Tokens a second that language models write, beside their own packages on the same device."""

import dataclasses
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx

from seqjax.bench.loading import Loading, loading
from seqjax.bench.other_writers import Write, needed, of_rwkv, of_transformers
from seqjax.decode.sampling import generate
from seqjax.interop.loaded import build, load, save, weights

ROUNDS = 3

PROMPT = 16
"""Tokens before the first one that is written."""


class Subject(NamedTuple):
    """A model of a config, and whose it is: what reads its weights and writes with them."""

    config: dict[str, Any]
    theirs: Callable[[Path], tuple[str, Write]] = of_transformers
    family: str | None = None


SUBJECTS: dict[str, Subject] = {
    "mamba": Subject({"model_type": "mamba", "hidden_size": 768, "num_hidden_layers": 24}),
    "mamba2": Subject(
        {
            "model_type": "mamba2",
            "hidden_size": 768,
            "num_hidden_layers": 24,
            "head_dim": 64,
            "num_heads": 24,
            "n_groups": 1,
            "vocab_size": 50288,
            "tie_word_embeddings": True,
        }
    ),
    "rwkv4": Subject({"model_type": "rwkv", "hidden_size": 768, "num_hidden_layers": 12}),
    "rwkv7": Subject(
        {
            "model_type": "rwkv7",
            "vocab_size": 65536,
            "hidden_size": 768,
            "num_hidden_layers": 12,
            "decay_low_rank_dim": 64,
            "a_low_rank_dim": 64,
            "v_low_rank_dim": 32,
            "gate_low_rank_dim": 128,
        },
        of_rwkv,
        "rwkv7_pth",
    ),
}
"""Models of 129, 129, 169 and 191 million parameters, the smallest that were published."""


@dataclasses.dataclass(frozen=True)
class Writers:
    """Tokens a second of a model of one config, round by round, and how it loads here."""

    model: str
    package: str
    parameters: int
    ours: tuple[float, ...]
    theirs: tuple[float, ...]
    loading: Loading | None = None

    @property
    def ratio(self) -> float:
        """Ours over theirs."""
        return statistics.median(a / b for a, b in zip(self.ours, self.theirs, strict=True))


def writers(name: str, subject: Subject, length: int) -> Writers:
    """Both write `length` tokens after the same prompt, greedily, in turn.

    Both read the same file, of random weights; what is computed of them is compared elsewhere.

    Raises:
      ImportError: if their package is not installed.
    """
    vocabulary = subject.config.get("vocab_size", 50277)
    prompt = np.random.default_rng(0).integers(10, vocabulary, PROMPT).astype(np.int32)
    with tempfile.TemporaryDirectory() as folder:
        path = _write_weights(subject, Path(folder))
        package, theirs = subject.theirs(path)
        model = load(path).model
        found = loading(path)

    def ours(prompt: np.ndarray, length: int) -> int:
        key = jax.random.key(0)
        pieces = generate(model, prompt, key, length=length, boundary=0, temperature=0.0)
        return sum(map(len, pieces))

    rates: list[list[float]] = [[], []]
    for _ in range(1 + ROUNDS):
        for each, write in zip(rates, (ours, theirs), strict=True):
            begun = time.perf_counter()
            assert write(prompt, length) == length
            each.append(length / (time.perf_counter() - begun))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(model))
    # The first round compiles.
    return Writers(name, package, parameters, tuple(rates[0][1:]), tuple(rates[1][1:]), found)


def _write_weights(subject: Subject, folder: Path) -> Path:
    """Random weights as they are published: a folder, or a `.pth` if the family has that."""
    random = np.random.default_rng(0)
    fresh = nnx.eval_shape(lambda: build(subject.config, rngs=nnx.Rngs(0)).model)

    def drawn(leaf: Any) -> np.ndarray:
        return 0.03 * random.standard_normal(leaf.shape, np.float32)

    model = jax.tree.map(drawn, fresh)
    if subject.family is None:
        save(model, folder, config=subject.config)
        return folder
    torch = needed("torch")
    arrays = weights(model, family=subject.family, config={"head_size": 64})
    path = folder / "model.pth"
    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
    return path


def report(length: int) -> Iterator[str]:
    """Lines of a table, one for each model.

    Raises:
      ImportError: if a package to compare with is not installed.
    """
    yield "tokens a second of one sequence, float32; seconds to load; memory, in sizes of the file"
    yield (
        f"  {'model':<8} {'parameters':>12} {'seqjax':>8} {'theirs':>8} {'ratio':>7} {'loads':>8} "
        f"{'memory':>7}  package"
    )
    for name, subject in SUBJECTS.items():
        found = writers(name, subject, length)
        ours, theirs = (statistics.median(rates) for rates in (found.ours, found.theirs))
        loads = ("", "")
        if found.loading is not None:
            loads = (f"{found.loading.seconds:.1f} s", f"{found.loading.times_file:.2f}x")
        yield (
            f"  {name:<8} {found.parameters:>12,} {ours:>8.1f} {theirs:>8.1f} {found.ratio:>6.2f}x "
            f"{loads[0]:>8} {loads[1]:>7}  {found.package}"
        )
