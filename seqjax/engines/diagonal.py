"""Cells that are linear in their state, over time in tiles or all at once.

Time goes in tiles. The products with weights see all steps of a tile at once; the recurrence
itself runs inside the tile, by one of three means:

* step by step, where the coefficients are made inside the loop and what is read of a state
  leaves it, so that no state of more than one step exists;
* by a kernel that makes one state after the other from the coefficients of all steps of the tile,
  on a TPU;
* by associative scans over chunks of the tile, or over all of it, where the coefficients of all
  steps of a chunk exist at once.

The backward pass runs each tile a second time: inputs and the states between tiles are stored,
nothing else. What fits in one tile is kept as it is. JAX differentiates it, so forward-mode and
higher derivatives come along.
"""

from functools import partial

import jax
import jax.numpy as jnp

from seqjax.core.affine import Update, apply
from seqjax.core.linear import Diagonal
from seqjax.core.masks import select
from seqjax.core.steps import Run, Steps, time_of
from seqjax.core.trees import narrowed, tree_bytes, widened
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines import sizes
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.fused.choice import suits_kernels
from seqjax.engines.fused.loop import KernelLoop
from seqjax.engines.loops import Loop
from seqjax.engines.methods import Associative, Auto, Chunked, Fused
from seqjax.engines.prefix import states_of
from seqjax.engines.tiles import divisor, over_tiles


def diagonal(
    method: Auto | Associative | Chunked | Fused,
    structure: Diagonal,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell that is linear in its state.

    Args:
      method: `Auto` is `Fused()` on a TPU, else `Chunked()`; unless told, a CPU goes step by step
        inside a tile, and elsewhere all steps of it run at once.
      structure: the parts of the cell.
      params, carry, initial, xs, steps: as for every engine.
    """
    time, flags = time_of(xs), Boundaries(*steps.flags)
    step_bytes = max(1, tree_bytes((xs, jax.eval_shape(structure.project, params, xs))) // time)
    step_bytes += tree_bytes(carry)
    if isinstance(method, Auto):
        runs_kernels = sizes.STATES_OF_BLOCK.here and suits_kernels(params, carry, xs)
        method = Fused() if runs_kernels else Chunked()
    loop = None
    if isinstance(method, Fused):
        block = method.block or max(1, sizes.STATES_OF_BLOCK.here // tree_bytes(carry))
        loop, method = KernelLoop(block), Chunked(inside="parallel", tile=method.tile)
    if isinstance(method, Associative):
        method = Chunked(inside="parallel", tile=max(1, time))
    by_steps = method.inside == "steps" or (
        method.inside is None and method.chunk is None and sizes.STEP_BY_STEP.here
    )
    tile_size = method.tile or steps_of_tile(time, step_bytes)
    chunk_size = tile_size if by_steps else method.chunk or tile_size
    run = partial(_by_steps, structure) if by_steps else partial(_at_once, structure, loop)
    # Gradients of parameters add up over tiles, chunks and steps: in float32 at least.
    wide = widened(params)

    def tile(carry, here):
        x, flags = here
        narrow = narrowed(wide, params)

        def chunk(carry, some):
            inputs, flags = some
            return run(wide, params, initial, carry, inputs, flags, steps.reverse, steps.record)

        carry, (values, carries) = over_tiles(
            chunk,
            carry,
            (structure.project(narrow, x), flags),
            size=chunk_size,
            reverse=steps.reverse,
        )
        return carry, (structure.output(narrow, values, x), carries)

    carry, outputs = over_tiles(
        # Inside a loop nothing can be merged across the checkpoint, so no barrier is needed.
        tile if tile_size >= time else jax.checkpoint(tile, prevent_cse=False),
        carry,
        (xs, flags),
        size=tile_size,
        reverse=steps.reverse,
    )
    return Run(carry, *outputs)


def steps_of_tile(time: int, step_bytes: int) -> int:
    """Steps of a tile.

    Args:
      time: steps of the sequence.
      step_bytes: inputs and states of one step.
    """
    if time * step_bytes <= sizes.STATES_STORED.here:
        return time
    fit = sizes.STATES_OF_TILE.here // step_bytes
    return divisor(time, max(sizes.FEWEST_LINEAR_STEPS.here, fit))


def _by_steps(
    structure: Diagonal,
    wide: Params,
    like: Params,
    initial: Carry,
    carry: Carry,
    inputs: PyTree,
    flags: Boundaries,
    reverse: bool,
    record: bool,
) -> tuple[Carry, tuple[PyTree, Carry | None]]:
    """One step after the other: the state after the last, and what is read at each.

    Parameters are `wide` outside of all loops, and in the dtypes of `like` inside.
    """

    # The coefficients are computed a second time where they are used: cheaper than storing them.
    @partial(jax.checkpoint, prevent_cse=False)
    def body(carry, now):
        inputs, flags = now
        params = narrowed(wide, like)
        advance = lambda start: structure.advance(params, start, inputs)  # noqa: E731
        new, values = flags.step(advance, initial, carry)
        return new, (values, new if record else None)

    return jax.lax.scan(body, carry, (inputs, flags), reverse=reverse)


def _at_once(
    structure: Diagonal,
    loop: Loop | None,
    wide: Params,
    like: Params,
    initial: Carry,
    carry: Carry,
    inputs: PyTree,
    flags: Boundaries,
    reverse: bool,
    record: bool,
) -> tuple[Carry, tuple[PyTree, Carry | None]]:
    """The same by an associative scan, or by a loop over states whose coefficients are known."""
    params = narrowed(wide, like)

    def turn(tree: PyTree) -> PyTree:
        return jax.tree.map(lambda leaf: jnp.flip(leaf, 0), tree) if reverse else tree

    inputs, flags = turn((inputs, flags))
    made = structure.update(params, inputs, carry, lead=1)
    time = jax.tree.leaves(inputs)[0].shape[0]
    # Neither need depend on the input.
    each = lambda leaf, like: jnp.broadcast_to(leaf, (time, *like.shape))  # noqa: E731
    *_, unit = jax.tree.leaves(carry)
    decay = jax.tree.map(lambda leaf: each(leaf, unit), made.decay)
    updates = Update(decay, jax.tree.map(each, made.value, carry))
    before, after = states_of(updates, carry, initial, *flags, loop=loop)
    seen = before if structure.read_before else after
    if flags.valid is not None and not structure.read_before:
        # At a step that does not count, the state that it would have made: `after` is then the one
        # before, which may be one that cannot be read, as at the start.
        seen = jax.tree.map(partial(select, flags.valid), seen, apply(updates, before))
    values = structure.read(params, seen, inputs)
    end = jax.tree.map(lambda leaf: leaf[-1], after)
    if flags.valid is not None:
        # Where nothing counts, the carry itself, with its gradient.
        end = jax.tree.map(partial(select, flags.valid.any(0)), end, carry)
    return end, turn((values, after if record else None))
