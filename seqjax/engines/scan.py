"""One scan for every cell: the door through which time comes first, and leaves as it came."""

from collections.abc import Sequence
from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import length_mask
from seqjax.core.noise import with_dtypes_of
from seqjax.core.steps import Run, Steps, batch_major, batch_shape_of, time_major, zero_masked
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.dispatch import run_cell
from seqjax.engines.explained import explained
from seqjax.engines.methods import (
    Auto,
    Method,
    PipelineParallel,
    Plain,
    SequenceParallel,
    as_method,
)
from seqjax.engines.pipeline_parallel import over_layer_axis
from seqjax.engines.placement import apart, split_by_rows
from seqjax.engines.request import Request, ScanOptions, checked
from seqjax.engines.sequence_parallel import over_time_axis
from seqjax.engines.sizes import PLATFORMS, chosen_for


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
        `sj.Newton`, `"newton"`, solves for all states of a nonlinear cell at once.
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
    run = run_request(
        checked(
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
            method=method,
        )
    )
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
    run = run_request(
        checked(
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
            method=method,
            record=True,
        )
    )
    return run.carries


def snapshots(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry | None = None,
    *,
    every: int | None = None,
    after: Sequence[int] | None = None,
    **options: Unpack[ScanOptions],
) -> tuple[Carry, PyTree, Carry]:
    """`sj.scan`, and the carry after every k steps or after chosen numbers of steps.

    Nothing else is stored, whichever way the cell runs: a stretch of time between two snapshots is
    a scan of its own. To go on from a snapshot gives what the whole scan gives from there on.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      every: k: after k, 2k, ... steps in the order of processing. Masked steps count too, so all
        rows have as many.
      after: growing numbers of steps in the order of processing, at most all; 0 is the carry to
        start from. Each piece between two is compiled by itself, so give few.
      **options: as for `sj.scan`.

    Returns:
      `(carry, ys, snapshots)`: a snapshot is a carry; leaves are `(*batch, snapshots, ...)`, in the
      order of processing.

    Raises:
      TypeError, ValueError: as `sj.scan`, and unless there is either `every` or `after`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> xs = jnp.ones((2, 7, 3))
      >>> carry, ys, kept = sj.snapshots(cell, params, xs, every=3)
      >>> kept.cell.shape
      (2, 2, 4)
      >>> after_3 = jax.tree.map(lambda leaf: leaf[:, 0], kept)
      >>> bool(jnp.allclose(sj.scan(cell, params, xs[:, 3:], after_3)[1], ys[:, 3:], atol=1e-6))
      True
    """
    if every is None and after is None:
        raise ValueError("snapshots: expected `every`, a number of steps, or `after`; got neither.")
    request = checked(cell, params, xs, carry, every=every, after=after, **options)
    run = run_request(request)
    return run.carry, run.ys, run.carries


# Compiled by itself so that calls outside `jit` are traced and compiled once for each cell
# and shape; inlined so that calls inside `jit` leave no trace of it.
@partial(jax.jit, inline=True)
def run_request(request: Request) -> Run:
    """The run itself, by the method asked for, with `(*batch, time, ...)` outputs."""
    with explained(request.cell, request.params, request.xs):
        run = run_opened(request.method, request.cell, *opened(request))
    return Run(run.carry, *batch_major((run.ys, run.carries), len(request.batch_shape)))


def opened(request: Request) -> tuple[Params, Carry, Carry, Inputs, Steps]:
    """What engines take: parameters, the carry to start from and the one after a reset, inputs with
    time in front and zeros at masked steps, and the steps."""
    batch_shape, time = request.batch_shape, request.time
    valid = request.mask
    if request.lengths is not None:
        within = length_mask(request.lengths, time)
        valid = within if valid is None else within & valid
    xs, valid, resets = time_major((request.xs, valid, request.resets), len(batch_shape))
    steps = Steps(
        valid=valid,
        resets=resets,
        reverse=request.reverse,
        truncate=request.truncate,
        checkpoint_every=request.checkpoint_every,
        record=request.record,
        snapshots=request.snapshots,
    )
    initial = request.cell.initial_carry(request.params, batch_shape)
    start = initial if request.carry is None else request.carry
    initial, start = jax.tree.map(jnp.asarray, (initial, start))  # Numbers of Python among them.
    return request.params, start, with_dtypes_of(initial, start), zero_masked(xs, valid), steps


def run_opened(
    method: Method,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
) -> Run:
    """The run, on each platform as it is fastest there."""
    run = partial(_run_on, method, cell, params, carry, initial, xs, steps)
    if len(method.platforms) <= 1:
        return run(*method.platforms)
    # Kinds of GPU share a branch.
    by_kind = {PLATFORMS[name]: partial(run, name) for name in method.platforms}
    branches = {name: by_kind[PLATFORMS[name]] for name in method.platforms}
    return jax.lax.platform_dependent(**branches)


def _run_on(
    method: Method,
    cell: Cell,
    params: Params,
    carry: Carry,
    initial: Carry,
    xs: Inputs,
    steps: Steps,
    platform: str | None = None,
) -> Run:
    """The run, sequences on several devices each where they lie."""
    parts = (cell, params, carry, initial, xs, steps)
    if isinstance(method, SequenceParallel):
        with chosen_for(platform):
            return over_time_axis(method, partial(apart, partial(run_cell, method)), *parts)
    if isinstance(method, PipelineParallel):
        with chosen_for(platform):
            return over_layer_axis(
                method, apart, partial(run_cell, as_method(method.inside)), *parts
            )
    # What is split otherwise than by sequences is left to the compiler.
    batch_ndim = len(batch_shape_of(cell, xs))
    mixed = isinstance(method, Auto) and not split_by_rows(params, xs, batch_ndim)
    with chosen_for(platform):
        if mixed or isinstance(method, Plain):
            return run_cell(Plain(), *parts)
        return apart(partial(run_cell, method), *parts)
