"""A loop over time as a kernel, and its derivative as another one that makes the states again.

Forward, the carry before every block of steps is stored and nothing else. The way back goes from
the last block to the first: the carries of a block are made once more, into the memory of the core,
and then the steps are gone through backwards, each by the transpose of its own derivative.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from seqjax.core.steps import time_of
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, PyTree
from seqjax.engines.fused.kernel import MEMORY, Kernel, as_operands, run_kernel, whole
from seqjax.engines.fused.linear_pair import linear_pair
from seqjax.engines.placement import all_varying
from seqjax.engines.tangents import tangent_leaves, tangent_tree

Body = Callable[[Carry, PyTree], tuple[Carry, PyTree]]
"""`(carry, x) -> (carry, y)`, which closes over no arrays and is hashable."""


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def checkpointed_scan(body: Body, block: int, carry: Carry, xs: PyTree) -> tuple[Carry, PyTree]:
    """`lax.scan` as one kernel, with a kernel for its backward pass.

    Args:
      body: the body of the loop.
      block: steps that are moved together and made again together; divides the time.
      carry: floating-point leaves of at least two dimensions.
      xs: leaves `(time, ...)` of at least three dimensions.
    """
    return forward(body, block, carry, xs, starts=False)[:2]


@partial(checkpointed_scan.defjvp, symbolic_zeros=True)
def _jvp(body: Body, block: int, primals: tuple, tangents: tuple) -> tuple:
    carry, xs = primals
    d_carry, d_xs = (
        [jnp.zeros_like(leaf) for leaf in floats(primal)] if d is None else d
        for primal, d in zip(primals, map(tangent_leaves, primals, tangents), strict=True)
    )
    end, ys, starts = forward(body, block, carry, xs, starts=True)
    loop = Tangents(body, block, jax.tree.structure((carry, xs)), len(d_carry))
    known = [*jax.tree.leaves((carry, xs)), *jax.tree.leaves(starts)]
    made = linear_pair(loop.forward, loop.backward, known, [*d_carry, *d_xs])
    d_end, d_ys = made[: len(d_carry)], made[len(d_carry) :]
    return (end, ys), (tangent_tree(end, d_end), tangent_tree(ys, d_ys))


def forward(
    body: Body, block: int, carry: Carry, xs: PyTree, *, starts: bool, interpret: Any = None
) -> tuple[Carry, PyTree, Carry | None]:
    """The carry after the last step, what all make, and the carries before every block."""
    shape = jax.eval_shape(body, carry, _of_one_step(xs))
    structure = jax.tree.structure((carry, _of_one_step(xs)))

    def step(_: Sequence[Array], *leaves: Array) -> list[Array]:
        return jax.tree.leaves(body(*jax.tree.unflatten(structure, leaves)))

    given = [[], jax.tree.leaves(carry), jax.tree.leaves(xs)]
    kernel = Kernel(step, given, jax.tree.leaves(shape[1]), block, reverse=False, starts=starts)
    operands = (leaf for part in given for leaf in as_operands(part))
    made = run_kernel(kernel.call, *operands, interpret=interpret)
    count = len(given[1])
    of_blocks = jax.tree.unflatten(jax.tree.structure(carry), made[-count:]) if starts else None
    end, ys = jax.tree.unflatten(jax.tree.structure(shape), made[: len(made) - count * starts])
    return end, ys, of_blocks


@dataclasses.dataclass(frozen=True)
class Tangents:
    """The derivative of the loop, both ways; all arrays come in lists.

    Args:
      body, block: as for `checkpointed_scan`.
      structure: of `(carry, xs)`.
      carries: leaves of the carry.
    """

    body: Body
    block: int
    structure: Any
    carries: int

    def forward(self, known: Sequence[Array], tangents: Sequence[Array]) -> list[Array]:
        """The tangents of the carry after the last step and of what every step makes."""
        carry, xs = self._primals(known)

        def run(carry: Carry, changing: list[Array]) -> list[Array]:
            return floats(jax.lax.scan(self.body, carry, put_floats(xs, changing)))

        d_carry = jax.tree.unflatten(jax.tree.structure(carry), tangents[: self.carries])
        d_xs = list(tangents[self.carries :])
        return jax.jvp(run, (carry, floats(xs)), (d_carry, d_xs))[1]

    def backward(
        self, known: Sequence[Array], cotangents: Sequence[Array], interpret: Any = None
    ) -> list[Array]:
        """Those of the carry and of the inputs."""
        _, xs = self._primals(known)
        starts = known[self.structure.num_leaves :]
        ct_end, ct_ys = cotangents[: self.carries], cotangents[self.carries :]
        kernel = Pullback(self.body, self.structure, starts, xs, ct_ys, self.block)
        parts = (jax.tree.leaves(xs), starts, ct_ys, ct_end)
        operands = (leaf for part in parts for leaf in as_operands(part))
        return list(run_kernel(kernel.call, *operands, interpret=interpret))

    def _primals(self, known: Sequence[Array]) -> tuple[Carry, PyTree]:
        return jax.tree.unflatten(self.structure, known[: self.structure.num_leaves])


class Pullback:
    """The kernel of the way back, by the shapes of what it is given."""

    def __init__(
        self,
        body: Body,
        structure: Any,
        starts: Sequence[Array],
        xs: PyTree,
        ct_ys: Sequence[Array],
        block: int,
    ):
        self.body, self.structure, self.block = body, structure, block
        self.time = time_of(xs)
        self.xs, self.starts, self.ct_ys = (
            [*map(jax.typeof, part)] for part in (jax.tree.leaves(xs), starts, ct_ys)
        )
        self.carry = [leaf.update(shape=leaf.shape[1:]) for leaf in self.starts]
        self.ct_xs = floats(self.xs)

    def call(self, *operands: Array, interpret: Any) -> Sequence[Array]:
        """The cotangents of the carry before the first step and of the inputs of all steps."""
        operands = all_varying(operands)
        moving = len(self.xs) + len(self.starts) + len(self.ct_ys)
        manual = jax.typeof(operands[0]).manual_axis_type
        return pl.pallas_call(
            self._run,
            grid=(self.time // self.block,),
            in_specs=[*map(self._moving, operands[:moving]), *map(whole, operands[moving:])],
            out_specs=[*map(whole, self.carry), *map(self._moving, self.ct_xs)],
            out_shape=[
                jax.ShapeDtypeStruct(s.shape, s.dtype, manual_axis_type=manual)
                for s in (*self.carry, *self.ct_xs)
            ],
            scratch_shapes=[
                *(pltpu.VMEM((self.block, *leaf.shape), leaf.dtype) for leaf in self.carry),
                *(pltpu.VMEM(leaf.shape, leaf.dtype) for leaf in self.carry),
            ],
            compiler_params=pltpu.CompilerParams(
                dimension_semantics=("arbitrary",), vmem_limit_bytes=MEMORY
            ),
            interpret=interpret,
            name="scan_back",
            metadata={"steps": str(self.time)},
        )(*operands)

    def _moving(self, leaf: Any) -> pl.BlockSpec:
        """Of an array with an entry for each step or each block: those of the block at hand."""
        blocks, others = self.time // self.block, (0,) * (len(leaf.shape) - 1)
        size = leaf.shape[0] // blocks
        return pl.BlockSpec((size, *leaf.shape[1:]), lambda t: (blocks - 1 - t, *others))

    def _run(self, *refs: Any) -> None:
        xs, starts, ct_ys, ct_end, ct_start, ct_xs, states, ct_now = self._parts(refs)

        @pl.when(pl.program_id(0) == 0)
        def _():
            _store(ct_now, [ref[...] for ref in ct_end])

        def inputs(index: Any) -> list[Array]:
            values = [ref[index] for ref in xs]
            return [
                value != 0 if leaf.dtype == jnp.bool_ else value
                for value, leaf in zip(values, self.xs, strict=True)
            ]

        def again(index: Any, nothing: None) -> None:
            state = [ref[index] for ref in states]
            carry, _ = self._step([*state, *inputs(index)])
            _store(states, jax.tree.leaves(carry), index + 1)

        def back(index: Any, nothing: None) -> None:
            index = self.block - 1 - index
            x = inputs(index)
            changing = [*(ref[index] for ref in states), *floats(x)]

            def step(*changing: Array) -> list[Array]:
                carry, x_floats = changing[: len(self.carry)], changing[len(self.carry) :]
                return floats(self._step([*carry, *put_floats(x, x_floats)]))

            _, pull = jax.vjp(step, *changing)
            made = pull([*(ref[...] for ref in ct_now), *(ref[index] for ref in ct_ys)])
            _store(ct_now, made[: len(self.carry)])
            _store(ct_xs, made[len(self.carry) :], index)

        _store(states, [ref[0] for ref in starts], 0)
        jax.lax.fori_loop(0, self.block - 1, again, None)
        jax.lax.fori_loop(0, self.block, back, None)

        @pl.when(pl.program_id(0) == self.time // self.block - 1)
        def _():
            _store(ct_start, [ref[...] for ref in ct_now])

    def _step(self, leaves: Sequence[Array]) -> tuple[Carry, PyTree]:
        return self.body(*jax.tree.unflatten(self.structure, leaves))

    def _parts(self, refs: Sequence[Any]) -> Iterator[Sequence[Any]]:
        """The references to inputs, starts and cotangents of outputs and of the end; to cotangents
        of the start and of inputs; to the carries of the block and the cotangent now."""
        state = self.carry
        for part in (self.xs, state, self.ct_ys, state, state, self.ct_xs, state, state):
            yield refs[: len(part)]
            refs = refs[len(part) :]


def _store(refs: Sequence[Any], values: Sequence[Array], index: Any = ...) -> None:
    for ref, value in zip(refs, values, strict=True):
        ref[index] = value


def _of_one_step(xs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
