"""The steps of cells that show their products: one product for each, over a tile of time.

A `Recurrence` says which part of a step depends on the input alone, which products with weights
it makes, and what the rest is.

* Forward, the input part of a tile is one product; the loop inside makes the recurrent products
  and the rest. Where nothing is kept but outputs, each step makes its own input part, in one
  product with the recurrent one if the step sees only their sums.
* The products of a tile have known operands, so for the backward pass they are made again as one
  product for all its steps, and so is everything that the tangents of the weights add. What remains
  for the loop is the update's own derivative and one product, with the tangent of the state.
"""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.recurrence import Recurrence
from seqjax.core.steps import Run, Steps, batch_major, time_major, time_of
from seqjax.core.trees import floats, put_floats, tree_bytes
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.bptt import Keep, Kept, bptt
from seqjax.engines.fused.invariant import hoisted
from seqjax.engines.loops import Loop, ScanLoop
from seqjax.engines.methods import Auto, Recompute, Store
from seqjax.engines.placement import all_varying
from seqjax.engines.products import (
    JointProduct,
    KnownProducts,
    RepeatedProducts,
    SeenProducts,
    all_inputs,
    not_summed,
    transposed,
    unit_rows,
)
from seqjax.engines.row_order import by_rows
from seqjax.engines.tiles import divisor, over_tiles


def gated_steps(
    method: Auto | Recompute | Store,
    recurrence: Recurrence,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Array,
    steps: Steps,
) -> Run:
    """Runs a cell that shows its products.

    Args:
      method: by `Auto`, the gates of small sequences are stored, those of large ones are computed
        again.
      recurrence: the parts of the cell.
      params, carry, initial, xs, steps: as for every engine.
    """
    time, params = time_of(xs), recurrence.flat(params)
    gates = jax.eval_shape(recurrence.project_inputs, params, xs)
    step_bytes = tree_bytes(gates) // time
    if isinstance(method, Auto):
        small = step_bytes * time <= sizes.GATES_STORED.here
        method = Store() if small else Recompute()
    rows = max(1, xs[0, ..., 0].size)
    forward = 1
    if rows <= sizes.ROWS_OF_FORWARD_TILES.here:
        forward = divisor(time, max(1, sizes.GATES_OF_FORWARD_TILE.here // step_bytes))
    kind = GatedSteps(
        recurrence,
        tile=method.tile or tile_size(time, rows, step_bytes, steps.devices),
        forward_tile=method.forward_tile or forward,
        by_gate=steps.devices > 1 and _width(gates) >= sizes.WIDE_GATE.here,
    )
    return bptt(kind, isinstance(method, Store), params, carry, initial, xs, steps)


def tile_size(time: int, rows: int, step_bytes: int, devices: int) -> int:
    """Steps of a tile when there is a gradient to compute.

    On one device, a tile costs more than it saves until it would leave the cache by far. Where
    several CPU devices share cache and memory, smaller tiles win.

    Args:
      time: steps of the sequence.
      rows: sequences of the batch.
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


def _width(gates: PyTree) -> int:
    return jax.tree.leaves(gates)[0].shape[-1]


def _entry(leaf: Array, index: Array, axis: int) -> Array:
    return jax.lax.dynamic_index_in_dim(
        leaf, index, axis, keepdims=False, allow_negative_indices=False
    )


class StoredGates(NamedTuple):
    """The gates of every step: their products, and the inputs that are not summed into them."""

    products: list[Any]
    inputs: list[Array]


@dataclasses.dataclass(frozen=True)
class GatedSteps:
    """The `TiledSteps` of a recurrence; `forward_tile` and `by_gate`, which makes a product for
    each gate, are for outputs alone."""

    recurrence: Recurrence
    tile: int
    forward_tile: int
    loop: Loop = ScanLoop()
    by_gate: bool = False

    def forward(
        self,
        keep: Keep,
        reverse: bool,
        params: Params,
        carry: Carry,
        initial: Carry,
        xs: Array,
        flags: Boundaries,
    ) -> tuple[Carry, Kept]:
        recurrence = self.recurrence
        if keep == "outputs" and self.forward_tile == 1 and self.loop == ScanLoop():
            return self._outputs(reverse, params, carry, initial, xs, flags)

        def tile(carry, here):
            x, flags = here
            inputs = by_rows(recurrence.project_inputs)(params, x)

            def body(carry, now):
                inputs, flags = now
                gates = SeenProducts(recurrence, inputs)
                advance = lambda start: recurrence.advance(  # noqa: E731
                    params, start, gates.inputs, gates.multiply
                )
                new, y = flags.step(advance, initial, carry)
                if keep == "outputs":
                    return new, (y, None, None)
                # The outputs are in the carries.
                return new, (None, new, gates.to_store() if keep == "gates" else None)

            carry, kept = self.loop.scan(body, carry, (inputs, flags), reverse=reverse)
            ys, carries, products = kept
            if products is not None:
                products = StoredGates(products, not_summed(recurrence, inputs))
            return carry, Kept(ys, carries, products)

        size = self.forward_tile if keep == "outputs" else self.tile
        carry, kept = over_tiles(tile, carry, (xs, flags), size=size, reverse=reverse)
        if keep != "outputs":
            kept = kept._replace(ys=recurrence.output(kept.carries))
        return carry, kept

    def _outputs(
        self,
        reverse: bool,
        params: Params,
        carry: Carry,
        initial: Carry,
        xs: Array,
        flags: Boundaries,
    ) -> tuple[Carry, Kept]:
        """All steps, of which nothing is kept but outputs, each with its own input part.

        A user has the batch first. The loop reads and writes in that order, so that the compiler
        drops the turns of the inputs and outputs at the door, and between layers.
        """
        recurrence = self.recurrence.by_gate() if self.by_gate else self.recurrence
        axis, hidden = xs.ndim - 2, recurrence.output(carry)
        joint = None
        if xs.dtype == hidden.dtype and not self.by_gate:
            joint = recurrence.joint(params)
        inputs = batch_major(xs, axis)
        empty = jnp.zeros((*inputs.shape[:-1], hidden.shape[-1]), hidden.dtype)
        ys, *_ = all_varying((empty, xs, params, carry))

        time = xs.shape[0]

        def one_step(start, x):
            if joint is None:
                inputs = recurrence.project_inputs(params, x)
                return recurrence.advance(params, start, inputs)
            gates = JointProduct(x, *joint)
            return recurrence.advance(params, start, gates.inputs, gates.multiply)

        if self.by_gate:
            # The weights of a gate are a slice, which XLA would copy in every step.
            one_step = hoisted(one_step, carry, xs[0])

        def body(state):
            count, carry, ys = state
            step = time - 1 - count if reverse else count
            x = _entry(inputs, step, axis)
            here = jax.tree.map(lambda leaf: _entry(leaf, step, 0), flags)
            new, y = here.step(lambda start: one_step(start, x), initial, carry)
            return (
                count + 1,
                new,
                jax.lax.dynamic_update_index_in_dim(
                    ys, y, step, axis, allow_negative_indices=False
                ),
            )

        # No loop that can be differentiated: for that there is `linearize`.
        _, carry, ys = jax.lax.while_loop(
            lambda state: state[0] < time, body, (jnp.int32(0), carry, ys)
        )
        return carry, Kept(time_major(ys, axis))

    def prepare(self, params: Params) -> Params:
        return jax.tree.map(transposed, params)

    def linearize(
        self,
        params: Params,
        prepared: Params,
        start: Carry,
        x: Array,
        gates: StoredGates | None,
        d_params: list[Array] | None,
        d_x: list[Array] | None,
    ) -> tuple[PyTree, PyTree, Callable[..., tuple[list[Array], Kept]]]:
        recurrence = self.recurrence
        if gates is None:
            seen = SeenProducts(recurrence, by_rows(recurrence.project_inputs)(params, x))
        else:
            seen = SeenProducts(recurrence, all_inputs(recurrence, *gates), gates.products)
        recurrence.advance(params, start, seen.inputs, seen.multiply)
        weights = None if d_params is None else put_floats(params, d_params)
        d_x_leaf = None if d_x is None else d_x[0]
        d_inputs, d_products = self._changes(seen, params, start, x, weights, d_x_leaf)
        d_units = self._unit_changes(params, x, weights)

        def push(now, d_added, d_start):
            (start, rest, products), (d_rest, d_products, d_units) = now, d_added

            def step(leaves, rest, changes, units):
                known = KnownProducts(products, changes)
                inputs = all_inputs(recurrence, products, rest)
                carry = put_floats(start, leaves)
                new, y = recurrence.advance({**prepared, **units}, carry, inputs, known.multiply)
                return floats(new), floats(y), known.products

            changes = jax.tree.map(jnp.zeros_like, products)
            units = unit_rows(recurrence, params, x.shape[1:-1])
            _, (d_new, d_y, d_made) = jax.jvp(
                step,
                (floats(start), rest, changes, units),
                (d_start, d_rest, d_products, d_units),
            )
            d_gates = StoredGates(seen.to_store(d_made), d_rest)
            return d_new, Kept(d_y, gates=jax.tree.leaves(d_gates))

        rest, d_rest = not_summed(recurrence, seen.inputs), not_summed(recurrence, d_inputs)
        return (start, rest, seen.products), (d_rest, d_products, d_units), push

    def _changes(
        self,
        seen: SeenProducts,
        params: Params,
        start: Carry,
        x: Array,
        d_params: Params | None,
        d_x: Array | None,
    ) -> tuple[Any, list]:
        """What changes in the inputs of gates, and in the products with these in them, while the
        states stay as they are."""
        recurrence = self.recurrence
        project_inputs = by_rows(recurrence.project_inputs)
        d_inputs = jax.tree.map(jnp.zeros_like, seen.inputs)
        d_products = jax.tree.map(jnp.zeros_like, seen.products)
        if d_x is not None:
            d_inputs += jax.jvp(partial(project_inputs, params), (x,), (d_x,))[1]
        if d_params is not None:
            wide = jax.tree.map(lambda leaf, d: leaf.astype(d.dtype), params, d_params)

            def by_params(params):
                again = RepeatedProducts(seen)
                recurrence.advance(params, start, seen.inputs, again.multiply)
                return project_inputs(params, x), again.products

            d_inputs, d_products = jax.tree.map(
                lambda so_far, d: so_far + d.astype(so_far.dtype),
                (d_inputs, d_products),
                jax.jvp(by_params, (wide,), (d_params,))[1],
            )
        return d_inputs, seen.sum_inputs(d_products, d_inputs)

    def _unit_changes(self, params: Params, x: Array, d_params: Params | None) -> dict:
        """Those of the unit parameters, one copy for each step and row."""
        units = unit_rows(self.recurrence, params, x.shape[1:-1])
        changes = jax.tree.map(jnp.zeros_like, units)
        if d_params is not None:
            changes = unit_rows(self.recurrence, d_params, x.shape[1:-1])
        return jax.tree.map(
            lambda d, unit: jnp.broadcast_to(d, (x.shape[0], *d.shape)).astype(unit.dtype),
            changes,
            units,
        )
