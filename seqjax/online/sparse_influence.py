"""The influence itself, as far as it is not zero and not left out."""

import dataclasses
import functools
import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, StepFn
from seqjax.core.trees import floats
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.online.expectations import InfluenceSizeError
from seqjax.online.learner import Learner, batch_of, over_rows
from seqjax.online.sparsity import Sparsity, sparsity_of
from seqjax.online.transition import (
    chosen,
    initial_state,
    leaves_of,
    pulled,
    state_after,
    wide_dtype,
)

LIMIT = 2 << 30
"""Bytes of an influence above which an algorithm asks before it makes one."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class SparseInfluence:
    """The entries of `P_t` that are kept, group by group.

    Attributes:
      blocks: `(*batch, groups, k, m)` for each bundle of groups: how m parameters move k numbers of
        the state. In float32 at least.
      sparsity: which parameters and which numbers.
    """

    blocks: tuple[PyTree, ...]
    sparsity: Sparsity = dataclasses.field(metadata={"static": True})


@functools.lru_cache(maxsize=256)
def sparse_learner(
    cell: Cell, step: StepFn, observed: StepFn, steps: int | None, limit: int | float, call: str
) -> Learner:
    """The learner of a step, whose Jacobians make the influence, and of a pattern.

    Equal calls return the same one, so that nothing is compiled twice.
    """
    own = _Sparse(cell, step, steps, limit, call)
    return Learner(cell, own.make, own.fresh, own.advance, own.pull, observed, call)


@dataclasses.dataclass(frozen=True)
class _Sparse:
    """The functions of a learner that keeps a part of the influence."""

    cell: Cell
    step: StepFn
    steps: int | None
    limit: int | float
    call: str

    def make(self, params: Params, x: PyTree, key: Any) -> SparseInfluence:
        batch = batch_of(self.cell, x)
        carry = jax.eval_shape(lambda params: self.cell.initial_carry(params, ()), params)
        row = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[len(batch) :], jnp.result_type(leaf)),
            x,
        )
        pattern = sparsity_of(self.cell, self.step, params, carry, row, self.steps)
        dtype = wide_dtype(carry)
        self._expect_small(params, carry, pattern, batch, jnp.dtype(dtype).itemsize)
        shapes = [(*batch, *bundle.shape) for bundle in pattern.bundles]
        blocks = tuple(jnp.zeros(shape, dtype) for shape in shapes)
        return self.fresh(params, SparseInfluence(blocks, pattern))

    def _expect_small(
        self, params: Params, carry: Carry, pattern: Sparsity, batch: tuple[int, ...], item: int
    ) -> None:
        rows, size = math.prod(batch), pattern.size * item
        if size * rows <= self.limit:
            return
        weights = sum(leaf.size for leaf in floats(params))
        state = sum(leaf.size for leaf in floats(carry))
        raise InfluenceSizeError(
            self.call, limit=self.limit, weights=weights, state=state, size=size, rows=rows
        )

    def fresh(self, params: Params, influence: SparseInfluence) -> SparseInfluence:
        pattern, blocks = influence.sparsity, influence.blocks
        if not pattern.starts:
            return dataclasses.replace(influence, blocks=tuple(map(jnp.zeros_like, blocks)))
        begin = initial_state(self.cell.initial_carry, params, pattern.which)
        weights = chosen(params, pattern.which)
        (direct,) = pulled(begin, (weights,), pattern.seeds(blocks[0].dtype))
        parts = _direct(pattern, direct)
        spread = (jnp.broadcast_to(p, b.shape) for p, b in zip(parts, blocks, strict=True))
        return dataclasses.replace(influence, blocks=tuple(spread))

    def advance(
        self, params: Params, carry: Carry, influence: SparseInfluence, x: PyTree
    ) -> SparseInfluence:
        pattern = influence.sparsity
        if not pattern.bundles:
            return influence
        row = partial(self._advance_row, pattern)
        run = over_rows(row, len(batch_of(self.cell, x)))
        return dataclasses.replace(influence, blocks=run(params, carry, influence.blocks, x))

    def _advance_row(
        self, pattern: Sparsity, params: Params, carry: Carry, blocks: tuple, x: PyTree
    ) -> tuple[Array, ...]:
        dtype = blocks[0].dtype
        move = state_after(self.step, params, pattern.which, carry, x)
        weights, numbers = chosen(params, pattern.which), floats(carry)
        seeds = pattern.seeds(dtype)
        if pattern.closed:
            # Of the numbers with one colour at most one depends on those of a group.
            direct, slopes = pulled(move, (weights, numbers), seeds)
            colours = pattern.colours
        else:
            (direct,) = pulled(lambda weights: move(weights, numbers), (weights,), seeds)
            units = jnp.eye(seeds.shape[1], dtype=dtype)
            (slopes,) = pulled(lambda numbers: move(weights, numbers), (numbers,), units)
            colours = jnp.arange(seeds.shape[1])
        after = []
        for bundle, block, own in zip(
            pattern.bundles, blocks, _direct(pattern, direct), strict=True
        ):
            rows = colours[bundle.states]
            slope = slopes[rows[:, :, None], bundle.states[:, None, :]]
            after.append(jnp.einsum("gab,gbm->gam", slope, block) + own)
        return tuple(after)

    def pull(self, params: Params, influence: SparseInfluence, cotangent: Array) -> list[Array]:
        pattern, leaves = influence.sparsity, floats(params)
        dtype = cotangent.dtype
        found = [jnp.zeros(leaf.shape, dtype) for leaf in leaves]
        if not pattern.bundles:
            return found
        parts = []
        for bundle, block in zip(pattern.bundles, influence.blocks, strict=True):
            d = cotangent[..., bundle.states]
            pulled = jnp.einsum("...gk,...gkm->...gm", d, block)
            parts.append(pulled.reshape(-1, *pulled.shape[-2:]).sum(0).reshape(-1))
        flat = jnp.concatenate([*parts, jnp.zeros((1,), dtype)])[pattern.place]
        wide = [jax.ShapeDtypeStruct(leaf.shape, dtype) for leaf in chosen(params, pattern.which)]
        for index, leaf in zip(pattern.which, leaves_of(flat, wide), strict=True):
            found[index] = leaf
        return found


def _direct(pattern: Sparsity, rows: Array) -> list[Array]:
    """From rows `(colours, parameters)` of a Jacobian its blocks, `(groups, k, m)` each."""
    return [
        rows[pattern.colours[bundle.states][:, :, None], bundle.members[:, None, :]]
        for bundle in pattern.bundles
    ]
