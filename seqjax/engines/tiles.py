"""Time in tiles: a loop over equal stretches of steps, and what is left over."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Carry, PyTree


def over_tiles(
    function: Callable[[Carry, Any], tuple[Carry, PyTree]],
    carry: Carry,
    xs: PyTree,
    *,
    size: int,
    reverse: bool,
    each: PyTree = None,
) -> tuple[Carry, PyTree]:
    """`lax.scan` in stretches of `size` steps instead of single ones.

    Args:
      function: `(carry, (xs of some steps, each)) -> (carry, ys of these steps)`.
      carry: for the first stretch in the order of processing.
      xs: leaves `(time, ...)`.
      size: steps of a stretch; when it does not divide the time, the stretch processed last
        is shorter.
      reverse: begin with the last steps.
      each: leaves `(stretches, ...)`, one entry for each stretch in the order of time.
    """
    time = jax.tree.leaves(xs)[0].shape[0]
    if size >= time:
        return function(carry, (xs, jax.tree.map(lambda leaf: leaf[0], each)))
    tiles, rest = divmod(time, size)
    first = rest if reverse else 0
    skipped = 1 if rest and reverse else 0
    whole = jax.tree.map(
        lambda leaf: leaf[first : first + tiles * size].reshape(tiles, size, *leaf.shape[1:]), xs
    )
    whole_each = jax.tree.map(lambda leaf: leaf[skipped : skipped + tiles], each)
    carry, ys = jax.lax.scan(function, carry, (whole, whole_each), reverse=reverse)
    ys = jax.tree.map(lambda leaf: leaf.reshape(tiles * size, *leaf.shape[2:]), ys)
    if not rest:
        return carry, ys
    tail = jax.tree.map(lambda leaf: leaf[:rest] if reverse else leaf[-rest:], xs)
    tail_each = jax.tree.map(lambda leaf: leaf[0 if reverse else -1], each)
    carry, tail_ys = function(carry, (tail, tail_each))
    parts = (tail_ys, ys) if reverse else (ys, tail_ys)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)


def entries(carry: Carry, carries: Carry, *, size: int, reverse: bool) -> Carry:
    """The carry before each stretch of `over_tiles`, in the order of time.

    Args:
      carry: before the first step in the order of processing.
      carries: after each step, leaves `(time, ...)`.
      size, reverse: as for `over_tiles`.
    """

    def gather(start, after):
        time = after.shape[0]
        if reverse:
            return jnp.concatenate([after[time % size or size :: size], start[None]])
        return jnp.concatenate([start[None], after[size - 1 : time - 1 : size]])

    return jax.tree.map(gather, carry, carries)


def before(entry: Carry, carries: Carry, *, reverse: bool) -> Carry:
    """The carry before each step of a stretch, from the one before the stretch.

    Args:
      entry: leaves `(...)`.
      carries: after each step, leaves `(steps, ...)`.
      reverse: whether the last step comes first.
    """

    def shift(first, after):
        if reverse:
            return jnp.concatenate([after[1:], first[None]])
        return jnp.concatenate([first[None], after[:-1]])

    return jax.tree.map(shift, entry, carries)
