"""Time in stretches, all layers of one before the next: checkpoints, and snapshots of the carry."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.steps import Run, Steps, batch_shape_of, is_symbolic, time_of
from seqjax.core.trees import narrowed, widened
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.placement import place_like_result, place_rows
from seqjax.engines.tiles import over_tiles


def in_checkpoints(
    run: Callable[..., Run],
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """A run that stores the carry every `steps.checkpoint_every` steps only."""
    size = steps.checkpoint_every
    assert size is not None
    expect_numbers("checkpoint_every", xs)
    stretch, carry, here = _prepared(size, run, cell, params, carry, initial, xs, steps)
    carry, made = in_stretches(stretch, carry, here, size=size, reverse=steps.reverse)
    return Run(carry, *made)


def with_snapshots(
    run: Callable[..., Run],
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """A run that also returns the carries of `steps.snapshots`."""
    when = steps.snapshots
    expect_numbers("every", xs)
    if isinstance(when, tuple):
        return _in_pieces(when, run, cell, params, carry, initial, xs, steps)
    assert when is not None
    time = time_of(xs)
    stretch, carry, here = _prepared(when, run, cell, params, carry, initial, xs, steps)

    def keep(carry, here):
        carry, (ys, _) = stretch(carry, here)
        return carry, (ys, jax.tree.map(lambda leaf: leaf[None], carry))

    carry, (ys, carries) = over_tiles(keep, carry, here, size=when, reverse=steps.reverse)
    # In the order of processing, without that of a last stretch that is not full.
    order = lambda leaf: (leaf[::-1] if steps.reverse else leaf)[: time // when]  # noqa: E731
    return Run(carry, ys, jax.tree.map(order, carries))


def _in_pieces(
    counts: tuple[int, ...],
    run: Callable[..., Run],
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Piece after piece, each between two of the numbers of steps."""
    time, start = time_of(xs), 0
    ys, carries = [], []
    for end in (*counts, time):
        if start < end or not time:
            here = slice(time - end, time - start) if steps.reverse else slice(start, end)
            piece, flags = jax.tree.map(lambda leaf, here=here: leaf[here], (xs, steps.flags))
            part = run(cell, params, carry, initial, piece, _piece(steps, flags))
            carry, start = part.carry, end
            ys.append(part.ys)
        carries.append(carry)
    whole = jax.tree.map(lambda *parts: jnp.concatenate(parts), *ys[:: -1 if steps.reverse else 1])
    return Run(carry, whole, jax.tree.map(lambda *leaves: jnp.stack(leaves), *carries[:-1]))


def _piece(steps: Steps, flags: tuple) -> Steps:
    """The same run for some of the steps, without snapshots."""
    valid, resets, cuts = flags
    return dataclasses.replace(steps, valid=valid, resets=resets, cuts=cuts, snapshots=None)


def _prepared(
    size: int,
    run: Callable[..., Run],
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> tuple[Callable[[Carry, Any], tuple[Carry, PyTree]], Carry, PyTree]:
    """The run of one stretch, the carry to start from, and what all stretches see, by step."""
    # Gradients add up over stretches: in float32 at least.
    whole = params, with_keys_of(initial, carry)
    wide, initial = widened(whole)
    kept = steps.checkpoint_every if steps.snapshots else None

    def stretch(carry, here):
        xs, flags = here
        start = narrowed(initial, carry)
        part_steps = dataclasses.replace(_piece(steps, flags), checkpoint_every=kept)
        part = run(cell, narrowed(wide, params), carry, start, xs, part_steps)
        return part.carry, (part.ys, part.carries)

    here = (xs, steps.flags)
    # The carries to start from and to go back to lie where a stretch leaves its own.
    placed = place_rows((carry, initial), xs, len(batch_shape_of(cell, xs)))
    first = jax.tree.map(lambda leaf: leaf[None, :size], here)
    carry, initial = place_like_result(stretch, placed, first, wide)
    return stretch, carry, here


def expect_numbers(option: str, xs: Inputs) -> None:
    """Raises if the number of steps is a symbol."""
    if is_symbolic(time_of(xs)):
        raise ValueError(
            f"scan: `{option}` divides the steps, so their number must be known; got "
            f"{time_of(xs)}. Leave it out in a program for export, which stores no carries."
        )


def in_stretches(
    function: Callable[[PyTree, PyTree], tuple[PyTree, PyTree]],
    carry: PyTree,
    xs: PyTree,
    *,
    size: int,
    reverse: bool,
) -> tuple[PyTree, PyTree]:
    """Time in stretches that the backward pass runs a second time.

    Between the stretches nothing is stored but `carry` and what `function` returns for each step.

    Args:
      function: `(carry, xs of some steps) -> (carry, ys of these steps)`.
      carry: before the first stretch in the order of processing.
      xs: leaves `(time, ...)`.
      size: steps of a stretch.
      reverse: begin with the last steps.
    """
    # Inside a loop nothing can be merged across the checkpoint, so no barrier is needed.
    again = jax.checkpoint(function, prevent_cse=size >= time_of(xs))
    return over_tiles(again, carry, xs, size=size, reverse=reverse)
