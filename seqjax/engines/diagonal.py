"""Cells that are linear in their state, over time in chunks or all at once.

Time goes in chunks. The products with weights see all steps of a chunk at once; the recurrence
itself runs inside the chunk, by one of two means:

* step by step, where the coefficients are made inside the loop and what is read of a state
  leaves it, so that no state of more than one step exists;
* by an associative scan, where the coefficients of all steps of the chunk exist at once.

The backward pass runs each chunk a second time: inputs and the states between chunks are
stored, nothing else. What fits in one chunk is kept as it is. JAX differentiates it, so
forward-mode and higher derivatives come along.
"""

from functools import partial

import jax
import jax.numpy as jnp

from seqjax.core.affine import Update, apply
from seqjax.core.cell import Cell
from seqjax.core.linear import Diagonal
from seqjax.core.masks import select
from seqjax.core.run import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.trees import tree_bytes, widen
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.prefix import states_of
from seqjax.engines.tangents import Flags
from seqjax.engines.tiles import divisor, over_tiles

CHUNK_BYTES = 2**20
"""Inputs and states of a chunk, step by step: a working set that stays in the cache of a core."""

STORED_BYTES = 2**23
"""Inputs and states of a sequence that is one chunk, step by step: nothing is computed again."""

CHUNK_STEPS = 16
"""Steps of a chunk, at least: fewer make slow products."""

PARALLEL_BYTES = 2**28
"""Coefficients of a chunk when all of its steps run at once."""


def diagonal(
    method: str,
    structure: Diagonal,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell that is linear in its state.

    Args:
      method: `"associative"`, all steps at once; or `"chunked"`, which is what `"auto"` is too.
        Inside a chunk, a CPU goes step by step, and all steps run at once elsewhere.
      structure: the parts of the cell.
      cell, params, carry, initial, xs, steps: as for every engine.
    """
    batch_ndim = len(batch_shape_of(cell, xs))
    inputs, flags = time_major((zero_masked(xs, steps.valid), Flags(*steps.flags)), batch_ndim)
    time = jax.tree.leaves(inputs)[0].shape[0]
    step_bytes = max(1, tree_bytes((xs, jax.eval_shape(structure.project, params, inputs))) // time)
    step_bytes += tree_bytes(carry)
    on_cpu = steps_are_cheap()
    size = time if method == "associative" else chunk_size(time, step_bytes, on_cpu)
    run = partial(_by_steps if on_cpu and method != "associative" else _at_once, structure)
    # Gradients of weights add up over many chunks: in float32 at least.
    wide = jax.tree.map(widen, params)

    def chunk(carry, here):
        x, flags = here
        narrow = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), wide, params)
        projected = structure.project(narrow, x)
        carry, (values, carries) = run(
            narrow, initial, carry, projected, flags, steps.reverse, steps.record
        )
        return carry, (structure.output(narrow, values, x), carries)

    carry, outputs = over_tiles(
        # Inside a loop nothing can be merged across the checkpoint, so no barrier is needed.
        chunk if size >= time else jax.checkpoint(chunk, prevent_cse=False),
        carry,
        (inputs, flags),
        size=size,
        reverse=steps.reverse,
    )
    ys, carries = batch_major(outputs, batch_ndim)
    return Run(carry, zero_masked(ys, steps.valid), carries)


def steps_are_cheap() -> bool:
    """Whether a chunk goes step by step. On a CPU a step costs little beyond its arithmetic, of
    which an associative scan makes twice as much; measured in `seqjax/bench/README.md`."""
    return jax.default_backend() == "cpu"


def chunk_size(time: int, step_bytes: int, on_cpu: bool) -> int:
    """Steps of a chunk.

    Args:
      time: steps of the sequence.
      step_bytes: inputs and states of one step.
      on_cpu: whether a chunk should fit into a cache, or fill a device.
    """
    if on_cpu and time * step_bytes <= STORED_BYTES:
        return time
    fit = (CHUNK_BYTES if on_cpu else PARALLEL_BYTES) // step_bytes
    return divisor(time, max(CHUNK_STEPS, fit))


def _by_steps(
    structure: Diagonal,
    params: Params,
    initial: Carry,
    carry: Carry,
    inputs: PyTree,
    flags: Flags,
    reverse: bool,
    record: bool,
) -> tuple[Carry, tuple[PyTree, Carry | None]]:
    """One step after the other: the state after the last, and what is read at each."""

    # The coefficients are computed a second time where they are used: cheaper than storing them.
    @partial(jax.checkpoint, prevent_cse=False)
    def body(carry, now):
        inputs, flags = now
        if flags.cuts is not None:
            carry = jax.tree.map(
                lambda leaf: select(flags.cuts, jax.lax.stop_gradient(leaf), leaf), carry
            )
        start = carry
        if flags.resets is not None:
            start = jax.tree.map(partial(select, flags.resets), initial, carry)
        new, values = structure.advance(params, start, inputs)
        if flags.valid is not None:
            new = jax.tree.map(partial(select, flags.valid), new, carry)
        return new, (values, new if record else None)

    return jax.lax.scan(body, carry, (inputs, flags), reverse=reverse)


def _at_once(
    structure: Diagonal,
    params: Params,
    initial: Carry,
    carry: Carry,
    inputs: PyTree,
    flags: Flags,
    reverse: bool,
    record: bool,
) -> tuple[Carry, tuple[PyTree, Carry | None]]:
    """The same by an associative scan."""

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
    before, after = states_of(updates, carry, initial, *flags)
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
