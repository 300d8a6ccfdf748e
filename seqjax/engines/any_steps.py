"""Any step, with the gradients of its weights outside of the time loop.

A `lax.scan` that JAX differentiates adds to the gradient of everything that the step closes over,
the weights and what a decoder attends to, once for every step. Here that is done a tile of time at
a time. The carries are stored and nothing else; steps are computed again.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.steps import Run, Steps, time_of
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.bptt import Keep, Kept, bptt
from seqjax.engines.loops import Loop, ScanLoop
from seqjax.engines.methods import Auto, Recompute
from seqjax.engines.tiles import divisor


def any_steps(
    method: Auto | Recompute,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell whose `step` takes time as one more batch dimension."""
    tile = method.tile if isinstance(method, Recompute) else None
    if tile is None:
        first = jax.tree.map(lambda leaf: jax.eval_shape(lambda a: a[0], leaf), xs)
        tile = divisor(time_of(xs), tile_size(cell, params, carry, first))
    return bptt(AnySteps(cell, tile), False, params, carry, initial, xs, steps)


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
class AnySteps:
    """The `TiledSteps` of a cell that shows nothing but its step."""

    cell: Cell
    tile: int
    loop: Loop = ScanLoop()

    def forward(
        self,
        keep: Keep,
        reverse: bool,
        params: Params,
        carry: Carry,
        initial: Carry,
        xs: Inputs,
        flags: Boundaries,
    ) -> tuple[Carry, Kept]:
        def body(carry, now):
            x, flags = now
            advance = lambda start: self.cell.step(params, start, x)  # noqa: E731
            new, y = flags.step(advance, initial, carry)
            return new, Kept(y, new).only(keep)

        return self.loop.scan(body, carry, (xs, flags), reverse=reverse)

    def prepare(self, params: Params) -> Params:
        return params

    def linearize(
        self,
        params: Params,
        prepared: Params,
        start: Carry,
        x: Inputs,
        gates: None,
        d_params: list[Array] | None,
        d_x: list[Array] | None,
    ) -> tuple[PyTree, PyTree, Callable[..., tuple[list[Array], Kept]]]:
        def step(params, carry, x):
            new, y = self.cell.step(params, carry, x)
            return floats(new), floats(y)

        # What changes while the states stay as they are, for all steps at once.
        known = [floats(params), floats(x)]

        def by_constants(*changed):
            weights, inputs = (
                now if new is None else new for now, new in zip(known, changed, strict=True)
            )
            narrow = [leaf.astype(p.dtype) for leaf, p in zip(weights, known[0], strict=True)]
            return step(put_floats(params, narrow), start, put_floats(x, inputs))

        changes = (d_params, d_x)
        wide = [
            None if d is None else [leaf.astype(t.dtype) for leaf, t in zip(now, d, strict=True)]
            for now, d in zip(known, changes, strict=True)
        ]
        if d_params is None and d_x is None:
            d_added = jax.tree.map(jnp.zeros_like, jax.eval_shape(by_constants, None, None))
        else:
            d_added = jax.jvp(by_constants, tuple(wide), changes)[1]

        def push(now, d_added, d_start):
            start, x = now
            by_carry = lambda leaves: step(params, put_floats(start, leaves), x)  # noqa: E731
            _, d_made = jax.jvp(by_carry, (floats(start),), (d_start,))
            d_new, d_y = jax.tree.map(jnp.add, d_made, d_added)
            return d_new, Kept(d_y)

        return (start, x), d_added, push
