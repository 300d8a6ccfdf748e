"""Any step, with the gradients of its weights outside of the time loop.

A `lax.scan` that JAX differentiates adds to the gradient of everything that the step closes over,
the weights and what a decoder attends to, once for every step. But the carries before all steps
are known when the backward pass begins. So what the tangents of weights and inputs add at each
step is computed for a tile of time at once:

    d_new[t] = (d step / d carry)[t] d_carry[t] + (d step / d (params, x))[t] (d_params, d_x[t])

The loop holds the first term only. JAX transposes this into a backward loop that carries the
cotangent of the state and nothing else, and then one product over time for each weight. The
carries are stored and nothing else; steps are computed again.
"""

import dataclasses
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import select
from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.methods import Auto, Recompute
from seqjax.engines.tangents import Flags, held, restarted, tangent_leaves, tangent_tree
from seqjax.engines.tiles import before, divisor, over_tiles


def stepwise(
    method: Auto | Recompute,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell whose `step` takes time as one more batch dimension."""
    batch_ndim = len(batch_shape_of(cell, xs))
    inputs, flags = time_major((zero_masked(xs, steps.valid), Flags(*steps.flags)), batch_ndim)
    time = jax.tree.leaves(inputs)[0].shape[0]
    tile = method.tile if isinstance(method, Recompute) else None
    if tile is None:
        first = jax.tree.map(lambda leaf: jax.eval_shape(lambda a: a[0], leaf), inputs)
        tile = divisor(time, tile_size(cell, params, carry, first))
    plan = Plan(cell, tile, steps.reverse, steps.record)
    carry, (ys, carries) = run(plan, params, carry, with_keys_of(initial, carry), inputs, flags)
    ys, carries = batch_major((ys, carries), batch_ndim)
    return Run(carry, zero_masked(ys, steps.valid), carries)


def tile_size(cell: Cell, params: Params, carry: Carry, x: Inputs) -> int:
    """How many steps a tile should have.

        made  = bytes of the output and the carry of a step, or of the largest array on the way
                to them (the scores of an attention, say), whichever are more
        added = bytes of the gradients of all parameters, to which every tile adds
        size  = STEPS_OF_TILE / made, but at least FEWEST_STEPS_OF_TILE * added / made,
                up to FEWEST_STEPS_OF_TILE (`seqjax.engines.sizes`)

    Args:
      cell, params, carry: as for the step.
      x: the input of one step; its shapes are enough.
    """
    program = jax.make_jaxpr(cell.step)(params, carry, x)
    made = max(1, sum(map(_bytes, program.out_avals)))
    # What is made of the parameters alone is the same for all steps.
    changing = set(map(id, program.jaxpr.invars[len(jax.tree.leaves(params)) :]))
    for eqn in program.eqns:
        if any(id(var) in changing for var in eqn.invars):
            changing.update(map(id, eqn.outvars))
            made = max([made, *(_bytes(var.aval) for var in eqn.outvars)])
    added = sum(map(_bytes, floats(params)))
    fewest = sizes.FEWEST_STEPS_OF_TILE.here
    least = min(fewest, -(-fewest * added // made))
    return max(1, least, sizes.STEPS_OF_TILE.here // made)


def _bytes(array: Any) -> int:
    return math.prod(array.shape) * array.dtype.itemsize


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fixed when a run is compiled; `tile` is in steps."""

    cell: Cell
    tile: int
    reverse: bool
    record: bool


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def run(
    plan: Plan, params: Params, carry: Carry, initial: Carry, xs: Inputs, flags: Flags
) -> tuple[Carry, tuple[PyTree, Carry | None]]:
    """The carry after the last step; the output and, with `plan.record`, the carry of each step.

    Args:
      plan: see `Plan`.
      params: of the cell.
      carry: leaves `(*batch, ...)`.
      initial: the carry after a reset.
      xs: leaves `(time, *batch, ...)`.
      flags: see `Flags`.
    """

    def body(carry, now):
        x, flags = now
        new, y = plan.cell.step(params, restarted(flags, initial, carry), x)
        new = held(flags, new, carry)
        return new, (y, new if plan.record else None)

    return jax.lax.scan(body, carry, (xs, flags), reverse=plan.reverse)


@partial(run.defjvp, symbolic_zeros=True)
def _run_jvp(plan: Plan, primals: tuple, tangents: tuple) -> tuple:
    params, carry, initial, xs, _ = primals
    d_params, d_carry, d_initial, d_xs = map(tangent_leaves, primals[:4], tangents[:4])
    if d_params is not None:
        # Gradients of weights add up over many tiles: in float32 at least.
        d_params = [d.astype(jnp.promote_types(d.dtype, jnp.float32)) for d in d_params]
    if d_carry is None:
        d_carry = [jnp.zeros_like(leaf) for leaf in floats(carry)]
    end, (ys, carries) = run(dataclasses.replace(plan, record=True), *primals)
    time = jax.tree.leaves(xs)[0].shape[0]
    tile = partial(_tile_tangent, plan, params, (carry, carries), initial, d_params, d_initial)
    d_end, (d_ys, d_carries) = over_tiles(
        # Nothing is lost if a result of the forward pass is found again: no barrier.
        jax.checkpoint(tile, prevent_cse=False),
        d_carry,
        (jnp.arange(time), xs, primals[4], d_xs),
        size=plan.tile,
        reverse=plan.reverse,
    )
    made, d_made = (ys, None), (tangent_tree(ys, d_ys), None)
    if plan.record:
        made, d_made = (ys, carries), (d_made[0], tangent_tree(carries, d_carries))
    return (end, made), (tangent_tree(end, d_end), d_made)


def _tile_tangent(
    plan: Plan,
    params: Params,
    states: tuple[Carry, Carry],
    initial: Carry,
    d_params: list[Array] | None,
    d_initial: list[Array] | None,
    d_carry: list[Array],
    here: Any,
) -> tuple[list[Array], PyTree]:
    """The tangents of a tile, linear in all arguments whose names begin with `d_`.

    Those of trees are lists of their floating-point leaves; `states` are the carry before all
    steps and those after each. Returns the tangents after the tile, and those of the outputs and
    the carries of its steps.
    """
    numbers, x, flags, d_x = here
    previous = before(*states, numbers, reverse=plan.reverse)
    if flags.cuts is not None:
        # For higher derivatives: those of the start are cut where the tangents are.
        previous = jax.tree.map(
            lambda leaf: select(flags.cuts, jax.lax.stop_gradient(leaf), leaf), previous
        )
    start = restarted(flags, jax.tree.map(lambda leaf: leaf[None], initial), previous)

    def step(params, carry, x):
        new, y = plan.cell.step(params, carry, x)
        return floats(new), floats(y)

    # What changes while the states stay as they are, for all steps at once.
    known = [floats(params), floats(x)]

    def by_constants(*changed):
        leaves = [now if new is None else new for now, new in zip(known, changed, strict=True)]
        narrow = [leaf.astype(p.dtype) for leaf, p in zip(leaves[0], known[0], strict=True)]
        return step(put_floats(params, narrow), start, put_floats(x, leaves[1]))

    changes = (d_params, d_x)
    wide = [
        None if d is None else [leaf.astype(t.dtype) for leaf, t in zip(now, d, strict=True)]
        for now, d in zip(known, changes, strict=True)
    ]
    if d_params is None and d_x is None:
        d_added = jax.tree.map(jnp.zeros_like, jax.eval_shape(by_constants, None, None))
    else:
        d_added = jax.jvp(by_constants, tuple(wide), changes)[1]

    def body(d_carry, now):
        start, x, flags, (d_new_added, d_y_added) = now
        if flags.cuts is not None:
            d_carry = [select(flags.cuts, jnp.zeros_like(d), d) for d in d_carry]
        d_start = d_carry
        if flags.resets is not None:
            fresh = d_initial or [jnp.zeros_like(d) for d in d_carry]
            d_start = [select(flags.resets, *pair) for pair in zip(fresh, d_carry, strict=True)]
        by_carry = lambda leaves: step(params, put_floats(start, leaves), x)  # noqa: E731
        _, (d_new, d_y) = jax.jvp(by_carry, (floats(start),), (d_start,))
        d_new = jax.tree.map(jnp.add, d_new, d_new_added)
        d_new = held(flags, d_new, d_carry)
        return d_new, (jax.tree.map(jnp.add, d_y, d_y_added), d_new if plan.record else [])

    return jax.lax.scan(
        # The step's own derivative is computed where it is used: cheaper than storing it.
        jax.checkpoint(body, prevent_cse=False),
        d_carry,
        (start, x, flags, d_added),
        reverse=plan.reverse,
    )
