"""What is given away of a trained model: functions of named arrays, with symbolic sizes."""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import export

from seqjax.core.noise import Randomness
from seqjax.core.trees import cast
from seqjax.core.types import Array, Carry
from seqjax.engines.scan import scan
from seqjax.nn.rnn import RNN

Arrays = dict[str, Array]
"""By their name."""

BATCH, TIME = "batch", "time"
"""The symbolic sizes: number of sequences, and of their steps."""

EXAMPLE_BATCH, EXAMPLE_TIME = 3, 8


class Entry(NamedTuple):
    """An array that goes in.

    `shape` has ints and symbolic sizes, spelled as in `jax.export.symbolic_shape`. Whole numbers
    are `below` a bound, such as the number of tokens, and at least `above`.
    """

    shape: tuple[int | str, ...]
    dtype: Any
    below: int = 0
    above: int = 0


@dataclasses.dataclass(frozen=True)
class Program:
    """A function of named arrays.

    Args:
      name: of its file.
      call: `arrays -> arrays`.
      inputs: by name.
      constraints: on the symbolic sizes, `"time >= 7"`.
      time: steps of the example.
    """

    name: str
    call: Callable[[Arrays], Arrays]
    inputs: Mapping[str, Entry]
    constraints: tuple[str, ...] = ()
    time: int = EXAMPLE_TIME

    def specs(self) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes and dtypes of the inputs, with symbolic dimensions."""
        scope = export.SymbolicScope(self.constraints)
        return {
            name: jax.ShapeDtypeStruct(
                export.symbolic_shape(",".join(map(str, entry.shape)), scope=scope), entry.dtype
            )
            for name, entry in self.inputs.items()
        }

    def run(self, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """What it computes here."""
        return jax.tree.map(np.asarray, jax.jit(self.call)(dict(inputs)))

    def example(self, carry: Mapping[str, np.ndarray], seed: int = 0) -> dict[str, np.ndarray]:
        """Inputs to try it with; `carry` has the states of one sequence."""
        random = np.random.default_rng(seed)
        sizes = {BATCH: EXAMPLE_BATCH, TIME: self.time}

        def fill(name: str, entry: Entry) -> np.ndarray:
            shape = [eval_size(size, sizes) for size in entry.shape]
            if name in carry:
                return np.broadcast_to(carry[name], shape).copy()
            if name == "lengths":
                return np.linspace(self.time, 1, EXAMPLE_BATCH).astype(np.int32)
            if entry.below:
                return random.integers(entry.above, entry.below, shape).astype(entry.dtype)
            return random.standard_normal(shape).astype(entry.dtype)

        return {name: fill(name, entry) for name, entry in self.inputs.items()}


def eval_size(size: int | str, sizes: Mapping[str, int]) -> int:
    """A size such as `"time + 6"` as a number."""
    if isinstance(size, int):
        return size
    name, _, more = size.partition(" + ")
    return sizes[name] + int(more or 0)


class CarryForm:
    """A carry as arrays by name. Noise is off, and its randomness left out.

    Args:
      initial: the carry of one sequence, without batch dimensions.
    """

    def __init__(self, initial: Carry):
        found, self._structure = jax.tree.flatten_with_path(initial, is_leaf=_is_randomness)
        self._places = [
            (None if _is_randomness(leaf) else _name(path), leaf) for path, leaf in found
        ]
        self.initial = {name: np.asarray(leaf) for name, leaf in self._places if name is not None}

    def entries(self) -> dict[str, Entry]:
        """The arrays as inputs."""
        return {
            name: Entry((BATCH, *leaf.shape), leaf.dtype) for name, leaf in self.initial.items()
        }

    def join(self, arrays: Arrays) -> Carry:
        """The carry of a batch from its arrays."""
        batch = next(iter(arrays.values())).shape[:1]
        silent = Randomness(None, jnp.zeros(batch, jnp.int32))
        leaves = [silent if name is None else arrays[name] for name, _ in self._places]
        return jax.tree.unflatten(self._structure, leaves)

    def split(self, carry: Carry) -> Arrays:
        """The arrays of a carry, under the names that they have as outputs."""
        leaves = jax.tree.leaves(carry, is_leaf=_is_randomness)
        return {
            f"next_{name}": leaf
            for (name, _), leaf in zip(self._places, leaves, strict=True)
            if name is not None
        }


def _is_randomness(node: Any) -> bool:
    return isinstance(node, Randomness)


def _name(path: Any) -> str:
    return ".".join(
        ["carry", *filter(None, [jax.tree_util.keystr(path, simple=True, separator=".")])]
    )


def portable(model: nnx.Module) -> Any:
    """A copy of a model in float32 whose layers are plain loops over their steps.

    A plain loop knows no sizes and no platform, so one program serves all of them.
    """
    model = nnx.clone(cast(model, jnp.float32))
    for _, module in nnx.iter_modules(model):
        if isinstance(module, RNN):
            module._scan = partial(scan, method="plain")
        if isinstance(module, nnx.Embed):
            module.dtype = jnp.float32
    return model
