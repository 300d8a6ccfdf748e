"""Sums over time that never hold all of time."""

from collections.abc import Callable
from typing import Unpack

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.noise import with_keys_of
from seqjax.core.programs import closed_as_arguments, closed_over
from seqjax.core.steps import batch_major, time_major
from seqjax.core.trees import narrowed, widened
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.request import SumOptions, checked
from seqjax.engines.scan import opened, run_opened
from seqjax.engines.stretches import expect_numbers, in_stretches


def scan_sum(
    terms: Callable[..., PyTree],
    cell: Cell,
    params: Params,
    xs: Inputs,
    others: PyTree = (),
    carry: Carry | None = None,
    *,
    checkpoint_every: int = 1024,
    **options: Unpack[SumOptions],
) -> tuple[Carry, PyTree]:
    """A loss over a sequence whose outputs need not be stored.

        carry, ys = sj.scan(cell, params, xs, carry)
        total = terms(ys, *others)

    in chunks of time: for `terms` that is a sum over steps this gives the same numbers, and
    neither `ys` nor what `terms` makes of it (logits, say) ever exists for more than one chunk,
    in the backward pass either.

    Args:
      terms: `(ys, *others) -> sums`, for any number of steps: `ys` `(*batch, steps, features)`,
        zeros at masked steps; the result is a pytree of numbers or arrays that do not depend
        on the number of steps. It may close over parameters: they get their gradient.
      cell, params, xs, carry: as for `sj.scan`. The cell needs a `step`.
      others: a tuple of pytrees with leaves `(*batch, time, ...)`, such as targets and
        weights, handed to `terms` chunk by chunk.
      checkpoint_every: steps of a chunk. Carries are stored once for each, and all else is
        computed again in the backward pass.
      **options: of `sj.scan`: `lengths`, `mask`, `resets`, `reverse`, `truncate`, `method`.

    Returns:
      `(carry, total)`: the carry after the last step, and the sums over all steps.

    Raises:
      TypeError, ValueError: as `sj.scan`; if the cell needs the whole sequence; if a leaf of
        `others` is not `(*batch, time, ...)`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs, targets = jnp.ones((2, 100, 3)), jnp.zeros((2, 100, 4))
      >>> def squared_error(ys, targets):
      ...     return jnp.square(ys - targets).sum()
      >>> def loss(params):
      ...     carry, total = sj.scan_sum(
      ...         squared_error, cell, params, xs, (targets,), checkpoint_every=10
      ...     )
      ...     return total / targets.size
      >>> gradient = jax.grad(loss)(params)
    """
    if not cell.causal:
        raise ValueError(
            f"scan_sum: {cell} needs the whole sequence at once, so it cannot go chunk by chunk. "
            "Use sj.scan and sum up its outputs, or a forward cell."
        )
    request = checked(cell, params, xs, carry, checkpoint_every=checkpoint_every, **options)
    others = jax.tree.map(jnp.asarray, tuple(others))
    lead = (*request.batch_shape, request.time)
    for leaf in jax.tree.leaves(others):
        if leaf.shape[: len(lead)] != lead:
            raise ValueError(
                "scan_sum: every array in `others` must begin with (*batch, time) = "
                f"{lead} like xs; got shape {leaf.shape}."
            )
    batch_ndim = len(request.batch_shape)
    params, start, initial, xs, steps = opened(request)
    expect_numbers("checkpoint_every", xs)
    params = jax.tree.map(jnp.asarray, params)
    steps = steps.counted(request.time, request.batch_shape)

    def run(params, carry, initial, here):
        xs, others, flags = here
        run = run_opened(request.method, cell, params, carry, initial, xs, steps.part(flags))
        return run.carry, batch_major((run.ys, *others), batch_ndim)

    arrays = (xs, time_major(others, batch_ndim), steps.flags)
    _, known = jax.eval_shape(run, params, start, initial, arrays)
    closed, sums = closed_over(terms, *known), jax.eval_shape(terms, *known)
    # Sums, and the gradients of all that a chunk uses, add up over chunks: in float32 at least.
    shared = params, with_keys_of(initial, start), closed
    wide = widened(shared)

    def chunk(state, here):
        carry, total = state
        params, initial, numbers = narrowed(wide, shared)
        carry, known = run(params, carry, initial, here)
        more = closed_as_arguments(terms, closed)(numbers, *known)
        return (carry, jax.tree.map(jnp.add, total, widened(more))), None

    total = widened(jax.tree.map(jnp.zeros_like, sums))
    size = request.checkpoint_every or 1
    state, _ = in_stretches(chunk, (start, total), arrays, size=size, reverse=steps.reverse)
    carry, total = state
    return carry, narrowed(total, sums)
