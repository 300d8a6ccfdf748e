"""How the parameters of RWKV start, channel by channel, as in its released training code."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from seqjax.core.types import Array, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Power:
    """`1 - (n / features)^exponent + shift` for channel n: how much of the step before is seen."""

    exponent: float
    shift: float = 0.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        (features,) = shape
        return 1 - (jnp.arange(features, dtype=dtype) / features) ** self.exponent + self.shift


@dataclasses.dataclass(frozen=True)
class Ramp:
    """`first + span (n / (features - 1))^exponent` for channel n."""

    first: float
    span: float
    exponent: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return self.first + self.span * _line(shape, dtype) ** self.exponent


@dataclasses.dataclass(frozen=True)
class NormGain:
    """`((1 + layer) / layers)^0.7` for every channel: later layers add more."""

    layer: int
    layers: int

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.full(shape, ((1 + self.layer) / self.layers) ** 0.7, dtype)


@dataclasses.dataclass(frozen=True)
class Bonus:
    """`depth (1 - n / (features - 1)) + 0.1 ((n + 1) mod 3 - 1)` for channel n."""

    depth: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        zigzag = ((jnp.arange(shape[0]) + 1) % 3 - 1).astype(dtype)
        return self.depth * (1 - _line(shape, dtype)) + 0.1 * zigzag


@dataclasses.dataclass(frozen=True)
class Zigzag:
    """`base + ramp + zigzag z|z| + line (n / (features - 1) - 1/2)` for channel n.

    z goes from -1 to 1 over the channels of each head; `ramp`, a `Ramp`, is added if given.
    """

    base: float
    zigzag: float = 0.0
    line: float = 0.0
    width: int = 1
    ramp: Ramp | None = None

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        half = max(self.width - 1, 1) / 2
        z = ((jnp.arange(shape[0]) % self.width).astype(dtype) - half) / half
        value = self.base + self.zigzag * z * jnp.abs(z) + self.line * (_line(shape, dtype) - 0.5)
        return value if self.ramp is None else value + self.ramp(key, shape, dtype)


def _line(shape: Any, dtype: Any) -> Array:
    (features,) = shape
    return jnp.arange(features, dtype=dtype) / max(features - 1, 1)
