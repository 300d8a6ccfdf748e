"""Time in tiles: a loop over equal stretches of steps, and what is left over."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.types import Array, Carry, PyTree


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


def first_steps(time: int, *, size: int, reverse: bool) -> np.ndarray:
    """The first step, in the order of time, of each stretch of `over_tiles`."""
    whole = range(time % size if reverse else 0, time - size + 1, size)
    rest = [0 if reverse else time - time % size] if time % size else []
    return np.array(sorted({*whole, *rest}), np.int32)


def before(carry: Carry, carries: Carry, first: Array, steps: int, *, reverse: bool) -> Carry:
    """The carry before each of some steps in a row, out of those after all steps.

    Args:
      carry: before the step that is processed first of all.
      carries: after each step, leaves `(time, ...)`.
      first: the first of the steps, in the order of time.
      steps: how many.
      reverse: whether the last step of all comes first.

    Returns:
      Leaves `(steps, ...)`.
    """

    def shift(start, after):
        time = after.shape[0]
        edge = first + steps if reverse else first - 1
        found = jax.lax.dynamic_index_in_dim(after, jnp.clip(edge, 0, time - 1), 0)
        entry = jnp.where((edge < 0) | (edge >= time), start[None], found)
        others = jax.lax.dynamic_slice_in_dim(after, first + int(reverse), steps - 1)
        return jnp.concatenate([others, entry] if reverse else [entry, others])

    return jax.tree.map(shift, carry, carries)
