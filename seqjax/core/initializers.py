"""How parameters start: records that are called like `jax.nn.initializers`.

Being frozen records, they compare by value and print as they were written, so cells built
with equal initializers are equal. Any function from `jax.nn.initializers` works
instead. Weights are initialised one gate at a time, so `shape` is `(fan_in, fan_out)`;
biases all at once, so `shape` is `(gates, features)`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, PRNGKeyArray


@dataclasses.dataclass(frozen=True)
class Orthogonal:
    """A random matrix with orthonormal rows or columns, times `scale`.

    Repeated products with it neither shrink nor grow a vector, which is why it is the
    default for recurrent weights.

    Source: Saxe, McClelland and Ganguli 2014, arXiv:1312.6120.
    """

    scale: float = 1.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        # The QR decomposition behind it exists for float32 and float64 only.
        wide = jnp.promote_types(dtype, jnp.float32)
        return jax.nn.initializers.orthogonal(self.scale)(key, shape, wide).astype(dtype)


@dataclasses.dataclass(frozen=True)
class Glorot:
    """Uniform in `±scale * sqrt(6 / (fan_in + fan_out))`: the default for input weights.

    Source: Glorot and Bengio 2010 (AISTATS).
    """

    scale: float = 1.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return self.scale * jax.nn.initializers.glorot_uniform()(key, shape, dtype)


@dataclasses.dataclass(frozen=True)
class LeCun:
    """Normal with standard deviation `scale / sqrt(fan_in)`: outputs as large as inputs.

    Source: LeCun et al. 1998, Efficient BackProp.
    """

    scale: float = 1.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return self.scale * shape[0] ** -0.5 * jax.random.normal(key, shape, dtype)


@dataclasses.dataclass(frozen=True)
class Normal:
    """Normal with mean 0 and the given standard deviation."""

    deviation: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return self.deviation * jax.random.normal(key, shape, dtype)


@dataclasses.dataclass(frozen=True)
class FanIn:
    """Uniform in `±scale / sqrt(fan_in)`: with a scale of 1, PyTorch's linear layers."""

    scale: float = 1.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        bound = self.scale * shape[0] ** -0.5
        return jax.random.uniform(key, shape, dtype, -bound, bound)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """The logarithm of numbers that are uniform between `low` and `high`."""

    low: float
    high: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.log(jax.random.uniform(key, shape, dtype, self.low, self.high))


@dataclasses.dataclass(frozen=True)
class TimeStep:
    """Biases whose softplus is a time step: log-uniform between `low` and `high`.

    Source: Gu and Dao 2023, arXiv:2312.00752.
    """

    low: float = 1e-3
    high: float = 1e-1
    least: float = 1e-4

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        span = jnp.log(self.low), jnp.log(self.high)
        step = jnp.exp(jax.random.uniform(key, shape, dtype, *span)).clip(self.least)
        return step + jnp.log(-jnp.expm1(-step))


@dataclasses.dataclass(frozen=True)
class Linspace:
    """Equally spaced from `first` to `last` along the last axis."""

    first: float
    last: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.broadcast_to(jnp.linspace(self.first, self.last, shape[-1], dtype=dtype), shape)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform in `±bound`; PyTorch uses `Uniform(features**-0.5)` for every parameter."""

    bound: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, -self.bound, self.bound)


@dataclasses.dataclass(frozen=True)
class Between:
    """Uniform between `low` and `high`."""

    low: float
    high: float

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jax.random.uniform(key, shape, dtype, self.low, self.high)


@dataclasses.dataclass(frozen=True)
class Constant:
    """Every entry is `value`."""

    value: float = 0.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.full(shape, self.value, dtype)


@dataclasses.dataclass(frozen=True)
class GateBias:
    """A bias of `(gates, features)`: `value` for one gate, 0 for the others.

    With `value=1` for the forget gate an LSTM starts by remembering.

    Source: Gers, Schmidhuber and Cummins 2000; Jozefowicz et al. 2015 (ICML).
    """

    gate: int
    value: float = 1.0

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        return jnp.zeros(shape, dtype).at[self.gate].set(self.value)


@dataclasses.dataclass(frozen=True)
class Chrono:
    """Biases that make a cell remember over 1 to `longest` steps.

        bias[forget] = log(u),  u ~ Uniform(1, longest - 1)
        bias[input]  = -bias[forget]

    Args:
      longest: the longest dependency expected, in steps, at least 3.
      forget: index of the gate that keeps the state.
      input: index of the gate that writes to it, or None if the forget gate decides both.

    Source: Tallec and Ollivier 2018, arXiv:1804.11188.
    """

    longest: int
    forget: int = 1
    input: int | None = 0

    def __post_init__(self):
        if self.longest < 3:
            raise ValueError(f"Chrono: `longest` must be at least 3 steps, got {self.longest}.")

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any = jnp.float32) -> Array:
        wide = jnp.promote_types(dtype, jnp.float32)
        span = jax.random.uniform(key, shape[1:], wide, 1.0, self.longest - 1.0)
        memory = jnp.log(span).astype(dtype)
        bias = jnp.zeros(shape, dtype).at[self.forget].set(memory)
        return bias if self.input is None else bias.at[self.input].set(-memory)
