"""The loop over the steps of a tile as one kernel, and its transpose as another."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.steps import time_of
from seqjax.core.types import Array, Carry, PyTree
from seqjax.engines.fused.invariant import apart
from seqjax.engines.fused.kernel import scan_in_kernel
from seqjax.engines.fused.linear_pair import linear_pair


@dataclasses.dataclass(frozen=True)
class KernelLoop:
    """The `Loop` of arrays with one dimension of rows.

    Args:
      block: steps whose inputs and results move together, at most.
    """

    block: int

    def scan(
        self,
        body: Callable[[Carry, PyTree], tuple[Carry, PyTree]],
        carry: Carry,
        xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[Carry, PyTree]:
        time = time_of(xs)
        block = max(size for size in range(1, min(self.block, time) + 1) if time % size == 0)
        return scan_in_kernel(body, carry, xs, block=block, reverse=reverse)

    def linear(
        self,
        body: Callable[..., tuple[list[Array], PyTree]],
        d_carry: list[Array],
        d_fixed: list[Array] | None,
        known: PyTree,
        d_xs: PyTree,
        *,
        reverse: bool,
    ) -> tuple[list[Array], PyTree]:
        tangents = (d_carry, d_fixed or [], d_xs)

        def step(known, d_carry, d_fixed, d_x):
            return body(d_carry, d_fixed or None, known, d_x)

        one_step = (_of_one_step(known), d_carry, d_fixed or [], _of_one_step(d_xs))
        fixed, rest, shape = apart(step, *one_step)
        like = jax.tree.map(lambda d: jax.ShapeDtypeStruct(d.shape, d.dtype), one_step[1:])
        loop = TangentLoop(
            self,
            rest,
            fixed=len(fixed),
            carries=len(like[0]),
            d_fixed=len(like[1]),
            like=tuple(jax.tree.leaves(like)),
            reverse=reverse,
        )
        known_leaves = [*fixed, *jax.tree.leaves(known)]
        made = linear_pair(loop.forward, loop.backward, known_leaves, jax.tree.leaves(tangents))
        return jax.tree.unflatten(jax.tree.structure(shape), made)


@dataclasses.dataclass(frozen=True)
class TangentLoop:
    """A loop that is linear in its tangents, both ways; all arrays come in lists.

    Args:
      kernels: what runs the way back.
      step: `(fixed, *known, *d_carry, *d_fixed, *d_x) -> [*d_carry, *d_y]`.
      fixed, carries, d_fixed: how many arrays there are of each.
      like: the shapes of all tangents of a step.
      reverse: whether the last step comes first, on the way forward.
    """

    kernels: KernelLoop
    step: Callable[..., list[Array]]
    fixed: int
    carries: int
    d_fixed: int
    like: tuple[jax.ShapeDtypeStruct, ...]
    reverse: bool

    def forward(self, known: Sequence[Array], tangents: Sequence[Array]) -> list[Array]:
        """The tangents after the last step and of what every step makes."""
        fixed, known = known[: self.fixed], known[self.fixed :]
        d_carry, d_fixed, d_xs = self._parts(tangents)

        def body(d_carry, now):
            known, d_x = now
            made = self.step(fixed, *known, *d_carry, *d_fixed, *d_x)
            return made[: self.carries], made[self.carries :]

        body = jax.checkpoint(body, prevent_cse=False)
        end, d_ys = jax.lax.scan(body, d_carry, (known, d_xs), reverse=self.reverse)
        return [*end, *d_ys]

    def backward(self, known: Sequence[Array], cotangents: Sequence[Array]) -> list[Array]:
        """Those of the tangents, from those of what `forward` returns."""
        fixed, known = known[: self.fixed], known[self.fixed :]
        end, ct_ys = list(cotangents[: self.carries]), list(cotangents[self.carries :])

        def body(carry, now):
            (ct_carry, total), (known, ct_y) = carry, now
            pull = jax.linear_transpose(lambda *d: self.step(fixed, *known, *d), *self.like)
            ct_carry, added, ct_x = self._parts(pull([*ct_carry, *ct_y]))
            return (ct_carry, [a + b for a, b in zip(total, added, strict=True)]), ct_x

        nothing = [jnp.zeros(d.shape, d.dtype) for d in self._parts(self.like)[1]]
        (start, total), ct_xs = self.kernels.scan(
            body, (end, nothing), (known, ct_ys), reverse=not self.reverse
        )
        return [*start, *total, *ct_xs]

    def _parts(self, leaves: Sequence[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        first, second = self.carries, self.carries + self.d_fixed
        return list(leaves[:first]), list(leaves[first:second]), list(leaves[second:])


def _of_one_step(xs: PyTree) -> PyTree:
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), xs)
