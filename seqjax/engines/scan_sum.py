"""Sums over time that never hold all of time."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.dispatch import in_chunks
from seqjax.engines.methods import Method, as_method
from seqjax.engines.scan import checked, run_checked


def scan_sum(
    terms: Callable[..., PyTree],
    cell: Cell,
    params: Params,
    xs: Inputs,
    others: PyTree = (),
    carry: Carry | None = None,
    *,
    checkpoint_every: int = 1024,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    truncate: int | None = None,
    method: Method | str = "auto",
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
      cell, params, xs, carry, lengths, mask, resets, reverse, truncate, method: as for
        `sj.scan`. The cell needs a `step`.
      others: a tuple of pytrees with leaves `(*batch, time, ...)`, such as targets and
        weights, handed to `terms` chunk by chunk.
      checkpoint_every: steps of a chunk. Carries are stored once for each, and all else is
        computed again in the backward pass.

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
    xs, carry, steps, batch_shape, time = checked(
        cell,
        params,
        xs,
        carry,
        lengths=lengths,
        mask=mask,
        resets=resets,
        reverse=reverse,
        truncate=truncate,
        checkpoint_every=checkpoint_every,
        record=False,
    )
    others = jax.tree.map(jnp.asarray, tuple(others))
    for leaf in jax.tree.leaves(others):
        if leaf.shape[: len(batch_shape) + 1] != (*batch_shape, time):
            raise ValueError(
                "scan_sum: every array in `others` must begin with (*batch, time) = "
                f"{(*batch_shape, time)} like xs; got shape {leaf.shape}."
            )
    steps, how = steps.counted(batch_shape, time), as_method(method)

    def outputs(carry, here):
        xs, others, flags = here
        run = run_checked(cell, how, params, carry, xs, steps.part(flags), batch_shape)
        return run.carry, terms(run.ys, *others)

    def chunk(state, here):
        carry, total = state
        carry, more = outputs(carry, here)
        return (carry, jax.tree.map(jnp.add, total, more)), None

    arrays = (xs, others, steps.flags)
    start = cell.initial_carry(params, batch_shape) if carry is None else carry
    total = jax.tree.map(jnp.zeros_like, jax.eval_shape(outputs, start, arrays)[1])
    state, _ = in_chunks(
        chunk,
        (start, total),
        arrays,
        batch_ndim=len(batch_shape),
        size=checkpoint_every,
        reverse=steps.reverse,
    )
    return state
