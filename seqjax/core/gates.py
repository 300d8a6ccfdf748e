"""The gates of a gated cell: one array each, and the products that make them."""

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
    inputs, gates, features = weights.shape
    products = x @ weights.reshape(inputs, gates * features)
    return Gates(jnp.split(products, gates, axis=-1))


def project_blocks(h: Array, weights: Array) -> Gates:
    """The same with block-diagonal weights: each block of `h` meets its own matrix.

    Args:
      h: `(*batch, blocks * block)`.
      weights: `(blocks, block, gates, block)`; blocks of size 1 are diagonal weights.
    """
    blocks, block, gates, _ = weights.shape
    if block == 1:
        return Gates(h * like_features(weights[:, 0, g, 0], h) for g in range(gates))
    apart = h.reshape(*h.shape[:-1], blocks, block)
    products = jnp.einsum("...bi,bio->...bo", apart, weights.reshape(blocks, block, -1))
    return Gates(part.reshape(h.shape) for part in jnp.split(products, gates, axis=-1))


def project_apart(x: Array, weights: Array) -> Gates:
    """`project` with a product for each gate, so that none is cut out of a wider array."""
    return Gates(x @ weights[:, gate] for gate in range(weights.shape[1]))


def project_blocks_apart(h: Array, weights: Array) -> Gates:
    """`project_blocks` with a product for each gate and block."""
    blocks, block, gates, _ = weights.shape
    if block == 1:
        return project_blocks(h, weights)
    parts = [h[..., i * block : (i + 1) * block] for i in range(blocks)]
    return Gates(
        jnp.concatenate([part @ weights[i, :, gate] for i, part in enumerate(parts)], axis=-1)
        for gate in range(gates)
    )


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
