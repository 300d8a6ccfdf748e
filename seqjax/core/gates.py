"""The gates of a gated cell: one array each, and the products that make them."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import expect_real
from seqjax.core.types import Array, Initializer, PRNGKeyArray


@jax.tree_util.register_pytree_node_class
class Gates:
    """One array `(*batch, features)` for each gate: indexes, unpacks, adds gate by gate.

    Each gate stays an array of its own from the product to the update: slicing one wide
    array inside the time loop costs a copy per step.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.core.gates import Gates
      >>> x = Gates([jnp.zeros(2), jnp.ones(2)])
      >>> reset, update = x + x
      >>> update
      Array([2., 2.], dtype=float32)
    """

    __slots__ = ("values",)

    def __init__(self, values):
        self.values = tuple(values)

    def __getitem__(self, index: int) -> Array:
        return self.values[index]

    def __iter__(self) -> Iterator[Array]:
        return iter(self.values)

    def __len__(self) -> int:
        return len(self.values)

    def __add__(self, other: "Gates") -> "Gates":
        return Gates(a + b for a, b in zip(self.values, other.values, strict=True))

    def __repr__(self) -> str:
        return f"Gates({list(self.values)})"

    def map(self, function: Callable[..., Array], *others: Any) -> "Gates":
        """`function` applied gate by gate, with the entries of `others` as further arguments."""
        return Gates(map(function, self.values, *others))

    def tree_flatten(self):
        return self.values, None

    @classmethod
    def tree_unflatten(cls, _, values):
        return cls(values)


def project(x: Array, weights: Array) -> Gates:
    """`x @ weights[:, g]` for each gate g, as one matrix product.

    Args:
      x: `(*batch, inputs)`.
      weights: `(inputs, gates, features)`.
    """
    return Projection(weights.shape[-2])(x, flat(weights))


def project_blocks(h: Array, weights: Array) -> Gates:
    """The same with block-diagonal weights: each block of `h` meets its own matrix.

    Args:
      h: `(*batch, blocks * block)`.
      weights: `(blocks, block, gates, block)`; blocks of size 1 are diagonal weights.
    """
    if len(weights) == 1:
        return project(h, weights[0])
    return Projection(weights.shape[-2], blocks=len(weights))(h, flat(weights, blocks=True))


def flat(weights: Array, *, blocks: bool = False) -> Array:
    """Weights as a `Projection` takes them.

    A loop that shapes its weights anew copies them at every step on devices that keep the last
    two axes in tiles, as TPUs do: there 4 gates fill half a tile.

    Args:
      weights: `(inputs, gates, features)`, or with `blocks` `(blocks, block, gates, block)`.
    """
    *lead, gates, features = weights.shape
    if blocks and features == 1:
        return weights.reshape(-1, gates).T
    return weights.reshape(*lead, gates * features)


@dataclasses.dataclass(frozen=True)
class Projection:
    """`project`, or with `blocks` `project_blocks`, with weights that are `flat`.

    Those are `(inputs, gates * features)`, or with blocks `(blocks, block, gates * block)`, or
    `(gates, features)` for blocks of size 1.
    """

    gates: int
    blocks: int | None = None
    apart: bool = False
    """Whether each gate, and block, has a product of its own, so that none is cut out of a wider
    array; else they are one product."""

    def __call__(self, x: Array, weights: Array) -> Gates:
        if self.blocks is not None and weights.ndim == 2:
            return Gates(x * like_features(row, x) for row in weights)
        if self.apart:
            return self._apart(x, weights.reshape(self.blocks or 1, -1, weights.shape[-1]))
        if self.blocks is None:
            return Gates(jnp.split(x @ weights, self.gates, axis=-1))
        parts = x.reshape(*x.shape[:-1], self.blocks, weights.shape[1])
        products = jnp.einsum("...bi,bio->...bo", parts, weights)
        return Gates(part.reshape(x.shape) for part in jnp.split(products, self.gates, axis=-1))

    def _apart(self, x: Array, weights: Array) -> Gates:
        parts = jnp.split(x, len(weights), axis=-1)
        columns = (jnp.split(block, self.gates, axis=-1) for block in weights)
        products = ([p @ gate for gate in gates] for p, gates in zip(parts, columns, strict=True))
        by_gate = zip(*products, strict=True)
        return Gates(gate[0] if len(gate) == 1 else jnp.concatenate(gate, -1) for gate in by_gate)


def add_bias(gates: Gates, bias: Array) -> Gates:
    """Each gate with its row of `bias` `(gates, features)` added."""
    return gates.map(lambda gate, row: gate + like_features(row, gate), bias)


def like_features(parameter: Array, like: Array) -> Array:
    """A parameter, repeated along the leading axes of `like` that it has not itself.

    With axes of size 1 instead, its gradient would be a sum over those axes of `like` alone
    that are longer: for a batch of one sequence, `(1, time, features)`, over time. That takes XLA
    on CPUs (jax 0.10.2) forty times as long as a sum over both.
    """
    leading = like.shape[: max(0, like.ndim - parameter.ndim)]
    return jnp.broadcast_to(parameter, (*leading, *parameter.shape))


def broadcasts(shape: tuple[int, ...], target: tuple[int, ...]) -> bool:
    """Whether an array of a shape can be repeated to become one of another."""
    pairs = zip(reversed(shape), reversed(target), strict=False)
    return len(shape) <= len(target) and all(size in (1, wide) for size, wide in pairs)


def normalize(gates: Gates, gain: Array) -> Gates:
    """Layer norm over all gates together: one mean and one variance for each sequence and step.

    Args:
      gates: arrays `(*batch, features)`.
      gain: `(gates, features)`.
    """
    return Gates(
        value * like_features(scale, value)
        for value, scale in zip(_standardize(list(gates)), gain, strict=True)
    )


_EPSILON = 1e-5


def _standardize(parts: list[Array]) -> list[Array]:
    expect_real("layer_norm", parts)
    count = sum(part.shape[-1] for part in parts)
    mean = sum(part.sum(-1, keepdims=True) for part in parts) / count
    centred = [part - mean for part in parts]
    variance = sum(jnp.square(part).sum(-1, keepdims=True) for part in centred) / count
    return [part * jax.lax.rsqrt(variance + _EPSILON) for part in centred]


def initialize_gates(
    key: PRNGKeyArray, initializer: Initializer, shape: tuple[int, ...], dtype: Any
) -> Array:
    """Weights `(*blocks, inputs, gates, features)`, every gate and block drawn apart."""
    *blocks, inputs, gates, features = shape
    count = gates
    for size in blocks:
        count *= size
    keys = jax.random.split(key, count)
    drawn = jax.vmap(lambda k: initializer(k, (inputs, features), dtype))(keys)
    return jnp.moveaxis(drawn.reshape(*blocks, gates, inputs, features), -3, -2)
