"""Cells that write into their matrix memory several times at each step."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, InitFn, factory, positive_int
from seqjax.core.matrix import matrix_state
from seqjax.core.matrix_step import Access
from seqjax.core.steps import Run, Steps
from seqjax.core.types import Array, Params


@factory
def several_writes(
    access: Callable[[Params, Array], Access],
    *,
    count: int,
    heads: int,
    keys: int,
    values: int,
    init: InitFn,
    read_out: Callable[[Params, Array, Array], Array],
    features: int,
) -> Cell:
    """A matrix-state cell that forgets once at each step, then writes and reads several times.

        S = D S
        for j = 1 .. count:
            S = the update of S by write j
            o_j = S' query_j
        y = read_out(params, o, x)

    Each write is a step of `sj.matrix_state`, so a scan goes through time `count` times as long, by
    any engine. What is masked, where the state starts anew and where a gradient is cut goes by the
    steps of this cell.

    Args:
      access: `(params, x) -> sj.Access`, for any number of leading dimensions of `x`: its leaves
        are `(*batch, count, heads, ...)`, `log_decay` alone `(*batch, heads, ...)`.
      count: writes of a step.
      heads, keys, values, init, features: as for `sj.matrix_state`.
      read_out: `(params, o, x) -> y` with `o` `(*batch, count, heads, values)`.

    Returns:
      A cell whose carry is `MatrixState(memory)`.
    """
    count = positive_int("several_writes", "count", count)
    sizes = {"heads": heads, "keys": keys, "values": values, "init": init}

    def in_turn(params: Params, x: Array) -> tuple[Access, Cell]:
        """All writes, `(*batch, count, heads, ...)`, and the cell that takes them one by one."""
        lead = x.ndim - 1
        made = access(params, x)
        if made.log_decay is not None:
            decay = jnp.expand_dims(made.log_decay, lead)
            later = jnp.zeros((*decay.shape[:lead], count - 1, *decay.shape[lead + 1 :]))
            decay = jnp.concatenate([decay, later.astype(decay.dtype)], axis=lead)
            made = made._replace(log_decay=decay)
        ranks = jax.tree.map(lambda leaf: leaf.ndim - lead - 1, made)
        return made, matrix_state(_as_given, input_ndim=ranks, **sizes)

    def step(params, carry, x):
        lead = x.ndim - 1
        writes, memory = in_turn(params, x)
        readings = []
        for number in range(count):
            one = jax.tree.map(lambda leaf: jnp.take(leaf, number, axis=lead), writes)  # noqa: B023
            carry, o = memory.step(params, carry, one)
            readings.append(o.reshape(*o.shape[:-1], heads, values))
        return carry, read_out(params, jnp.stack(readings, axis=lead), x)

    def sequence(scan, params, carry, initial, xs, steps):
        time, *batch, _ = xs.shape
        lead = 1 + len(batch)
        # In reverse the last of the writes of a step comes first in time.
        turn = lambda leaf: jnp.flip(leaf, 1) if steps.reverse else leaf  # noqa: E731
        writes, memory = in_turn(params, xs)
        apart = jax.tree.map(lambda leaf: turn(jnp.moveaxis(leaf, lead, 1)), writes)
        flat = jax.tree.map(lambda leaf: leaf.reshape(time * count, *leaf.shape[2:]), apart)
        run = scan(memory, params, carry, initial, flat, _spread(steps, count))
        o = turn(run.ys.reshape(time, count, *batch, heads, values))
        carries = jax.tree.map(
            lambda leaf: turn(leaf.reshape(time, count, *leaf.shape[1:]))[:, -1], run.carries
        )
        return Run(run.carry, read_out(params, jnp.moveaxis(o, 1, lead), xs), carries)

    return Cell(
        init=init,
        initial_carry=matrix_state(_as_given, **sizes).initial_carry,
        step=step,
        features=features,
        sequence=sequence,
    )


def _as_given(params: Params, access: Access) -> Access:
    return access


def _spread(steps: Steps, count: int) -> Steps:
    """The boundaries of steps of which each is `count` of another cell."""

    def repeated(flags: Any, *, once: bool) -> Any:
        if flags is None:
            return None
        place = jnp.arange(count).reshape(1, count, *(1,) * (flags.ndim - 1))
        first = place == (count - 1 if steps.reverse else 0)
        spread = flags[:, None] & (first | (not once))
        return spread.reshape(flags.shape[0] * count, *flags.shape[1:])

    return dataclasses.replace(
        steps,
        valid=repeated(steps.valid, once=False),
        resets=repeated(steps.resets, once=True),
        cuts=repeated(steps.cuts, once=True),
        cuts_apart=steps.cuts_apart * count,
    )
