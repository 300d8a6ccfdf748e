"""Time arranged anew so that every cut of the gradient lies at the start of a chunk."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seqjax.core.masks import expand
from seqjax.core.steps import Run, Steps, zero_masked
from seqjax.core.types import Array, Carry, Inputs, PyTree


def in_windows(
    run: Callable[..., Run], chunk: int, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
) -> Run:
    """Runs the steps between two cuts as windows that are all of one length.

    The steps that count move together, each window is filled up with masked steps to a
    multiple of the chunk, and the outputs go back to where their steps were.

    Args:
      run: `(carry, initial, xs, steps, window) -> Run`.
      chunk: steps of a chunk.
      carry, initial, xs, steps: as for every engine, with `steps.cuts`.
    """
    cuts = steps.cuts
    assert cuts is not None
    time, *batch_shape = cuts.shape
    valid = jnp.ones_like(cuts) if steps.valid is None else steps.valid
    window = -(-steps.cuts_apart // chunk) * chunk
    # The first one may have begun before the first step, so that there is one more.
    windows = -(-time // steps.cuts_apart) + 1

    upto = lambda flags: jax.lax.cumsum(flags.astype(jnp.int32), reverse=steps.reverse)  # noqa: E731
    count = upto(valid) - 1
    number = upto(cuts & valid)
    at_cut = jnp.where(cuts & valid, count, 0)
    begun = jax.lax.cummax(at_cut, reverse=steps.reverse)
    slots = jnp.where(valid, number * window + count - begun, windows * window)

    own = jax.vmap(
        lambda row: jnp.full(windows * window, time).at[row].set(jnp.arange(time), mode="drop"),
        in_axes=1,
        out_axes=1,
    )
    source = own(slots.reshape(time, -1)).reshape(windows * window, *batch_shape)
    take = lambda tree: jax.tree.map(lambda leaf: _take(leaf, source), tree)  # noqa: E731
    filled = source < time
    moved = Steps(
        valid=filled,
        resets=take(steps.resets),
        cuts=take(cuts) & filled,
        devices=steps.devices,
    )
    result = run(carry, initial, zero_masked(take(xs), filled), moved, window)
    ys: PyTree = jax.tree.map(lambda leaf: _take(leaf, slots), result.ys)
    return Run(result.carry, ys, None)


def _take(leaf: Array, index: Array) -> Array:
    """`leaf[index]` for each sequence by itself, `index` `(steps, *batch)`; too large ones are
    the last."""
    index = jnp.minimum(index, leaf.shape[0] - 1)
    return jnp.take_along_axis(leaf, expand(index, leaf.ndim), axis=0)
