"""What a cell tells an engine that arranges its work in time by itself."""

import dataclasses
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.gates import add_bias
from seqjax.core.types import Array, Carry, Params, PyTree


def multiply(
    product: Callable[[Array, Array], PyTree],
    operand: Array,
    weights: Array,
    bias: Array | None = None,
    gates: slice | None = None,
) -> PyTree:
    """`product(operand, weights) + bias`: how a step makes a product.

    An engine passes a function of its own in place of this one, to see every operand and to put
    in products that it has already.

    Args:
      product: linear in each argument.
      operand: `(*batch, inputs)`.
      weights: of any shape that the product takes.
      bias: one row for each gate, or None.
      gates: the positions of the gates which the product is for, None if it is for none.
    """
    value = product(operand, weights)
    return value if bias is None else add_bias(value, bias)


def updated(owner: Any, state: PyTree, carry: Carry) -> Carry:
    """The state that an update returned, in the dtypes of the carry before.

    Raises:
      ValueError: if it is not of the form of that carry.
    """
    expected = jax.tree.map(jnp.shape, carry)
    got = jax.tree.map(jnp.shape, state)
    if expected != got:
        raise ValueError(
            f"{owner}: `update` must return a state like the one it was given, with shapes "
            f"{expected}; it returned {got}."
        )
    return jax.tree.map(lambda new, old: new.astype(old.dtype), state, carry)


@runtime_checkable
class Recurrence(Protocol):
    """A step in parts: what depends on the input alone, the products, and the rest.

    `cell.step` is `advance` after `project_inputs`, with `flat` parameters. All of it works for
    any number of batch dimensions, so that time can be one of them wherever the states are known. A
    record like this is hashable and holds no arrays.
    """

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        """Names of the parameters `(*any, features)` that `advance` uses unit by unit."""
        ...

    @property
    def summed_gates(self) -> frozenset[int]:
        """The gates i of which the step sees only the sum of `x[i]` and the product."""
        ...

    @property
    def closes_over_traced(self) -> bool:
        """Whether the step uses traced numbers that are not among its arguments."""
        ...

    @property
    def state_blocks(self) -> int:
        """Into how many blocks each leaf of the state falls, such that in a step the new numbers of
        a block depend on no old ones of another."""
        ...

    def flat(self, params: Params) -> Params:
        """The parameters as all other methods take them: each product's weights as it reads them.

        Made once, outside of all loops over time.
        """
        ...

    def by_gate(self) -> "Recurrence":
        """The same recurrence with a product for each gate, rather than one for all gates."""
        ...

    def project_inputs(self, params: Params, x: Array) -> Any:
        """The input part of every gate, a `Gates` of `(*batch, features)`."""
        ...

    def advance(
        self, params: Params, carry: Carry, x: Any, multiply: Callable[..., PyTree] = multiply
    ) -> tuple[Carry, Array]:
        """One step from the input part. Weights are used in `multiply` and nowhere else."""
        ...

    def output(self, carry: Carry) -> Array:
        """The output of the step that led to this carry."""
        ...

    def joint(self, params: Params) -> tuple[Array, Array] | None:
        """Weights and bias of one product that makes the input part and the product of all gates.

        `Projection(gates)([x, operand], weights) + bias` for the operand of the step's one product
        for gates, where the step sees only their sums; None where it sees more.
        """
        ...


@dataclasses.dataclass(frozen=True)
class AnyStep:
    """Nothing is shown but that `step` takes time as one more batch dimension, in front.

    As the `structure` of a cell it asks for the engine that keeps the gradients of everything
    the step uses, but for the state, out of the time loop (`engines/any_steps.py`). The step must
    not tell batch dimensions apart, and its work with the parameters must be worth doing for
    many steps at once.
    """
