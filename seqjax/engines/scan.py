"""One scan for every cell: the public functions, what they check, and who runs them."""

from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.masks import length_mask
from seqjax.core.noise import Randomness, with_dtypes_of
from seqjax.core.stack import expect_cell
from seqjax.core.steps import Run, Steps
from seqjax.core.trees import is_float
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.dispatch import run_cell
from seqjax.engines.methods import Auto, Method, Plain, as_method
from seqjax.engines.placement import apart, split_by_rows


def scan(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint_every: int | None = None,
    method: Method | str = "auto",
) -> tuple[Carry, PyTree]:
    """Runs a cell over a sequence.

        carry, ys[t] = cell.step(params, carry, xs[t])      t = 0, 1, ...

    Args:
      cell: any cell.
      params: from `cell.init(key, in_features)`.
      xs: `(*batch, time, in_features)`, with any number of batch dims; for cells that take
        something else than vectors `(*batch, time, *step_shape)`, or a pytree of such.
      carry: where to start, from `cell.initial_carry(params, batch)` or an earlier scan;
        by default the initial carry.
      lengths: `(*batch,)` ints: steps at and after the length are padding. A length of 0 is
        legal, and then the final carry is the one started from.
      mask: `(*batch, time)` bool, any pattern. A masked step is as if it were not there,
        its reset included: it holds the carry bit for bit and puts out zeros, and NaN or
        inf in its input reaches neither values nor gradients. With `lengths` as well, both
        must hold. The cell computes such a step on zeros, and what it computes is dropped; so
        derivatives must be finite there, which that of a norm, for one, is not without an epsilon.
      resets: `(*batch, time)` bool: before such a step the carry becomes the initial carry,
        by selection, and no gradient crosses. `sj.segment_starts` makes it for rows that
        hold several sequences.
      reverse: run from the last valid step to the first. `ys[t]` still belongs to `xs[t]`,
        the final carry is the one after step 0, and "before" and "every" count in the
        order of processing.
      truncate: cut the gradient of the carry before steps k, 2k, ... (truncated BPTT inside
        one scan); values do not change. Masked steps are not counted.
      checkpoint_every: store the carry every k steps only and compute the rest again in the
        backward pass: exact gradients, less memory.
      method: how to run; all ways give the same numbers. A name, or a value that has sizes:
        `sj.Plain()`, `"plain"`, is a `lax.scan` over `step` that JAX differentiates.
        `sj.Recompute` and `sj.Store`, `"recompute"` and `"store"`, are for gated cells, alone or
        inside other cells, and have a backward pass of their own: it keeps the carries and
        computes the gates again, or keeps the gates as well (`sj.memory_report` tells what that
        takes). `sj.Associative` and `sj.Chunked`, `"associative"` and `"chunked"`, are for cells
        that are linear in their state: all steps at once by a `lax.associative_scan`, or a loop
        over chunks of time with dense work inside, which stores the states between tiles of
        chunks and computes the rest again. A state that is a matrix goes in chunks only.
        `"auto"` picks by size and device what is fastest for each part of a cell, and goes the
        plain way where there is no other.

    Returns:
      `(carry, ys)`: the carry after the last step, with the structure, shapes and dtypes it
      started with, and the outputs `(*batch, time, features)`.

    Raises:
      TypeError, ValueError: if shapes, dtypes, structures or options do not fit.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 6, 3))
      >>> carry, ys = sj.scan(cell, params, xs, lengths=jnp.array([6, 4]))
      >>> carry, more = sj.scan(cell, params, xs, carry)      # goes on where it stopped
      >>> more.shape
      (2, 6, 4)
    """
    xs, carry, steps, batch_shape, _ = checked(
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
    run = run_checked(cell, as_method(method), params, carry, xs, steps, batch_shape)
    return run.carry, run.ys


def trajectory(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    resets: Any = None,
    reverse: bool = False,
    truncate: int | None = None,
    checkpoint_every: int | None = None,
    method: Method | str = "auto",
) -> Carry:
    """The carry after every step: `sj.scan`, but for what the cell remembers.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      lengths, mask, resets, reverse, truncate, checkpoint_every, method: as for `sj.scan`; a
        matrix memory, of which all states are asked for, goes step by step by every method.

    Returns:
      A carry whose leaves are `(*batch, time, ...)`; entry t is the carry after step t, at
      masked steps the one held.

    Raises:
      TypeError, ValueError: as `sj.scan`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sj.trajectory(cell, params, jnp.ones((5, 3))).cell.shape
      (5, 4)
    """
    xs, carry, steps, batch_shape, _ = checked(
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
        record=True,
    )
    return run_checked(cell, as_method(method), params, carry, xs, steps, batch_shape).carries


def checked(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None,
    *,
    lengths: Any,
    mask: Any,
    resets: Any,
    reverse: bool,
    truncate: int | None,
    checkpoint_every: int | None,
    record: bool,
) -> tuple[Inputs, Carry | None, Steps, tuple[int, ...], int]:
    """The inputs, the carry and the steps in the form that engines take, with the batch shape
    and the number of steps; or an error."""
    expect_cell("scan", cell)
    if not isinstance(reverse, (bool, np.bool_)):
        raise TypeError(f"scan: `reverse` must be True or False, got {reverse!r}.")
    truncate = _every("truncate", truncate)
    checkpoint_every = _every("checkpoint_every", checkpoint_every)
    xs = jax.tree.map(jnp.asarray, xs)
    batch_shape, time = shape_of_batch(cell, xs)
    valid = _flags("mask", mask, batch_shape, time)
    if lengths is not None:
        within = length_mask(_lengths(lengths, batch_shape, time), time)
        valid = within if valid is None else within & valid
    steps = Steps(
        valid=valid,
        resets=_flags("resets", resets, batch_shape, time),
        reverse=bool(reverse),
        truncate=truncate,
        checkpoint_every=checkpoint_every,
        record=record,
    )
    if carry is not None:
        carry = jax.tree.map(jnp.asarray, carry)
        _check_carry(cell, params, carry, batch_shape)
    return xs, carry, steps, batch_shape, time


# Compiled by itself so that calls outside `jit` are traced and compiled once for each cell
# and shape; inlined so that calls inside `jit` leave no trace of it.
@partial(jax.jit, static_argnames=("cell", "method", "batch_shape"), inline=True)
def run_checked(
    cell: Cell,
    method: Method,
    params: Params,
    carry: Carry | None,
    xs: Inputs,
    steps: Steps,
    batch_shape: tuple[int, ...],
) -> Run:
    """The run itself, by the method asked for."""
    initial = cell.initial_carry(params, batch_shape)
    start = initial if carry is None else carry
    initial = with_dtypes_of(initial, start)
    # What is split otherwise than by rows is left to the compiler.
    mixed = isinstance(method, Auto) and not split_by_rows(params, xs, len(batch_shape))
    if mixed or isinstance(method, Plain):
        return run_cell(Plain(), cell, params, start, initial, xs, steps)
    return apart(partial(run_cell, method), cell, params, start, initial, xs, steps)


def _every(name: str, value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not hasattr(value, "__index__") or value.__index__() < 1:
        raise ValueError(
            f"scan: `{name}` must be a positive whole number of steps, or None; got {value!r}."
        )
    return value.__index__()


def shape_of_batch(cell: Cell, xs: Inputs) -> tuple[tuple[int, ...], int]:
    """The batch shape and the number of steps, on which all inputs must agree."""
    if not jax.tree.leaves(xs):
        raise ValueError("scan: `xs` holds no arrays.")
    try:
        ranks = jax.tree.map(
            lambda rank, part: jax.tree.map(lambda _: rank, part), cell.input_ndim, xs
        )
    except (ValueError, TypeError):
        raise ValueError(
            f"scan: {cell} takes inputs of structure {cell.input_ndim}, got "
            f"{jax.tree.map(jnp.shape, xs)}."
        ) from None
    found = set()
    for rank, leaf in zip(jax.tree.leaves(ranks), jax.tree.leaves(xs), strict=True):
        if leaf.ndim < rank + 1:
            raise ValueError(
                f"scan: {cell} takes xs of shape (*batch, time, *step) with a step of rank "
                f"{rank}, so at least {rank + 1} dimensions; got shape {leaf.shape}. For one "
                "step use cell.step."
            )
        found.add(leaf.shape[: leaf.ndim - rank])
    if len(found) > 1:
        raise ValueError(
            "scan: all arrays in `xs` must share their batch and time dimensions; got "
            f"{sorted(found)}."
        )
    *batch_shape, time = found.pop()
    return tuple(batch_shape), time


def _flags(name: str, value: Any, batch_shape: tuple[int, ...], time: int) -> Array | None:
    if value is None:
        return None
    value = jnp.asarray(value)
    if value.dtype != jnp.bool_:
        raise TypeError(
            f"scan: `{name}` must be bool, got dtype {value.dtype}. Write `{name} != 0` for "
            "numbers, and for lengths use `lengths=`."
        )
    expected = (*batch_shape, time)
    if value.shape != expected:
        raise ValueError(
            f"scan: `{name}` must be (*batch, time) = {expected} like xs; got {value.shape}."
        )
    return value


def _lengths(value: Any, batch_shape: tuple[int, ...], time: int) -> Any:
    lengths = value if isinstance(value, jax.Array) else np.asarray(value)
    if not jnp.issubdtype(lengths.dtype, jnp.integer):
        raise TypeError(
            f"scan: `lengths` must be whole numbers, got dtype {lengths.dtype}. A bool "
            "array of steps goes to `mask=`."
        )
    if lengths.shape != batch_shape:
        raise ValueError(
            f"scan: `lengths` must be one number for each row, shape {batch_shape}; got shape "
            f"{lengths.shape}."
        )
    if not isinstance(lengths, jax.core.Tracer) and lengths.size:
        # In NumPy, because inside `jit` even known numbers become tracers in jax.numpy.
        known = np.asarray(lengths)
        low, high = known.min(), known.max()
        if low < 0 or high > time:
            raise ValueError(
                f"scan: `lengths` must lie between 0 and the {time} steps of xs; got values "
                f"from {low} to {high}."
            )
    return lengths


def _check_carry(cell: Cell, params: Params, carry: Carry, batch_shape: tuple) -> None:
    expected = jax.eval_shape(lambda p: cell.initial_carry(p, batch_shape), params)
    is_noise = lambda node: isinstance(node, Randomness)  # noqa: E731
    # Keys are there only when noise is on, so only the counts of draws are compared.
    counts = lambda node: node.draws if is_noise(node) else node  # noqa: E731
    wanted, got = (
        jax.tree_util.tree_flatten_with_path(jax.tree.map(counts, tree, is_leaf=is_noise))
        for tree in (expected, carry)
    )
    if wanted[1] != got[1]:
        raise ValueError(
            f"scan: `carry` does not have the structure of this cell's state. {cell} carries "
            f"{wanted[1]}; got {got[1]}. Start from cell.initial_carry(params, {batch_shape}) "
            "or from the carry of an earlier scan."
        )
    for (path, want), (_, have) in zip(wanted[0], got[0], strict=True):
        if want.shape != have.shape:
            raise ValueError(
                f"scan: `carry{jax.tree_util.keystr(path)}` must have shape {want.shape} for "
                f"the batch shape {batch_shape} of xs; got {have.shape}."
            )
        if is_float(want) != is_float(have):
            raise TypeError(
                f"scan: `carry{jax.tree_util.keystr(path)}` must have a dtype like {want.dtype}, "
                f"got {have.dtype}."
            )
