"""Backpropagation through time that is fast and small, for every cell that shows its parts.

A `Recurrence` says which part of a step depends on the input alone, which products with
weights it makes, and what the rest is. That is enough for a derivative of our own:

* Forward: time goes in tiles. The input part of a tile is one product; the loop inside makes
  the recurrent products and the rest. The carries are stored, and nothing else (or the gates
  too: `store`).
* Tangents: the products of a tile have known operands, so they are made again as one product
  for all its steps, and so is everything that the tangents of the weights add. What remains
  for the loop is linear, and its one product is that with the tangent of the state.
* JAX transposes this into the backward pass: per tile one loop that holds the update's own
  derivative and one product with the transposed weights, and then one product for each
  gradient of a weight. Forward-mode and higher derivatives come from the same rule.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero

from seqjax.core.gates import Gates
from seqjax.core.masks import select
from seqjax.core.noise import restart
from seqjax.core.recurrence import Affine, Product, Recurrence, multiply
from seqjax.core.trees import floats, is_float, put_floats
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines.tiles import before, entries, over_tiles


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when a run is compiled.

    `tile` is in steps; `forward_tile` takes its place where only outputs are asked for. With
    `store` the gates are kept for the backward pass, without it they are computed again from
    the carries. `keep` says what to return of every step: the output, the carry, or the carry
    and the gates.
    """

    recurrence: Recurrence
    tile: int
    forward_tile: int
    reverse: bool
    store: bool
    keep: Literal["output", "carry", "gates"]


class Flags(NamedTuple):
    """`(time, *batch)` bools or None: steps that count, resets, and cuts before a step."""

    valid: Array | None = None
    resets: Array | None = None
    cuts: Array | None = None


class Kept(NamedTuple):
    """The gates of every step: their products, and the inputs that are not summed into them."""

    products: list[Any]
    inputs: list[Array]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def run(
    plan: Plan, params: Params, carry: Carry, initial: Carry, xs: Array, flags: Flags
) -> tuple[Carry, PyTree]:
    """The carry after the last step, and what `plan.keep` names of every step.

    Args:
      plan: see `Plan`.
      params: of the recurrence.
      carry: leaves `(*batch, ...)`.
      initial: the carry after a reset.
      xs: `(time, *batch, inputs)`.
      flags: see `Flags`.
    """
    recurrence = plan.recurrence

    def tile(carry, here):
        (x, flags), _ = here
        inputs = _by_rows(recurrence.project_inputs, argument=1)(params, x)

        def body(carry, now):
            inputs, flags = now
            gates = _Gates(recurrence, inputs)
            start = _restart(flags, initial, carry)
            new, _ = recurrence.advance(params, start, gates.inputs, gates.multiply)
            new = _hold(flags, new, carry)
            if plan.keep == "output":
                return new, recurrence.output(new)
            return new, (new, gates.to_store(gates.products) if plan.keep == "gates" else [])

        carry, kept = jax.lax.scan(body, carry, (inputs, flags), reverse=plan.reverse)
        if plan.keep != "output":
            rest = _not_summed(recurrence, inputs) if plan.keep == "gates" else []
            carries, products = kept
            kept = carries, Kept(products, rest)
        return carry, kept

    size = plan.forward_tile if plan.keep == "output" else plan.tile
    return over_tiles(tile, carry, (xs, flags), size=size, reverse=plan.reverse)


@partial(run.defjvp, symbolic_zeros=True)
def _run_jvp(plan: Plan, primals: tuple, tangents: tuple) -> tuple:
    params, carry, initial, xs, flags = primals
    d_params, d_carry, d_initial, d_xs = map(_tangent_leaves, primals[:4], tangents[:4])
    if d_params is not None:
        # Gradients of weights add up over many tiles: in float32 at least.
        d_params = [d.astype(jnp.promote_types(d.dtype, jnp.float32)) for d in d_params]
        d_params = put_floats(params, d_params)
    if d_carry is None:
        d_carry = [jnp.zeros_like(leaf) for leaf in floats(carry)]
    gates = plan.store or plan.keep == "gates"
    end, (carries, kept) = run(
        dataclasses.replace(plan, keep="gates" if gates else "carry"), *primals
    )
    over: dict[str, Any] = {"size": plan.tile, "reverse": plan.reverse}
    turned = jax.tree.map(_turned, params)
    tile = partial(_tile_tangent, plan, params, turned, initial, d_params, d_initial)
    d_end, d_record = over_tiles(
        # Nothing is lost if a result of the forward pass is found again: no barrier.
        jax.checkpoint(tile, prevent_cse=False),
        d_carry,
        (xs, flags, carries, kept if plan.store else None, d_xs and d_xs[0]),
        each=entries(carry, carries, **over),
        **over,
    )
    d_end = _tangent_tree(end, d_end)
    if plan.keep == "output":
        return (end, plan.recurrence.output(carries)), (d_end, d_record)
    d_carries = _tangent_tree(carries, d_record[0])
    return (end, (carries, kept)), (d_end, (d_carries, d_record[1]))


def _tile_tangent(
    plan: Plan,
    params: Params,
    turned: Params,
    initial: Carry,
    d_params: Params | None,
    d_initial: list[Array] | None,
    d_carry: list[Array],
    here: Any,
) -> tuple[list[Array], PyTree]:
    """The tangents of a tile, linear in all arguments whose names begin with `d_`.

    Those of carries are lists of their floating-point leaves. Returns the tangents after the
    tile, and those of what `plan.keep` names.
    """
    (x, flags, carries, kept, d_x), entry = here
    recurrence = plan.recurrence
    batch_shape = x.shape[1:-1]
    project_inputs = _by_rows(recurrence.project_inputs, argument=1)
    previous = before(entry, carries, reverse=plan.reverse)
    if flags.cuts is not None:
        # For higher derivatives: those of the start are cut where the tangents are.
        previous = jax.tree.map(
            lambda leaf: select(flags.cuts, jax.lax.stop_gradient(leaf), leaf), previous
        )
    start = _restart(flags, jax.tree.map(lambda leaf: leaf[None], initial), previous)

    # The gates of the tile, for all its steps at once.
    if kept is None:
        gates = _Gates(recurrence, project_inputs(params, x))
    else:
        gates = _Gates(recurrence, _all_inputs(recurrence, *kept), kept.products)
    recurrence.advance(params, start, gates.inputs, gates.multiply)

    # What changes in them while the states stay as they are.
    d_inputs = jax.tree.map(jnp.zeros_like, gates.inputs)
    d_products = jax.tree.map(jnp.zeros_like, gates.products)
    if d_x is not None:
        d_inputs += jax.jvp(partial(project_inputs, params), (x,), (d_x,))[1]
    if d_params is not None:
        wide = jax.tree.map(lambda leaf, d: leaf.astype(d.dtype), params, d_params)

        def by_params(params):
            again = _Again(gates)
            recurrence.advance(params, start, gates.inputs, again.multiply)
            return project_inputs(params, x), again.products

        d_inputs, d_products = jax.tree.map(
            lambda zero, d: zero + d.astype(zero.dtype),
            (d_inputs, d_products),
            jax.jvp(by_params, (wide,), (d_params,))[1],
        )
    d_products = gates.sum_inputs(d_products, d_inputs)
    d_rest = _not_summed(recurrence, d_inputs)
    units = _units(recurrence, params, batch_shape)
    d_units = jax.tree.map(jnp.zeros_like, units)
    if d_params is not None:
        d_units = _units(recurrence, d_params, batch_shape)
    d_units = jax.tree.map(
        lambda d, unit: jnp.broadcast_to(d, (x.shape[0], *d.shape)).astype(unit.dtype),
        d_units,
        units,
    )

    def body(d_carry, now):
        start, rest, products, flags, d_rest, d_packed, d_units = now
        if flags.cuts is not None:
            d_carry = [select(flags.cuts, jnp.zeros_like(d), d) for d in d_carry]
        d_start = d_carry
        if flags.resets is not None:
            fresh = d_initial or [jnp.zeros_like(d) for d in d_carry]
            d_start = [select(flags.resets, *pair) for pair in zip(fresh, d_carry, strict=True)]

        def step(leaves, rest, changes, units):
            known = _Known(products, changes)
            inputs = _all_inputs(recurrence, products, rest)
            carry = put_floats(start, leaves)
            new, _ = recurrence.advance({**turned, **units}, carry, inputs, known.multiply)
            return floats(new), known.products

        no_change = jax.tree.map(jnp.zeros_like, products)
        d_products = _unpack(d_packed, products)
        _, (d_new, d_made) = jax.jvp(
            step, (floats(start), rest, no_change, units), (d_start, d_rest, d_products, d_units)
        )
        d_new = _hold(flags, d_new, d_carry)
        if plan.keep == "output":
            output = lambda leaves: recurrence.output(put_floats(start, leaves))  # noqa: E731
            return d_new, jax.jvp(output, (floats(start),), (d_new,))[1]
        return d_new, (d_new, gates.to_store(d_made) if plan.keep == "gates" else [])

    rest = _not_summed(recurrence, gates.inputs)
    d_carry, d_record = jax.lax.scan(
        # The update's own derivative is computed where it is used: cheaper than storing it.
        jax.checkpoint(body, prevent_cse=False),
        d_carry,
        (start, rest, gates.products, flags, d_rest, _pack(d_products), d_units),
        reverse=plan.reverse,
    )
    if plan.keep != "output":
        d_record = d_record[0], Kept(d_record[1], d_rest if plan.keep == "gates" else [])
    return d_carry, d_record


class _Gates:
    """Takes part in `advance`: sees every product, and sums into it the inputs it may."""

    def __init__(self, recurrence: Recurrence, inputs: Gates, known: Sequence[Any] = ()):
        """`known` products, which have their inputs in them, are taken as they are."""
        self.summed = recurrence.summed_gates
        self.inputs = Gates(
            jnp.zeros_like(x) if gate in self.summed else x for gate, x in enumerate(inputs)
        )
        self.operands: list[Array] = []
        self.products: list[Any] = []
        self._all_inputs = inputs
        self._known = iter(known)
        self._places: list[slice | None] = []

    def multiply(
        self, product: Product, operand: Array, parameters: Affine, gates: slice | None
    ) -> PyTree:
        value = next(self._known, None)
        if value is None:
            value = _by_rows(multiply, argument=1)(product, operand, parameters)
            value = self._sum(value, self._all_inputs, gates)
        self.operands.append(operand)
        self.products.append(value)
        self._places.append(gates)
        return value

    def sum_inputs(self, products: list, inputs: Gates) -> list:
        """The products plus the inputs that are summed into them."""
        places = zip(products, self._places, strict=True)
        return [self._sum(product, inputs, gates) for product, gates in places]

    def to_store(self, products: list) -> list:
        """None for products that are not of gates: those are cheaper to make again."""
        places = zip(products, self._places, strict=True)
        return [None if gates is None else product for product, gates in places]

    def _sum(self, product: Any, inputs: Gates, gates: slice | None) -> Any:
        if gates is None:
            return product
        return Gates(
            value + inputs[gate] if gate in self.summed else value
            for gate, value in enumerate(product, gates.start)
        )


class _Again:
    """Takes part in `advance`: the products of the same operands with other weights."""

    def __init__(self, gates: _Gates):
        self.products: list[Any] = []
        self._before = iter(zip(gates.operands, gates.products, strict=True))

    def multiply(
        self, product: Product, operand: Array, parameters: Affine, gates: slice | None
    ) -> PyTree:
        operand, value = next(self._before)
        self.products.append(_by_rows(multiply, argument=1)(product, operand, parameters))
        return value


class _Known:
    """Takes part in `advance`: products that are known, and how they change."""

    def __init__(self, products: list, changes: list):
        self.products: list[Any] = []
        self._known = iter(zip(products, changes, strict=True))

    def multiply(
        self, product: Product, operand: Array, parameters: Affine, gates: slice | None
    ) -> PyTree:
        value, change = next(self._known)
        self.products.append(_known_product(product, value, parameters.weights, operand, change))
        return self.products[-1]


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _known_product(product: Product, value: Any, weights: Array, operand: Array, change: Any):
    """`value`, which moves with the operand and, besides, with `change`."""
    return value


@_known_product.defjvp
def _known_product_jvp(product: Product, primals: tuple, tangents: tuple) -> tuple:
    value, weights, _, _ = primals
    _, _, d_operand, d_change = tangents
    d_product = product(d_operand, weights)
    return value, jax.tree.map(lambda d, more: d.astype(more.dtype) + more, d_product, d_change)


def _turned(weights: Array) -> Array:
    """The same weights, in memory as the backward pass reads them: transposed."""
    turned = jax.lax.optimization_barrier(jnp.moveaxis(weights, 0, -1))
    return jnp.moveaxis(turned, -1, 0)


def _by_rows(function: Callable[..., PyTree], *, argument: int) -> Callable[..., PyTree]:
    """`function` with the rows of one argument in a single dimension, as in its results.

    A product over several dimensions of rows has a gradient with several contracted ones,
    which XLA copies into one before every product.
    """

    def call(*arguments):
        before, x, after = arguments[:argument], arguments[argument], arguments[argument + 1 :]
        rows = x.shape[:-1]
        if len(rows) <= 1:
            return function(*arguments)
        flat = function(*before, x.reshape(math.prod(rows), x.shape[-1]), *after)
        return jax.tree.map(lambda leaf: leaf.reshape(*rows, *leaf.shape[1:]), flat)

    return call


def _not_summed(recurrence: Recurrence, inputs: Gates) -> list[Array]:
    return [x for gate, x in enumerate(inputs) if gate not in recurrence.summed_gates]


def _all_inputs(recurrence: Recurrence, products: list, rest: list[Array]) -> Gates:
    """The inputs of `advance`: zeros for the gates whose inputs are in the products."""
    count = len(rest) + len(recurrence.summed_gates)
    others = iter(rest)
    zeros = jnp.zeros_like(products[0][0])
    return Gates(
        zeros if gate in recurrence.summed_gates else next(others) for gate in range(count)
    )


def _pack(products: list) -> list:
    """Each product as one array: one store in every step of the backward loop, not many."""
    return [
        jnp.concatenate(list(product), axis=-1) if isinstance(product, Gates) else product
        for product in products
    ]


def _unpack(packed: list, like: list) -> list:
    return [
        Gates(jnp.split(array, len(product), axis=-1)) if isinstance(product, Gates) else array
        for array, product in zip(packed, like, strict=True)
    ]


def _units(recurrence: Recurrence, params: Params, batch_shape: tuple[int, ...]) -> dict:
    """The unit parameters, one copy for each row, so that no sum over rows is in a loop.

    `(*any, features)` becomes `(*any, *batch_shape, features)`.
    """
    copies = {}
    for name in recurrence.unit_parameters:
        *some, features = params[name].shape
        row = params[name].reshape(*some, *(1 for _ in batch_shape), features)
        copies[name] = jnp.broadcast_to(row, (*some, *batch_shape, features))
    return copies


def _restart(flags: Flags, initial: Carry, carry: Carry) -> Carry:
    return carry if flags.resets is None else restart(flags.resets, initial, carry)


def _hold(flags: Flags, new: PyTree, old: PyTree) -> PyTree:
    """The new values at steps that count, else the old ones."""
    if flags.valid is None:
        return new
    return jax.tree.map(partial(select, flags.valid), new, old)


def _tangent_leaves(primal: PyTree, tangent: PyTree) -> list[Array] | None:
    """The tangents of the floating-point leaves, None if all of them are zero."""
    leaves = jax.tree.leaves(tangent, is_leaf=lambda leaf: isinstance(leaf, SymbolicZero))
    pairs = list(zip(jax.tree.leaves(primal), leaves, strict=True))
    if all(isinstance(d, SymbolicZero) for _, d in pairs):
        return None
    return [
        jnp.zeros_like(leaf) if isinstance(d, SymbolicZero) else d
        for leaf, d in pairs
        if is_float(leaf)
    ]


def _tangent_tree(primal: PyTree, leaves: list[Array]) -> PyTree:
    """Tangents in the form of the primal values, for those that have any."""
    found = iter(leaves)
    return jax.tree.map(
        lambda leaf: (
            next(found) if is_float(leaf) else SymbolicZero(jax.typeof(leaf).to_tangent_aval())
        ),
        primal,
    )
