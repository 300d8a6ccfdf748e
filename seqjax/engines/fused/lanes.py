"""Matrix memories side by side, as the vector unit of a TPU takes them.

A vector register holds 8 x 128 numbers, and what has fewer than 128 along its last axis leaves the
rest of it idle. So the last axis is that of the memories, one for each row and head, and with fewer
than 128 of them each goes in several lanes, every one with some of the values. Keys are in front:
what is read is a sum of registers, and nothing is moved from lane to lane.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import Access, MatrixState, Scaled
from seqjax.core.types import Array
from seqjax.engines.boundaries import Boundaries

WIDTH = 128
"""Lanes of a vector register."""


@dataclasses.dataclass(frozen=True)
class Lanes:
    """Where the memories of a batch go: `(groups, keys, values of a lane, lanes)`.

    Args:
      recurrence: the parts of the cell.
      batch_shape: rows.
    """

    recurrence: MatrixRecurrence
    batch_shape: tuple[int, ...]

    @property
    def memories(self) -> int:
        return math.prod(self.batch_shape) * self.recurrence.heads

    @property
    def groups(self) -> int:
        """How many kernels there are, one after the other, each with some of the memories."""
        return -(-self.memories // WIDTH)

    @property
    def together(self) -> int:
        """Memories of a group."""
        return -(-self.memories // self.groups)

    @property
    def shares(self) -> int:
        """Lanes that a memory has its values in."""
        return max(1, min(self.recurrence.values, WIDTH // self.together))

    @property
    def values(self) -> int:
        """Values of a lane."""
        return -(-self.recurrence.values // self.shares)

    @property
    def memory_bytes(self) -> int:
        """Of the memories of a group, in float32, as they lie in VMEM."""
        lanes = -(-self.shares * self.together // WIDTH) * WIDTH
        return 4 * self.recurrence.keys * (-(-self.values // 8) * 8) * lanes

    def access(self, access: Access) -> Access:
        """That of many steps, leaves `(groups, steps, 1 or keys, 1 or values, lanes)`, of which
        those for keys and for heads lack the values."""
        lead = 1 + len(self.batch_shape)
        return access.each(
            key=lambda leaf: self._keys(leaf, lead),
            value=lambda leaf: self._values(leaf, lead),
            head=lambda leaf: self._keys(leaf[..., None], lead),
        )

    def flags(self, flags: Boundaries) -> Boundaries:
        """Those of many steps, `(groups, steps, 1, lanes)`."""
        heads = self.recurrence.heads

        def each(flag: Array) -> Array:
            flag = jnp.broadcast_to(flag[..., None], (*flag.shape, heads))
            return self._keys(flag[..., None], 1 + len(self.batch_shape))

        return jax.tree.map(each, flags)

    def state(self, state: MatrixState) -> MatrixState:
        """Leaves `(groups, 1 or keys, 1 or values, lanes)`."""
        lead = len(self.batch_shape)
        scale = state.log_scale
        if scale is not None:
            scale = self._keys(scale[..., None], lead)[:, :, None]
        return MatrixState(self._values(state.memory, lead), scale)

    def state_back(self, state: MatrixState) -> MatrixState:
        """The opposite of `state`."""
        scale = state.log_scale
        if scale is not None:
            scale = self._rows(scale[..., : self.together])[..., 0, 0]
        return MatrixState(self._values_back(state.memory), scale)

    def reading(self, reading: Any) -> Any:
        """What was read at many steps, from `(groups, steps, 1, values, lanes)`."""
        if isinstance(reading, Scaled):
            scale = self._rows(reading.log_scale[..., : self.together])
            return Scaled(self._values_back(reading.values)[..., 0, :], scale[..., 0, 0])
        return self._values_back(reading)[..., 0, :]

    def _keys(self, leaf: Array, lead: int) -> Array:
        """`(*lead, heads, keys)` as `(groups, steps, keys, lanes)`, repeated for every share."""
        leaf = self._lanes_last(leaf, lead)
        leaf = jnp.broadcast_to(leaf[..., None, :], (*leaf.shape[:-1], self.shares, leaf.shape[-1]))
        return leaf.reshape(*leaf.shape[:-2], -1)

    def _values(self, leaf: Array, lead: int) -> Array:
        """`(*lead, heads, ..., values)` as `(groups, steps, ..., values, lanes)`."""
        missing = self.shares * self.values - leaf.shape[-1]
        leaf = jnp.pad(leaf, [(0, 0)] * (leaf.ndim - 1) + [(0, missing)])
        leaf = self._lanes_last(leaf, lead)
        leaf = leaf.reshape(*leaf.shape[:-2], self.shares, self.values, leaf.shape[-1])
        leaf = jnp.swapaxes(leaf, -3, -2)
        return leaf.reshape(*leaf.shape[:-2], -1)

    def _values_back(self, leaf: Array) -> Array:
        """`(groups, ..., values, lanes)` as `(..., values)` behind the batch and the heads."""
        leaf = leaf.reshape(*leaf.shape[:-1], self.shares, self.together)
        leaf = jnp.swapaxes(leaf, -3, -2)
        leaf = leaf.reshape(*leaf.shape[:-3], -1, self.together)
        return self._rows(leaf)[..., : self.recurrence.values]

    def _lanes_last(self, leaf: Array, lead: int) -> Array:
        """`(steps?, *batch, heads, ...)` as `(groups, steps?, ..., memories)`."""
        steps, rest = leaf.shape[: lead - len(self.batch_shape)], leaf.shape[lead + 1 :]
        leaf = leaf.reshape(*steps, self.memories, *rest)
        missing = self.groups * self.together - self.memories
        leaf = jnp.pad(
            leaf, [(0, missing) if axis == len(steps) else (0, 0) for axis in range(leaf.ndim)]
        )
        leaf = leaf.reshape(*steps, self.groups, self.together, *rest)
        return jnp.moveaxis(jnp.moveaxis(leaf, len(steps), 0), len(steps) + 1, -1)

    def _rows(self, leaf: Array) -> Array:
        """`(groups, *steps, keys or 1, values, memories)` as `(*steps, *batch, heads, ...)`."""
        steps, rest = leaf.shape[1:-3], leaf.shape[-3:-1]
        leaf = jnp.moveaxis(jnp.moveaxis(leaf, -1, 1 + len(steps)), 0, len(steps))
        leaf = leaf.reshape(*steps, -1, *rest)
        leaf = jax.lax.slice_in_dim(leaf, 0, self.memories, axis=len(steps))
        return leaf.reshape(*steps, *self.batch_shape, self.recurrence.heads, *rest)
