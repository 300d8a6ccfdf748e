"""The plain path: a `lax.scan` over `step`, differentiated by JAX. The oracle for the rest."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import select
from seqjax.core.noise import restart, with_keys_of
from seqjax.core.run import Run, Steps, zero_masked
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.placement import place_like_result, place_rows


def sequential(
    cell: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
) -> Run:
    """Runs `cell.step` over time, one step after the other.

    Before step t the gradient is cut if `truncate` says so, then the state is reset if
    `resets` says so, then the cell steps. Masked steps see zeros, keep the carry, and put
    out zeros: all by selection, so a NaN in them reaches neither values nor gradients.
    """
    xs_leaf = jax.tree.leaves(xs)[0]
    step_ndim = jax.tree.leaves(cell.input_ndim)[0]
    batch_ndim = xs_leaf.ndim - 1 - step_ndim
    batch_shape, time = xs_leaf.shape[:batch_ndim], xs_leaf.shape[batch_ndim]
    valid, resets = steps.valid, steps.resets
    cuts = steps.cuts(time)

    def time_major(leaf: Array) -> Array:
        return jnp.moveaxis(leaf, leaf.ndim - 1 if leaf.ndim <= batch_ndim else batch_ndim, 0)

    def body(carry: Carry, now: Any):
        x, valid_now, reset_now, cut_now = now
        if cut_now is not None:
            carry = jax.tree.map(
                lambda leaf: select(
                    jnp.broadcast_to(cut_now, batch_shape), jax.lax.stop_gradient(leaf), leaf
                ),
                carry,
            )
        start = carry if reset_now is None else restart(reset_now, initial, carry)
        new, y = cell.step(params, start, x)
        if valid_now is not None:
            # Back to the carry before any reset: that of a masked step does not happen either.
            new = jax.tree.map(lambda a, b: select(valid_now, a, b), new, carry)
        return new, (y, new if steps.record else None)

    inputs = jax.tree.map(time_major, (zero_masked(xs, valid), valid, resets, cuts))
    initial = with_keys_of(initial, carry)
    carry, initial = place_rows((carry, initial), xs, batch_ndim)
    carry, initial = place_like_result(body, (carry, initial), inputs, params)
    carry, outputs = scan_in_chunks(
        body, carry, inputs, time=time, every=steps.checkpoint_every, reverse=steps.reverse
    )
    ys, carries = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 0, batch_ndim), outputs)
    return Run(carry, zero_masked(ys, valid), carries)


def scan_in_chunks(
    body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carry: Carry,
    xs: PyTree,
    *,
    time: int,
    every: int | None,
    reverse: bool,
) -> tuple[Carry, PyTree]:
    """`lax.scan` that stores the carry every `every` steps only, or at every step if None.

    The backward pass computes each chunk again from the carry at its start. When `every`
    does not divide `time`, the chunk processed last is shorter.
    """

    def chunk(carry: Carry, xs: PyTree):
        return jax.lax.scan(body, carry, xs, reverse=reverse)

    if every is None:
        return chunk(carry, xs)
    if every >= time:
        return jax.checkpoint(chunk)(carry, xs)
    chunks, rest = divmod(time, every)
    first = rest if reverse else 0
    whole = jax.tree.map(
        lambda leaf: leaf[first : first + chunks * every].reshape(chunks, every, *leaf.shape[1:]),
        xs,
    )
    # Inside a scan nothing can be merged across the checkpoint, so no barrier is needed.
    inner = jax.checkpoint(chunk, prevent_cse=False)
    carry, ys = jax.lax.scan(inner, carry, whole, reverse=reverse)
    ys = jax.tree.map(lambda leaf: leaf.reshape(chunks * every, *leaf.shape[2:]), ys)
    if not rest:
        return carry, ys
    tail = jax.tree.map(lambda leaf: leaf[:rest] if reverse else leaf[-rest:], xs)
    carry, tail_ys = jax.checkpoint(chunk)(carry, tail)
    parts = (tail_ys, ys) if reverse else (ys, tail_ys)
    return carry, jax.tree.map(lambda a, b: jnp.concatenate([a, b]), *parts)
