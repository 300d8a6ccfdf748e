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
from functools import partial
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import select
from seqjax.core.noise import with_keys_of
from seqjax.core.recurrence import Recurrence
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.trees import floats, put_floats, tree_bytes
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.methods import Auto, Recompute, Store
from seqjax.engines.products import (
    KnownProducts,
    RepeatedProducts,
    SeenProducts,
    all_inputs,
    by_rows,
    not_summed,
    pack,
    transposed,
    unit_rows,
    unpack,
)
from seqjax.engines.tangents import Flags, held, restarted, tangent_leaves, tangent_tree
from seqjax.engines.tiles import before, divisor, over_tiles


def bptt(
    method: Auto | Recompute | Store,
    recurrence: Recurrence,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Array,
    steps: Steps,
) -> Run:
    """Runs a cell that shows its parts.

    Args:
      method: by `Auto`, the gates of small sequences are stored, those of large ones are computed
        again.
      recurrence: the parts of the cell.
      cell, params, carry, initial, xs, steps: as for every engine.
    """
    batch_ndim = len(batch_shape_of(cell, xs))
    flags = Flags(*steps.flags)
    inputs, flags = time_major((zero_masked(xs, steps.valid), flags), batch_ndim)
    time = inputs.shape[0]
    gates = jax.eval_shape(recurrence.project_inputs, params, inputs)
    step_bytes = tree_bytes(gates) // time
    if isinstance(method, Auto):
        small = step_bytes * time <= sizes.GATES_STORED.here
        method = Store() if small else Recompute()
    plan = Plan(
        recurrence,
        tile=method.tile
        or tile_size(time, max(1, inputs[0, ..., 0].size), step_bytes, steps.devices),
        forward_tile=method.forward_tile
        or divisor(time, max(1, sizes.GATES_OF_FORWARD_TILE.here // step_bytes)),
        reverse=steps.reverse,
        store=isinstance(method, Store),
        keep="carry" if steps.record else "output",
    )
    carry, kept = run(plan, params, carry, with_keys_of(initial, carry), inputs, flags)
    carries = kept[0] if steps.record else None
    ys = recurrence.output(carries) if steps.record else kept
    ys, carries = batch_major((ys, carries), batch_ndim)
    return Run(carry, zero_masked(ys, steps.valid), carries)


def tile_size(time: int, rows: int, step_bytes: int, devices: int) -> int:
    """Steps of a tile when there is a gradient to compute.

    On one device, a tile costs more than it saves until it would leave the cache by far. Where
    several CPU devices share cache and memory, smaller tiles win.

    Args:
      time: steps of the sequence.
      rows: of the batch.
      step_bytes: gates of one step.
      devices: that run at the same time.
    """
    together = sizes.GATES_OF_TILE.here
    whole = sizes.GATES_STORED.here
    if devices > 1:
        together = whole = together // sizes.TILE_SHARE.here
    if step_bytes * time <= whole:
        return time
    return divisor(time, max(1, together // step_bytes, sizes.TILE_ROWS.here // rows))


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
        x, flags = here
        inputs = by_rows(recurrence.project_inputs)(params, x)

        def body(carry, now):
            inputs, flags = now
            gates = SeenProducts(recurrence, inputs)
            start = restarted(flags, initial, carry)
            new, _ = recurrence.advance(params, start, gates.inputs, gates.multiply)
            new = held(flags, new, carry)
            if plan.keep == "output":
                return new, recurrence.output(new)
            return new, (new, gates.to_store(gates.products) if plan.keep == "gates" else [])

        carry, kept = jax.lax.scan(body, carry, (inputs, flags), reverse=plan.reverse)
        if plan.keep != "output":
            rest = not_summed(recurrence, inputs) if plan.keep == "gates" else []
            carries, products = kept
            kept = carries, Kept(products, rest)
        return carry, kept

    size = plan.forward_tile if plan.keep == "output" else plan.tile
    carry, kept = over_tiles(tile, carry, (xs, flags), size=size, reverse=plan.reverse)
    return carry, jax.tree.map(_settled, kept)


def _settled(leaf: Array) -> Array:
    """The same array, whose `vmap` dimension has come to the front.

    JAX takes it that a function and its derivative rule leave that dimension at the same place.
    With tiles of several sizes they would not: a reshape moves it, and one tile needs none.
    """
    return jax.lax.reshape(jax.lax.reshape(leaf, (1, *leaf.shape)), leaf.shape)


@partial(run.defjvp, symbolic_zeros=True)
def _run_jvp(plan: Plan, primals: tuple, tangents: tuple) -> tuple:
    params, carry, initial, xs, flags = primals
    d_params, d_carry, d_initial, d_xs = map(tangent_leaves, primals[:4], tangents[:4])
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
    turned = jax.tree.map(transposed, params)
    tile = partial(
        _tile_tangent, plan, params, turned, (carry, carries), initial, d_params, d_initial
    )
    d_end, d_record = over_tiles(
        # Nothing is lost if a result of the forward pass is found again: no barrier.
        jax.checkpoint(tile, prevent_cse=False),
        d_carry,
        (jnp.arange(xs.shape[0]), xs, flags, kept if plan.store else None, d_xs and d_xs[0]),
        **over,
    )
    d_end = tangent_tree(end, d_end)
    if plan.keep == "output":
        return (end, plan.recurrence.output(carries)), (d_end, d_record)
    d_carries = tangent_tree(carries, d_record[0])
    kept = kept if plan.keep == "gates" else Kept([], [])
    return (end, (carries, kept)), (d_end, (d_carries, d_record[1]))


def _tile_tangent(
    plan: Plan,
    params: Params,
    turned: Params,
    states: tuple[Carry, Carry],
    initial: Carry,
    d_params: Params | None,
    d_initial: list[Array] | None,
    d_carry: list[Array],
    here: Any,
) -> tuple[list[Array], PyTree]:
    """The tangents of a tile, linear in all arguments whose names begin with `d_`.

    Those of carries are lists of their floating-point leaves; `states` are the carry before all
    steps and those after each. Returns the tangents after the tile, and those of what `plan.keep`
    names.
    """
    numbers, x, flags, kept, d_x = here
    recurrence = plan.recurrence
    batch_shape = x.shape[1:-1]
    project_inputs = by_rows(recurrence.project_inputs)
    previous = before(*states, numbers, reverse=plan.reverse)
    if flags.cuts is not None:
        # For higher derivatives: those of the start are cut where the tangents are.
        previous = jax.tree.map(
            lambda leaf: select(flags.cuts, jax.lax.stop_gradient(leaf), leaf), previous
        )
    start = restarted(flags, jax.tree.map(lambda leaf: leaf[None], initial), previous)

    # The gates of the tile, for all its steps at once.
    if kept is None:
        gates = SeenProducts(recurrence, project_inputs(params, x))
    else:
        gates = SeenProducts(recurrence, all_inputs(recurrence, *kept), kept.products)
    recurrence.advance(params, start, gates.inputs, gates.multiply)

    # What changes in them while the states stay as they are.
    d_inputs = jax.tree.map(jnp.zeros_like, gates.inputs)
    d_products = jax.tree.map(jnp.zeros_like, gates.products)
    if d_x is not None:
        d_inputs += jax.jvp(partial(project_inputs, params), (x,), (d_x,))[1]
    if d_params is not None:
        wide = jax.tree.map(lambda leaf, d: leaf.astype(d.dtype), params, d_params)

        def by_params(params):
            again = RepeatedProducts(gates)
            recurrence.advance(params, start, gates.inputs, again.multiply)
            return project_inputs(params, x), again.products

        d_inputs, d_products = jax.tree.map(
            lambda so_far, d: so_far + d.astype(so_far.dtype),
            (d_inputs, d_products),
            jax.jvp(by_params, (wide,), (d_params,))[1],
        )
    d_products = gates.sum_inputs(d_products, d_inputs)
    d_rest = not_summed(recurrence, d_inputs)
    units = unit_rows(recurrence, params, batch_shape)
    d_units = jax.tree.map(jnp.zeros_like, units)
    if d_params is not None:
        d_units = unit_rows(recurrence, d_params, batch_shape)
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
            known = KnownProducts(products, changes)
            inputs = all_inputs(recurrence, products, rest)
            carry = put_floats(start, leaves)
            new, _ = recurrence.advance({**turned, **units}, carry, inputs, known.multiply)
            return floats(new), known.products

        no_change = jax.tree.map(jnp.zeros_like, products)
        d_products = unpack(d_packed, products)
        _, (d_new, d_made) = jax.jvp(
            step, (floats(start), rest, no_change, units), (d_start, d_rest, d_products, d_units)
        )
        d_new = held(flags, d_new, d_carry)
        if plan.keep == "output":
            output = lambda leaves: recurrence.output(put_floats(start, leaves))  # noqa: E731
            return d_new, jax.jvp(output, (floats(start),), (d_new,))[1]
        return d_new, (d_new, gates.to_store(d_made) if plan.keep == "gates" else [])

    rest = not_summed(recurrence, gates.inputs)
    d_carry, d_record = jax.lax.scan(
        # The update's own derivative is computed where it is used: cheaper than storing it.
        jax.checkpoint(body, prevent_cse=False),
        d_carry,
        (start, rest, gates.products, flags, d_rest, pack(d_products), d_units),
        reverse=plan.reverse,
    )
    if plan.keep != "output":
        d_record = d_record[0], Kept(d_record[1], d_rest if plan.keep == "gates" else [])
    return d_carry, d_record
