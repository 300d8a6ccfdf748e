"""A loop over time as one kernel for a TPU: time is its sequential grid.

What the loop carries stays in the memory of the core (VMEM) from the first step to the last, and so
does all that the body closes over, weights above all. Only the inputs and results of the steps
move, a block of steps at a time, while the block before them is at work.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from seqjax.core.steps import time_of
from seqjax.core.types import Array, Carry, PyTree
from seqjax.engines.fused.invariant import apart
from seqjax.engines.placement import all_varying

MEMORY = 100 * 2**20
"""Bytes of VMEM that a kernel may take; a v5e and a v6e have 128 MB."""


def scan_in_kernel(
    body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
    carry: Carry,
    xs: PyTree,
    *,
    block: int,
    reverse: bool,
    interpret: Any = True,
) -> tuple[Carry, PyTree]:
    """`lax.scan` as one kernel; it has no derivative of its own.

    Args:
      body: `(carry, x) -> (carry, y)`; it may close over arrays.
      carry: leaves `(rows, width)`.
      xs: leaves `(time, rows, width)`.
      block: steps that are moved together; divides the time.
      reverse: begin with the last step.
      interpret: how a device that is no TPU runs the kernel, see `pallas_call`.
    """
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    invariants, rest, (carry_shape, y_shape) = apart(body, carry, x)
    given = [invariants, jax.tree.leaves(carry), jax.tree.leaves(xs)]
    kernel = Kernel(rest, given, jax.tree.leaves(y_shape), block, reverse)
    end, ys = jax.lax.platform_dependent(
        *map(as_operands, given),
        tpu=partial(kernel.call, interpret=False),
        default=partial(kernel.call, interpret=interpret),
    )
    trees = jax.tree.structure(carry_shape), jax.tree.structure(y_shape)
    return jax.tree.unflatten(trees[0], end), jax.tree.unflatten(trees[1], ys)


def as_operands(leaves: Sequence[Array]) -> list[Array]:
    """Arrays as a kernel takes them: whole numbers for flags, two dimensions at least."""
    numbers = [leaf.astype(jnp.int32) if leaf.dtype == jnp.bool_ else leaf for leaf in leaves]
    return [leaf.reshape((1,) * (2 - leaf.ndim) + leaf.shape) for leaf in numbers]


class Kernel:
    """The kernel of a loop, by the shapes of what it is given."""

    def __init__(
        self,
        step: Callable[..., list[Array]],
        given: Sequence[Sequence[Array]],
        ys: Sequence[jax.ShapeDtypeStruct],
        block: int,
        reverse: bool,
    ):
        """`step(invariants, *carry, *x)` returns the leaves of the new carry and of `y`; `given`
        are the invariants, the carry and the inputs of all steps."""
        self.step, self.block, self.reverse = step, block, reverse
        self.invariants, self.carry, self.xs = ([jax.typeof(leaf) for leaf in part] for part in given)
        self.time = time_of(self.xs)
        self.ys = ys

    def call(self, *operands: list[Array], interpret: Any) -> tuple[list[Array], list[Array]]:
        """The carry after the last step, and what every step made."""
        invariants, carry, xs = all_varying(operands)
        blocks = self.time // self.block
        shapes = [*carry, *(jax.ShapeDtypeStruct((self.time, *y.shape), y.dtype) for y in self.ys)]
        manual = jax.typeof((*carry, *xs)[0]).manual_axis_type
        made = pl.pallas_call(
            self._run,
            grid=(blocks,),
            in_specs=[*map(_whole, invariants), *map(_whole, carry), *map(self._moving, xs)],
            out_specs=[*map(_whole, carry), *map(self._moving, shapes[len(carry) :])],
            out_shape=[
                jax.ShapeDtypeStruct(s.shape, s.dtype, manual_axis_type=manual) for s in shapes
            ],
            scratch_shapes=[pltpu.VMEM(leaf.shape, leaf.dtype) for leaf in carry],
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("arbitrary",), vmem_limit_bytes=MEMORY
            ),
            interpret=interpret,
            name="scan",
        )(*invariants, *carry, *xs)
        return made[: len(carry)], made[len(carry) :]

    def _moving(self, leaf: Any) -> pl.BlockSpec:
        """Of an array that has time in front: the block of steps at hand."""
        last, others = self.time // self.block - 1, (0,) * (len(leaf.shape) - 1)
        place = (lambda t: (last - t, *others)) if self.reverse else (lambda t: (t, *others))
        return pl.BlockSpec((self.block, *leaf.shape[1:]), place)

    def _run(self, *refs: Any) -> None:
        counts = [len(self.invariants), len(self.carry), len(self.xs), len(self.carry), len(self.ys)]
        parts, refs = [], list(refs)
        for count in counts:
            parts.append(refs[:count])
            refs = refs[count:]
        (fixed, start, xs, end, ys), now = parts, refs

        @pl.when(pl.program_id(0) == 0)
        def _():
            _copy(start, now)

        def step(index, nothing):
            index = self.block - 1 - index if self.reverse else index
            invariants = [_value(ref[...], aval) for ref, aval in zip(fixed, self.invariants, strict=True)]
            x = [_value(ref[index], leaf.update(shape=leaf.shape[1:])) for ref, leaf in zip(xs, self.xs, strict=True)]
            made = self.step(invariants, *(ref[...] for ref in now), *x)
            for ref, value in zip(now, made[: len(now)], strict=True):
                ref[...] = value
            for ref, value in zip(ys, made[len(now) :], strict=True):
                ref[index] = value
            return nothing

        jax.lax.fori_loop(0, self.block, step, None)

        @pl.when(pl.program_id(0) == self.time // self.block - 1)
        def _():
            _copy(now, end)


def _whole(leaf: Any) -> pl.BlockSpec:
    """Of an array that is the same in every step: all of it, in one copy."""
    return pl.BlockSpec(leaf.shape, lambda _: (0,) * len(leaf.shape), pipeline_mode=pl.Buffered(1))


def _copy(sources: Sequence[Any], targets: Sequence[Any]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target[...] = source[...]


def _value(operand: Array, aval: Any) -> Array:
    """What `as_operands` made of an array, undone."""
    value = operand.reshape(aval.shape)
    return value != 0 if aval.dtype == jnp.bool_ else value
