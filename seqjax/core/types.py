"""The names of types and array axes that every signature uses.

Axis names, the same everywhere:

| name       | meaning                                                        |
|------------|----------------------------------------------------------------|
| `*batch`   | any number of batch dimensions, none included                  |
| `time`     | steps of the sequence, in the order in which they are stored   |
| `inputs`   | width of one step's input (`in_features`)                      |
| `features` | width of one step's output, and of the state of a gated cell   |
| `gates`    | the gates of a gated cell, in the order of its equations       |
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray, PyTree, Shaped

Params = PyTree
"""A pytree of arrays, made by `cell.init`."""

Carry = PyTree
"""A pytree of arrays with leading batch dimensions: what a cell remembers."""

Lengths = Int[Array, "*batch"]
BatchKeys = Key[Array, "*batch"]
StepFlags = Bool[Array, "*batch time"]
TimeFlags = Bool[Array, "time *batch"]
"""Inside a scan, where time is the first axis."""

Inputs = PyTree
"""One array `(*batch, time, *step_shape)`, or a pytree of such arrays."""

Activation = Callable[[Array], Array]


@runtime_checkable
class Initializer(Protocol):
    """`(key, shape, dtype) -> array`: what `jax.nn.initializers` makes.

    For weights, `shape` is `(fan_in, fan_out)` and the call is made once for each gate
    (and each block), with a key of its own. For biases, `shape` is `(gates, features)`.
    """

    def __call__(self, key: PRNGKeyArray, shape: Any, dtype: Any, /) -> Array: ...


__all__ = [
    "Activation",
    "Array",
    "BatchKeys",
    "Bool",
    "Carry",
    "DTypeLike",
    "Float",
    "Initializer",
    "Inputs",
    "Int",
    "Lengths",
    "PRNGKeyArray",
    "Params",
    "PyTree",
    "Shaped",
    "StepFlags",
    "TimeFlags",
]
