"""How cells join to blocks: behind a norm, multiplied, on a slice of the features, and how a block
of several parts trains on long sequences."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, expect_real, factory
from seqjax.core.layers import rms_norm
from seqjax.core.ranks import expect_equal_ranks, side_by_side
from seqjax.core.stack import by_name, expect_cell, no_step, residual, stack
from seqjax.core.steps import Run, is_symbolic, time_of
from seqjax.core.trees import tree_bytes
from seqjax.core.types import Inputs

WHOLE_BYTES = 2**21
"""Inputs of a checkpointed cell up to this size are one stretch."""

STRETCH_BYTES = 2**19
"""Longer sequences go in stretches of this size; measured in `docs/measured/bench.md`."""

FEWEST_STEPS = 128
"""No stretch is shorter."""


@factory
def prenorm(cell: Cell, *, norm: Callable[..., Cell] = rms_norm, **options: Any) -> Cell:
    """A cell behind a norm, with a way around both.

        y = x + cell(norm(x))

    Args:
      cell: any cell; its `features` must equal the width of its input.
      norm: makes the norm of a width: `sj.rms_norm` or `sj.layer_norm`.
      **options: further arguments of the norm, such as `epsilon=1e-5`.

    Returns:
      `sj.residual(sj.stack(norm=norm(cell.features, **options), cell=cell))`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> block = sj.stack(sj.prenorm(sj.gru(4)), sj.prenorm(sj.feed_forward(4)))
      >>> sj.scan(block, block.init(jax.random.key(0), 4), jnp.ones((5, 4)))[1].shape
      (5, 4)

    Source: Xiong et al. 2020, arXiv:2002.04745.
    """
    expect_cell("prenorm", cell)
    block = residual(stack(norm=norm(cell.features, **options), cell=cell))
    return dataclasses.replace(block, name=cell.name, call="")


@factory
def product(*cells: Cell, **named: Cell) -> Cell:
    """Cells side by side that see the same input and whose outputs are multiplied.

        y = first(x) * second(x) * ...

    Args:
      *cells: cells of the same width, such as a recurrence and a gate, named as in `sj.stack`.
      **named: more of them, with names of their own.

    Returns:
      A cell. Its parameters and its carry are dicts by name.

    Raises:
      ValueError: if there are none, or they differ in width or rank.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.product(memory=sj.gru(4), gate=sj.dense(4, activation=jax.nn.gelu))
      >>> sj.scan(cell, cell.init(jax.random.key(0), 2), jnp.ones((5, 2)))[1].shape
      (5, 4)
    """
    factors = side_by_side("product", by_name("product", cells, named))
    widths = {cell.features for cell in factors.values()}
    if len(widths) != 1:
        raise ValueError(
            f"product: expected cells of one width, got {sorted(widths)} from {len(factors)} cells."
        )

    def init(key, in_features):
        keys = jax.random.split(key, len(factors))
        made = zip(factors.items(), keys, strict=True)
        return {name: cell.init(own, in_features) for (name, cell), own in made}

    def initial_carry(params, batch_shape=()):
        return {
            name: cell.initial_carry(params[name], batch_shape) for name, cell in factors.items()
        }

    def step(params, carry, x):
        steps = {name: cell.step(params[name], carry[name], x) for name, cell in factors.items()}
        return {name: c for name, (c, _) in steps.items()}, math.prod(y for _, y in steps.values())

    def sequence(scan, params, carry, initial, xs, steps):
        runs = {
            name: scan(cell, params[name], carry[name], initial[name], xs, steps)
            for name, cell in factors.items()
        }
        return Run(
            carry={name: run.carry for name, run in runs.items()},
            ys=math.prod(run.ys for run in runs.values()),
            carries={name: run.carries for name, run in runs.items()},
        )

    first = next(iter(factors.values()))
    causal = all(cell.causal for cell in factors.values())
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if causal else no_step("product", tuple(factors.values())),
        features=widths.pop(),
        input_ndim=first.input_ndim,
        output_ndim=first.output_ndim,
        pixelwise=all(cell.pixelwise for cell in factors.values()),
        in_features=next((c.in_features for c in factors.values() if c.in_features), None),
        causal=causal,
        sequence=sequence,
    )


@factory
def on_slice(cell: Cell, *, width: int, rest: int) -> Cell:
    """A cell on the first features of the input; the others pass unchanged.

        y = [cell(x[:width]), x[width:]]

    Args:
      cell: any causal cell.
      width: number of features that the cell sees.
      rest: number of the other features.

    Returns:
      A cell of `cell.features + rest` features with the parameters and the carry of the given
      one.

    Raises:
      ValueError: if the cell is not causal, or its input and output differ in rank; from `init`,
        if the input is not `width + rest` wide.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.on_slice(sj.token_shift(2), width=2, rest=1)
      >>> sj.scan(cell, cell.init(jax.random.key(0), 3), jnp.ones((2, 3)))[1]
      Array([[0., 0., 1.],
             [1., 1., 1.]], dtype=float32)
    """
    expect_cell("on_slice", cell)
    if not cell.causal:
        raise ValueError(
            f"on_slice: expected a causal cell; {cell} needs the whole sequence. Use it on the "
            "cells inside."
        )
    expect_equal_ranks("on_slice", cell)

    def init(key, in_features):
        if in_features != width + rest:
            raise ValueError(
                f"on_slice({cell}): expected inputs of {width} and {rest} features, got "
                f"in_features={in_features}."
            )
        return cell.init(key, width)

    def join(y, x):
        expect_real("on_slice", x, y)
        return jnp.concatenate([y, x[..., width:].astype(y.dtype)], axis=-1)

    def step(params, carry, x):
        carry, y = cell.step(params, carry, x[..., :width])
        return carry, join(y, x)

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params, carry, initial, xs[..., :width], steps)
        return run._replace(ys=join(run.ys, xs))

    return Cell(
        init=init,
        initial_carry=cell.initial_carry,
        step=step,
        features=cell.features + rest,
        input_ndim=cell.input_ndim,
        pixelwise=cell.pixelwise,
        in_features=width + rest,
        sequence=sequence,
        name=cell.name,
    )


@factory
def checkpointed(cell: Cell) -> Cell:
    """A cell that trains on long sequences in stretches, of which only the ends are stored.

    Values and gradients are those of the cell. What its parts hand to each other, such as
    projections and convolved inputs, is computed again in the backward pass, one stretch after the
    other; the parts then store all they need, as for a short sequence. It is `checkpoint_every` of
    `sj.scan` for one part of a model, with a length that fits: inputs of up to 2 MB are one
    stretch, longer sequences go in stretches of half a megabyte, at least 128 steps.

    Args:
      cell: any causal cell, in most cases one of several parts.

    Returns:
      A cell with the parameters, the carry and the outputs of the given one.

    Raises:
      ValueError: if the cell is not causal.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.short_convolution(64), sj.minimal_gru(64))
      >>> params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 64))
      >>> xs = jax.ShapeDtypeStruct((1, 16384, 64), jnp.float32)
      >>> saved = sj.memory_report(cell, params, xs).saved
      >>> sj.memory_report(sj.checkpointed(cell), params, xs).saved < saved / 5
      True

    Source: Chen et al. 2016, arXiv:1604.06174.
    """
    expect_cell("checkpointed", cell)
    if not cell.causal:
        raise ValueError(
            f"checkpointed: expected a causal cell, as stretches of time go one after the other; "
            f"{cell} needs the whole sequence. Use it on the cells inside."
        )

    def sequence(scan, params, carry, initial, xs, steps):
        if steps.checkpoint_every is None:
            steps = dataclasses.replace(steps, checkpoint_every=_stretch(xs))
        return scan(cell, params, carry, initial, xs, steps)

    return dataclasses.replace(cell, sequence=sequence, structure=None, call="")


def _stretch(xs: Inputs) -> int | None:
    """Steps of a stretch, or None if there is one only."""
    time, size = time_of(xs), tree_bytes(xs)
    if is_symbolic(size) or size <= WHOLE_BYTES or time <= FEWEST_STEPS:
        return None
    most = max(FEWEST_STEPS, time * STRETCH_BYTES // size)
    # A whole number of chunks of any engine.
    return most - most % FEWEST_STEPS
