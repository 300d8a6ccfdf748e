"""Time arranged anew so that every cut of the gradient lies at the start of a chunk."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqjax.core.masks import expand
from seqjax.core.steps import Run, Steps, zero_masked
from seqjax.core.types import Array, Carry, Inputs, PyTree


def in_windows(
    run: Callable[..., Run],
    chunk: int,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
    batch_shape: tuple[int, ...],
) -> Run:
    """Runs the steps between two cuts as windows that are all of one length.

    The steps that count move together, each window is filled up with masked steps to a
    multiple of the chunk, and the outputs go back to where their steps were.

    Args:
      run: `(carry, initial, xs, steps, batch_shape, window) -> Run`.
      chunk: steps of a chunk.
      carry, initial, xs, steps: as for every engine, with `steps.cuts`.
      batch_shape: of the inputs.
    """
    cuts = steps.cuts
    assert cuts is not None
    axis, time = cuts.ndim - 1, cuts.shape[-1]
    valid = jnp.ones_like(cuts) if steps.valid is None else steps.valid
    window = -(-steps.cuts_apart // chunk) * chunk
    # The first one may have begun before the first step, so that there is one more.
    windows = -(-time // steps.cuts_apart) + 1

    upto = lambda flags: jax.lax.cumsum(  # noqa: E731
        flags.astype(jnp.int32), axis=axis, reverse=steps.reverse
    )
    count = upto(valid) - 1
    number = upto(cuts & valid)
    at_cut = jnp.where(cuts & valid, count, 0)
    begun = jax.lax.cummax(at_cut, axis=axis, reverse=steps.reverse)
    slots = jnp.where(valid, number * window + count - begun, windows * window)

    flat = slots.reshape(-1, time)
    own = jax.vmap(
        lambda row: jnp.full(windows * window, time).at[row].set(jnp.arange(time), mode="drop")
    )
    source = own(flat).reshape(*batch_shape, windows * window)
    take = lambda tree: jax.tree.map(lambda leaf: _take(leaf, source), tree)  # noqa: E731
    filled = source < time
    moved = Steps(
        valid=filled,
        resets=take(steps.resets),
        cuts=take(cuts) & filled,
        devices=steps.devices,
    )
    result = run(carry, initial, take(zero_masked(xs, steps.valid)), moved, batch_shape, window)
    ys: PyTree = jax.tree.map(lambda leaf: _take(leaf, slots), result.ys)
    return Run(result.carry, zero_masked(ys, steps.valid), None)


def _take(leaf: Array, index: Array) -> Array:
    """`leaf[..., index, ...]` row by row, `index` `(*batch, steps)`; too large ones are cut."""
    axis = index.ndim - 1
    index = jnp.minimum(index, leaf.shape[axis] - 1)
    return jnp.take_along_axis(leaf, expand(index, leaf.ndim), axis=axis)
