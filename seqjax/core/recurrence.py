"""What a cell tells an engine that arranges its work in time by itself."""

import dataclasses
from typing import Any, NamedTuple, Protocol, runtime_checkable

from seqjax.core.gates import add_bias
from seqjax.core.types import Array, Carry, Params, PyTree


@runtime_checkable
class Product(Protocol):
    """`(operand, weights) -> product`, linear in each: `(*batch, inputs)` times weights."""

    def __call__(self, operand: Array, weights: Array, /) -> PyTree: ...


class Affine(NamedTuple):
    """The weights of one product and the bias added to it, one row for each gate."""

    weights: Array
    bias: Array | None = None


@runtime_checkable
class Multiply(Protocol):
    """How a step makes a product and adds its bias: `multiply` does just that.

    `gates` are the positions of the gates which the product is for, None if it is for none.
    An engine passes its own, to see every operand and to put in products that it has already.
    """

    def __call__(
        self, product: Product, operand: Array, parameters: Affine, gates: slice | None, /
    ) -> PyTree: ...


def multiply(
    product: Product, operand: Array, parameters: Affine, gates: slice | None = None
) -> PyTree:
    """`product(operand, weights) + bias`."""
    value = product(operand, parameters.weights)
    return value if parameters.bias is None else add_bias(value, parameters.bias)


@runtime_checkable
class Recurrence(Protocol):
    """A step in parts: what depends on the input alone, the products, and the rest.

    `cell.step` is `advance` after `project_inputs`. All of it works for any number of batch
    dimensions, so that time can be one of them wherever the states are known. A record like
    this is hashable and holds no arrays.
    """

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        """Names of the parameters `(*any, features)` that `advance` uses unit by unit."""
        ...

    @property
    def summed_gates(self) -> frozenset[int]:
        """The gates i of which the step sees only the sum of `x[i]` and the product."""
        ...

    def project_inputs(self, params: Params, x: Array) -> Any:
        """The input part of every gate, a `Gates` of `(*batch, features)`."""
        ...

    def advance(
        self, params: Params, carry: Carry, x: Any, multiply: Multiply = multiply
    ) -> tuple[Carry, Array]:
        """One step from the input part. Weights are used in `multiply` and nowhere else."""
        ...

    def output(self, carry: Carry) -> Array:
        """The output of the step that led to this carry."""
        ...


@dataclasses.dataclass(frozen=True)
class AnyStep:
    """Nothing is shown but that `step` takes time as one more batch dimension, in front.

    As the `structure` of a cell it asks for the engine that keeps the gradients of everything
    the step uses, but for the state, out of the time loop (`engines/stepwise.py`). The step must
    not tell batch dimensions apart, and its work with the parameters must be worth doing for
    many steps at once.
    """
