"""Time in tiles: a loop over equal stretches of steps, and what is left over."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqjax.core.types import Array, Carry, PyTree


def over_tiles(
    function: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carry: Carry,
    xs: PyTree,
    *,
    size: int,
    reverse: bool,
) -> tuple[Carry, PyTree]:
    """`lax.scan` in stretches of `size` steps instead of single ones.

    Args:
      function: `(carry, xs of some steps) -> (carry, ys of these steps)`; instead of one entry a
        step, a leaf may have one entry a stretch.
      carry: for the first stretch in the order of processing.
      xs: leaves `(time, ...)`.
      size: steps of a stretch; when it does not divide the time, the stretch processed last
        is shorter.
      reverse: begin with the last steps.
    """
    time = jax.tree.leaves(xs)[0].shape[0]
    if size >= time:
        return function(carry, xs)
    tiles, rest = divmod(time, size)
    first = rest if reverse else 0
    whole = jax.tree.map(
        lambda leaf: leaf[first : first + tiles * size].reshape(tiles, size, *leaf.shape[1:]), xs
    )
    carry, ys = jax.lax.scan(function, carry, whole, reverse=reverse)
    ys = jax.tree.map(lambda leaf: leaf.reshape(tiles * leaf.shape[1], *leaf.shape[2:]), ys)
    if not rest:
        return carry, ys
    tail = jax.tree.map(lambda leaf: leaf[:rest] if reverse else leaf[-rest:], xs)
    carry, tail_ys = function(carry, tail)
    parts = (tail_ys, ys) if reverse else (ys, tail_ys)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)


def divisor(time: int, most: int) -> int:
    """A number of steps up to `most`, if possible one that divides the time."""
    most = min(time, most)
    divisors = [size for size in range((most + 1) // 2, most + 1) if time % size == 0]
    return max(divisors, default=most)


def before(carry: Carry, carries: Carry, steps: Array, *, reverse: bool) -> Carry:
    """The carry before each of some steps in a row, out of those after all steps.

    Args:
      carry: before the step that is processed first of all.
      carries: after each step, leaves `(time, ...)`.
      steps: their numbers, in the order of time.
      reverse: whether the last step of all comes first.

    Returns:
      Leaves `(steps, ...)`.
    """

    def shift(start, after):
        time = after.shape[0]
        edge = steps[-1] + 1 if reverse else steps[0] - 1
        found = jax.lax.dynamic_index_in_dim(after, jnp.clip(edge, 0, time - 1), 0)
        entry = jnp.where((edge < 0) | (edge >= time), start[None], found)
        others = jax.lax.dynamic_slice_in_dim(after, steps[0] + int(reverse), len(steps) - 1)
        return jnp.concatenate([others, entry] if reverse else [entry, others])

    return jax.tree.map(shift, carry, carries)
