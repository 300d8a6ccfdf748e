"""Which engine runs which part of a cell."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.recurrence import Recurrence
from seqjax.core.run import Run, Steps, batch_shape_of, time_major
from seqjax.core.types import Carry, Inputs, Params
from seqjax.engines.bptt import bptt
from seqjax.engines.sequential import sequential
from seqjax.engines.tiles import over_tiles


def run_cell(
    method: str,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """Runs a cell over a sequence, each part of it by the engine that `method` asks for.

    Raises:
      ValueError: if a part cannot be run that way.
    """
    again = partial(run_cell, method)
    if not cell.causal:
        # Its parts run in directions of their own: what counts steps is left to them.
        return cell.sequence(again, params, carry, initial, xs, steps)
    batch_ndim = len(batch_shape_of(cell, xs))
    time = jax.tree.leaves(xs)[0].shape[batch_ndim]
    steps = steps.counted(time)
    if steps.checkpoint_every is not None:
        return _checkpointed(again, cell, params, carry, initial, xs, steps, batch_ndim)
    if method == "plain" or time == 0:
        return sequential(cell, params, carry, initial, xs, steps)
    if isinstance(cell.structure, Recurrence):
        return bptt(method, cell, params, carry, initial, xs, steps)
    if cell.sequence is not None:
        return cell.sequence(again, params, carry, initial, xs, steps)
    if method == "auto":
        return sequential(cell, params, carry, initial, xs, steps)
    raise ValueError(
        f"scan: method={method!r} needs cells that show which products they make, as those from "
        f"sj.gated do; {cell} does not. Use method='auto', which goes the plain way for it."
    )


def _checkpointed(again, cell, params, carry, initial, xs, steps, batch_ndim) -> Run:
    """Chunks of `checkpoint_every` steps: the backward pass runs each of them a second time.

    All layers of a chunk are run before the next chunk, so between the chunks nothing is
    stored but the carries of the cell.
    """
    flags = (steps.valid, steps.resets, steps.cuts)

    def chunk(carry, here):
        (xs, valid, resets, cuts), _ = here
        xs, valid, resets = jax.tree.map(
            lambda leaf: jnp.moveaxis(leaf, 0, batch_ndim), (xs, valid, resets)
        )
        cuts = None if cuts is None else jnp.moveaxis(cuts, 0, cuts.ndim - 1)
        here = dataclasses.replace(
            steps, valid=valid, resets=resets, cuts=cuts, checkpoint_every=None
        )
        run = again(cell, params, carry, initial, xs, here)
        return run.carry, time_major((run.ys, run.carries), batch_ndim)

    size = steps.checkpoint_every
    time = jax.tree.leaves(xs)[0].shape[batch_ndim]
    carry, outputs = over_tiles(
        # Inside a loop nothing can be merged across the checkpoint, so no barrier is needed.
        jax.checkpoint(chunk, prevent_cse=size >= time),
        carry,
        time_major((xs, *flags), batch_ndim),
        size=size,
        reverse=steps.reverse,
    )
    ys, carries = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, batch_ndim), outputs)
    return Run(carry, ys, carries)
