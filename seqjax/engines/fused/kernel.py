"""A loop over time as one kernel for a TPU: time is its sequential grid.

What the loop carries stays in the memory of the core (VMEM) from the first step to the last, and so
does all that the body closes over, weights above all. Only the inputs and results of the steps
move, a block of steps at a time, while the block before them is at work.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jax.extend.core import Primitive
from jax.interpreters import batching, mlir

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
    interpret: Any = None,
) -> tuple[Carry, PyTree]:
    """`lax.scan` as one kernel; it has no derivative of its own.

    Args:
      body: `(carry, x) -> (carry, y)`; it may close over arrays.
      carry: leaves `(rows, width)`.
      xs: leaves `(time, rows, width)`.
      block: steps that are moved together; divides the time.
      reverse: begin with the last step.
      interpret: as for `pallas_call`; by default a TPU runs the kernel, others interpret it.
    """
    carry, xs = jax.tree.map(jnp.asarray, (carry, xs))
    x = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
    invariants, rest, (carry_shape, y_shape) = apart(body, carry, x)
    given = [invariants, jax.tree.leaves(carry), jax.tree.leaves(xs)]
    kernel = Kernel(rest, given, jax.tree.leaves(y_shape), block, reverse)
    operands = [leaf for part in given for leaf in as_operands(part)]
    made = run_kernel(kernel.call, *operands, interpret=interpret)
    return jax.tree.unflatten(jax.tree.structure((carry_shape, y_shape)), made)


def run_kernel(
    call: Callable[..., Sequence[Array]], *operands: Array, interpret: Any = None
) -> Sequence[Array]:
    """`call(*operands, interpret=...)`; by default a TPU runs the kernel, others interpret it."""
    if interpret is None:
        return _kernel.bind(*operands, call=call)
    return call(*operands, interpret=interpret)


def as_operands(leaves: Sequence[Array]) -> Sequence[Array]:
    """Arrays as a kernel takes them: whole numbers for flags, two dimensions at least."""
    numbers = [leaf.astype(jnp.int32) if leaf.dtype == jnp.bool_ else leaf for leaf in leaves]
    return [leaf.reshape((1,) * (2 - leaf.ndim) + leaf.shape) for leaf in numbers]


class Kernel:
    """The kernel of a loop, by the shapes of what it is given."""

    def __init__(
        self,
        step: Callable[..., Sequence[Array]],
        given: Sequence[Sequence[Array]],
        ys: Sequence[jax.ShapeDtypeStruct],
        block: int,
        reverse: bool,
        starts: bool = False,
    ):
        """`step(invariants, *carry, *x)` returns the leaves of the new carry and of `y`; `given`
        are the invariants, the carry and the inputs of all steps. With `starts` the carry before
        every block is a result too."""
        self.step, self.block, self.reverse, self.starts = step, block, reverse, starts
        self.invariants, self.carry, self.xs = ([*map(jax.typeof, part)] for part in given)
        self.time = time_of(self.xs)
        self.ys = ys

    def call(self, *operands: Array, interpret: Any) -> Sequence[Array]:
        """The carry after the last step, what every step made, and the starts of blocks."""
        first, second = len(self.invariants), len(self.invariants) + len(self.carry)
        operands = all_varying(operands)
        invariants, carry, xs = operands[:first], operands[first:second], operands[second:]
        blocks = self.time // self.block
        of_all = [jax.ShapeDtypeStruct((self.time, *y.shape), y.dtype) for y in self.ys]
        kept = carry if self.starts else []
        of_blocks = [jax.ShapeDtypeStruct((blocks, *leaf.shape), leaf.dtype) for leaf in kept]
        manual = jax.typeof((*carry, *xs)[0]).manual_axis_type
        return pl.pallas_call(
            self._run,
            grid=(blocks,),
            in_specs=[*map(whole, invariants), *map(whole, carry), *map(self._moving, xs)],
            out_specs=[
                *map(whole, carry),
                *map(self._moving, of_all),
                *(self._moving(leaf, 1) for leaf in of_blocks),
            ],
            out_shape=[
                jax.ShapeDtypeStruct(s.shape, s.dtype, manual_axis_type=manual)
                for s in (*carry, *of_all, *of_blocks)
            ],
            scratch_shapes=[pltpu.VMEM(leaf.shape, leaf.dtype) for leaf in carry],
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("arbitrary",), vmem_limit_bytes=MEMORY
            ),
            interpret=interpret,
            name="scan",
            metadata={"steps": str(self.time)},
        )(*invariants, *carry, *xs)

    def _moving(self, leaf: Any, entries: int | None = None) -> pl.BlockSpec:
        """Of an array that has time in front: what belongs to the block of steps at hand."""
        last, others = self.time // self.block - 1, (0,) * (len(leaf.shape) - 1)
        place = (lambda t: (last - t, *others)) if self.reverse else (lambda t: (t, *others))
        return pl.BlockSpec((entries or self.block, *leaf.shape[1:]), place)

    def _run(self, *refs: Any) -> None:
        fixed, start, xs, end, ys, starts, now = self._parts(refs)
        like = [leaf.update(shape=leaf.shape[1:]) for leaf in self.xs]

        @pl.when(pl.program_id(0) == 0)
        def _():
            _copy(start, now)

        for ref, value in zip(starts, now if self.starts else (), strict=True):
            ref[0] = value[...]

        def step(index, nothing):
            index = self.block - 1 - index if self.reverse else index
            invariants = map(_value, (ref[...] for ref in fixed), self.invariants)
            x = map(_value, (ref[index] for ref in xs), like)
            made = self.step(list(invariants), *(ref[...] for ref in now), *x)
            for ref, value in zip(now, made[: len(now)], strict=True):
                ref[...] = value
            for ref, value in zip(ys, made[len(now) :], strict=True):
                ref[index] = value
            return nothing

        jax.lax.fori_loop(0, self.block, step, None)

        @pl.when(pl.program_id(0) == self.time // self.block - 1)
        def _():
            _copy(now, end)

    def _parts(self, refs: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The references to invariants, start, inputs, end, outputs and starts of blocks, and to
        the carry now."""
        starts = self.carry if self.starts else []
        for part in (self.invariants, self.carry, self.xs, self.carry, self.ys, starts, self.carry):
            yield refs[: len(part)]
            refs = refs[len(part) :]


def whole(leaf: Any) -> pl.BlockSpec:
    """Of an array that is the same in every step: all of it, in one copy."""
    return pl.BlockSpec(leaf.shape, lambda _: (0,) * len(leaf.shape), pipeline_mode=pl.Buffered(1))


def _copy(sources: Sequence[Any], targets: Sequence[Any]) -> None:
    for source, target in zip(sources, targets, strict=True):
        target[...] = source[...]


def _value(operand: Array, aval: Any) -> Array:
    """What `as_operands` made of an array, undone."""
    value = operand.reshape(aval.shape)
    return value != 0 if aval.dtype == jnp.bool_ else value


def _lowering(interpret: bool) -> Callable[..., Any]:
    def lower(context: mlir.LoweringRuleContext, *operands: Any, call: Any) -> Any:
        run = partial(call, interpret=interpret)
        return mlir.lower_fun(run, multiple_results=True)(context, *operands)

    return lower


def _vectorized(operands: Sequence[Array], dimensions: Sequence[Any], *, call: Any) -> tuple:
    axes = tuple(dimensions)

    def many(*operands: Array, interpret: Any) -> Sequence[Array]:
        return jax.vmap(partial(call, interpret=interpret), axes)(*operands)

    made = _kernel.bind(*operands, call=many)
    return made, [0] * len(made)


_kernel = Primitive("scan_kernel")
"""The choice between a kernel and its interpreter, made for each platform when a program is
lowered."""
_kernel.multiple_results = True
_kernel.def_impl(lambda *o, call: jax.jit(lambda *o: _kernel.bind(*o, call=call))(*o))
_kernel.def_abstract_eval(
    lambda *avals, call: jax.make_jaxpr(partial(call, interpret=True))(*avals).out_avals
)
mlir.register_lowering(_kernel, _lowering(interpret=True))
mlir.register_lowering(_kernel, _lowering(interpret=False), platform="tpu")
batching.primitive_batchers[_kernel] = _vectorized
