"""Who takes part in a step in place of plain products: the gradient engine's view of a cell.

`Recurrence.advance` makes its products through a function it is given. Each class here has such
a function, `multiply`, and does with the products what one part of the gradient needs.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.gates import Gates, Projection, add_bias
from seqjax.core.recurrence import Recurrence, multiply
from seqjax.core.types import Array, Params, PyTree
from seqjax.engines.row_order import by_rows


class SeenProducts:
    """The products of some steps, with the inputs in them that the cell only adds to them.

    `operands` and `products` are in the order in which `advance` makes them; `inputs` is what to
    give it, with zeros for the gates whose inputs are in the products.
    """

    def __init__(self, recurrence: Recurrence, inputs: Gates, known: Sequence[Any] = ()):
        """`known` products, which have their inputs in them, are taken as they are."""
        self.summed = recurrence.summed_gates
        self.inputs = Gates(
            jnp.zeros_like(x) if gate in self.summed else x for gate, x in enumerate(inputs)
        )
        self.operands: list[Array] = []
        self.products: list[Any] = []
        self._inputs = inputs
        self._known = iter(known)
        self._places: list[slice | None] = []

    def multiply(
        self,
        product: Callable,
        operand: Array,
        weights: Array,
        bias: Array | None = None,
        gates: slice | None = None,
    ) -> PyTree:
        value = next(self._known, None)
        if value is None:
            value = by_rows(multiply)(product, operand, weights, bias)
            value = self._sum(value, self._inputs, gates)
        self.operands.append(operand)
        self.products.append(value)
        self._places.append(gates)
        return value

    def sum_inputs(self, products: list, inputs: Gates) -> list:
        """The products plus the inputs that are summed into them."""
        places = zip(products, self._places, strict=True)
        return [self._sum(product, inputs, gates) for product, gates in places]

    def to_store(self, products: list | None = None) -> list:
        """The products, or those given, with None in place of those that are not of gates: these
        are cheaper to make again."""
        places = zip(self.products if products is None else products, self._places, strict=True)
        return [None if gates is None else product for product, gates in places]

    def _sum(self, product: Any, inputs: Gates, gates: slice | None) -> Any:
        if gates is None:
            return product
        return Gates(
            value + inputs[gate] if gate in self.summed else value
            for gate, value in enumerate(product, gates.start)
        )


class JointProduct:
    """The product for gates and their inputs in one: `[x, operand]` times the joined weights.

    `inputs` is what to give `advance`: zeros.
    """

    def __init__(self, x: Array, weights: Array, bias: Array):
        """`weights` and `bias` are from `Recurrence.joint`."""
        gates, features = bias.shape
        dtype = jnp.result_type(x, weights)
        nothing = jnp.zeros((*x.shape[:-1], features), dtype)
        self.inputs = Gates([nothing] * gates)
        self._x, self._weights, self._bias = x, weights, bias

    def multiply(
        self,
        product: Callable,
        operand: Array,
        weights: Array,
        bias: Array | None = None,
        gates: slice | None = None,
    ) -> PyTree:
        if gates is None:
            return multiply(product, operand, weights, bias)
        both = jnp.concatenate([self._x, operand], axis=-1)
        return add_bias(Projection(len(self._bias))(both, self._weights), self._bias)


class RepeatedProducts:
    """The same operands times other weights: what a change of the weights adds to the products.

    The step goes on with the products it had, so the operands stay what they are.
    """

    def __init__(self, gates: SeenProducts):
        self.products: list[Any] = []
        self._before = iter(zip(gates.operands, gates.products, strict=True))

    def multiply(
        self,
        product: Callable,
        operand: Array,
        weights: Array,
        bias: Array | None = None,
        gates: slice | None = None,
    ) -> PyTree:
        operand, value = next(self._before)
        self.products.append(by_rows(multiply)(product, operand, weights, bias))
        return value


class KnownProducts:
    """Products that need not be made, though they move with their operands, and by `changes`."""

    def __init__(self, products: list, changes: list):
        self.products: list[Any] = []
        self._known = iter(zip(products, changes, strict=True))

    def multiply(
        self,
        product: Callable,
        operand: Array,
        weights: Array,
        bias: Array | None = None,
        gates: slice | None = None,
    ) -> PyTree:
        value, change = next(self._known)
        self.products.append(_known_product(product, value, weights, operand, change))
        return self.products[-1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known_product(product: Callable, value: Any, weights: Array, operand: Array, change: Any):
    """`value`, which moves with the operand and, besides, with `change`."""
    return value


@_known_product.defjvp
def _known_product_jvp(product: Callable, primals: tuple, tangents: tuple) -> tuple:
    value, weights, _, _ = primals
    _, _, d_operand, d_change = tangents
    d_product = product(d_operand, weights)
    return value, jax.tree.map(lambda d, more: d.astype(more.dtype) + more, d_product, d_change)


def transposed(weights: Array) -> Array:
    """The same weights, in memory as the backward pass reads them: transposed."""
    stored = jax.lax.optimization_barrier(jnp.moveaxis(weights, 0, -1))
    return jnp.moveaxis(stored, -1, 0)


def not_summed(recurrence: Recurrence, inputs: Gates) -> list[Array]:
    """The inputs of the gates that see them apart from the products."""
    return [x for gate, x in enumerate(inputs) if gate not in recurrence.summed_gates]


def all_inputs(recurrence: Recurrence, products: list, rest: list[Array]) -> Gates:
    """The inputs of `advance`: zeros for the gates whose inputs are in the products."""
    count = len(rest) + len(recurrence.summed_gates)
    others = iter(rest)
    zeros = jnp.zeros_like(products[0][0])
    return Gates(
        zeros if gate in recurrence.summed_gates else next(others) for gate in range(count)
    )


def unit_rows(recurrence: Recurrence, params: Params, batch_shape: tuple[int, ...]) -> dict:
    """The unit parameters, one copy for each row, so that no sum over rows is in a loop.

    `(*any, features)` becomes `(*any, *batch_shape, features)`.
    """
    copies = {}
    for name in recurrence.unit_parameters:
        *some, features = params[name].shape
        row = params[name].reshape(*some, *(1 for _ in batch_shape), features)
        copies[name] = jnp.broadcast_to(row, (*some, *batch_shape, features))
    return copies
