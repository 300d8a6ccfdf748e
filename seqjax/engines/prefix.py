"""All states of a stretch of time at once: `lax.associative_scan` over linear updates."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.affine import LogScaled, Update, apply, combine, no_update
from seqjax.core.masks import select
from seqjax.core.types import Array, Carry
from seqjax.engines.loops import Loop


def states_of(
    updates: Update,
    start: Carry,
    initial: Carry,
    valid: Array | None,
    resets: Array | None,
    cuts: Array | None,
    *,
    loop: Loop | None = None,
) -> tuple[Carry, Carry]:
    """The states before and after each of some updates in a row.

    A masked step is the update that changes nothing. At a reset, the update becomes the state
    that it makes of the initial one, whatever was before; a cut is a reset to the state before
    it, held constant.

    Args:
      updates: leaves `(time, *batch, ...)`, in the order of processing.
      start: the state before the first, leaves `(*batch, ...)`.
      initial: the state after a reset.
      valid, resets, cuts: `(time, *batch)` bool, or None.
      loop: makes one state after the other; by default all come of an associative scan.

    Returns:
      `(before, after)`, leaves `(time, *batch, ...)`.
    """
    initial = jax.tree.map(lambda leaf: leaf[None], initial)
    if valid is not None:
        updates = jax.tree.map(partial(select, valid), updates, no_update(updates))
        resets = None if resets is None else resets & valid
        cuts = None if cuts is None else cuts & valid
    if resets is not None:
        updates = _forget(updates, resets, initial)
    if cuts is None:
        after = solve(loop, updates, start, resets)
        return _before(start, after, resets, initial), after
    held = jax.lax.stop_gradient(solve(loop, updates, start, resets))
    fixed = _before(jax.lax.stop_gradient(start), held, resets, initial)
    only = cuts if resets is None else cuts & ~resets
    fresh = only if resets is None else only | resets
    after = solve(loop, _forget(updates, only, fixed), start, fresh)
    before = _before(start, after, resets, initial)
    return jax.tree.map(partial(select, only), fixed, before), after


def _forget(updates: Update, flags: Array, states: Carry) -> Update:
    """At flagged steps the state that the update makes of `states`, in place of its value."""
    value = jax.tree.map(partial(select, flags), apply(updates, states), updates.value)
    return Update(updates.decay, value)


def _before(start: Carry, after: Carry, resets: Array | None, initial: Carry) -> Carry:
    before = jax.tree.map(
        lambda first, rest: jnp.concatenate([first[None], rest[:-1]]), start, after
    )
    if resets is None:
        return before
    return jax.tree.map(
        lambda anew, leaf: select(resets, jnp.broadcast_to(anew, leaf.shape), leaf),
        initial,
        before,
    )


def solve(loop: Loop | None, updates: Update, start: Carry, fresh: Array | None) -> Carry:
    """The states after each update; where `fresh` is set, the state is the update's value."""
    if isinstance(updates.value, LogScaled):
        return _prefix(updates, start, fresh)
    return _solve(loop, updates, start, fresh)


@partial(jax.custom_jvp, nondiff_argnums=(0,))
def _solve(loop: Loop | None, updates: Update, start: Carry, fresh: Array | None) -> Carry:
    if loop is None:
        return _prefix(updates, start, fresh)
    return _one_by_one(loop, updates, start, fresh, tangents=False)


@_solve.defjvp
def _solve_jvp(loop: Loop | None, primals: tuple, tangents: tuple) -> tuple:
    """The tangents follow the same recurrence, so their transpose is the adjoint one:

    d state = decay * d state + (d decay * state before + d value)
    """
    updates, start, fresh = primals
    d_updates, d_start, _ = tangents
    after = _solve(loop, updates, start, fresh)
    nothing = jax.tree.map(lambda leaf: jnp.zeros_like(leaf)[None], start)
    before = _before(start, after, fresh, nothing)
    change = apply(Update(d_updates.decay, d_updates.value), before)
    added = Update(updates.decay, change)
    if loop is None:
        return after, _prefix(added, d_start, fresh)
    return after, _one_by_one(loop, added, d_start, fresh, tangents=True)


def _one_by_one(
    loop: Loop, updates: Update, start: Carry, fresh: Array | None, *, tangents: bool
) -> Carry:
    """The states after each update, in arrays of rows, as kernels take them."""
    batch_ndim = 1 if fresh is None else fresh.ndim - 1

    def rows(tree: Carry, axis: int) -> Carry:
        def merge(leaf: Array) -> Array:
            units = min(axis + batch_ndim, leaf.ndim - 1)
            count = math.prod(leaf.shape[axis:units])
            return leaf.reshape(*leaf.shape[:axis], count, math.prod(leaf.shape[units:]))

        return jax.tree.map(merge, tree)

    first, values = rows(start, 0), rows(updates.value, 1)
    known = rows(updates.decay, 1), None if fresh is None else fresh.reshape(len(fresh), -1, 1)

    def after(state: Carry, known: tuple[Carry, Array | None], value: Carry) -> Carry:
        decay, fresh = known
        new = apply(Update(decay, value), state)
        return new if fresh is None else jax.tree.map(partial(select, fresh), value, new)

    def body(state: Carry, now: tuple) -> tuple[Carry, Carry]:
        new = after(state, *now)
        return new, new

    def push(d_leaves: list[Array], _: None, known: tuple, d_value: Carry) -> tuple:
        new = after(jax.tree.unflatten(jax.tree.structure(start), d_leaves), known, d_value)
        return jax.tree.leaves(new), new

    if tangents:
        _, states = loop.linear(push, jax.tree.leaves(first), None, known, values, reverse=False)
    else:
        _, states = loop.scan(body, first, (known, values), reverse=False)
    return jax.tree.map(lambda leaf, like: leaf.reshape(like.shape), states, updates.value)


def _prefix(updates: Update, start: Carry, fresh: Array | None) -> Carry:
    def join(first: Any, second: Any) -> Any:
        (forgets_first, one), (forgets, two) = first, second
        both = combine(one, two)
        if forgets is None:
            return None, both
        # What was before a reset counts for nothing: its decay could be inf, its value NaN.
        return forgets_first | forgets, jax.tree.map(partial(select, forgets), two, both)

    if jax.tree.leaves(updates)[0].shape[0] == 0:
        return updates.value
    forgotten, all_updates = jax.lax.associative_scan(join, (fresh, updates))
    if forgotten is None:
        return apply(all_updates, jax.tree.map(lambda leaf: leaf[None], start))
    kept = lambda leaf: select(forgotten, jnp.zeros_like(leaf), leaf)  # noqa: E731
    held = jax.tree.map(
        lambda leaf: kept(jnp.broadcast_to(leaf, (len(forgotten), *leaf.shape))), start
    )
    return jax.tree.map(partial(select, forgotten), all_updates.value, apply(all_updates, held))
