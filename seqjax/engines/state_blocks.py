"""States as arrays of blocks, such that what couples numbers of a state stays in a block."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import positive_int
from seqjax.core.types import Array, Carry


@dataclasses.dataclass(frozen=True)
class StateBlocks:
    """How the states of a cell lie in arrays `(*rows, blocks, n)`.

    Each leaf falls into as many parts of equal length; part b of all leaves is block b.

    Args:
      blocks: number of them.
      shapes: of the leaves, without rows.
      dtypes: of the leaves.
      tree: the structure of the state.
    """

    blocks: int
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    tree: Any

    @classmethod
    def of(cls, owner: str, state: Carry, rows: int, blocks: int) -> "StateBlocks":
        """Those of a state with some dimensions of rows; raises, in the name of `owner`, if so many
        blocks do not divide each leaf."""
        blocks = positive_int(owner, "blocks", blocks)
        leaves, tree = jax.tree.flatten(state)
        shapes = tuple(jnp.shape(leaf)[rows:] for leaf in leaves)
        sizes = list(map(math.prod, shapes))
        if any(size % blocks for size in sizes):
            raise ValueError(
                f"{owner}: `blocks` must divide the numbers in each leaf of the state, which are "
                f"{sizes}; got {blocks}."
            )
        return cls(blocks, shapes, tuple(leaf.dtype for leaf in leaves), tree)

    @property
    def width(self) -> int:
        """n, the numbers of a block."""
        return sum(map(math.prod, self.shapes)) // self.blocks

    def pack(self, state: Carry) -> Array:
        """In float32 at least."""
        dtype = jnp.result_type(jnp.float32, *self.dtypes)
        parts = []
        for leaf, shape in zip(jax.tree.leaves(state), self.shapes, strict=True):
            rows = leaf.shape[: leaf.ndim - len(shape)]
            width = math.prod(shape) // self.blocks
            parts.append(leaf.astype(dtype).reshape(*rows, self.blocks, width))
        return jnp.concatenate(parts, axis=-1)

    def unpack(self, packed: Array) -> Carry:
        """The state, its leaves in their own dtypes."""
        leaves, start = [], 0
        for shape, dtype in zip(self.shapes, self.dtypes, strict=True):
            end = start + math.prod(shape) // self.blocks
            part = packed[..., start:end]
            leaves.append(part.reshape(*packed.shape[:-2], *shape).astype(dtype))
            start = end
        return jax.tree.unflatten(self.tree, leaves)
