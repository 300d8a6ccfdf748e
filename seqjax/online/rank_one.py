"""UORO: an unbiased estimate of the influence, of the size of one state and one gradient."""

import dataclasses
import functools
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats
from seqjax.core.types import Array, BatchKeys, Carry, Params, PyTree
from seqjax.online.expectations import expect_causal, keys_of
from seqjax.online.learner import Learner, batch_of, over_rows
from seqjax.online.transition import (
    initial_state,
    leaves_of,
    pulled,
    state_after,
    vector,
    wide_dtype,
)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class RankOne:
    """`P_t` is estimated by the outer product `state weights'`.

    Attributes:
      state: `(*batch, n)`, one number for each of the state.
      weights: `(*batch, parameters)`, one for each floating-point parameter.
      key: `(*batch,)`, of the next signs.
    """

    state: Array
    weights: Array
    key: BatchKeys


def uoro(cell: Cell) -> Learner:
    """Unbiased online recurrent optimization: an influence of rank one, right on average.

        nu      = random signs, one for each number of the state
        a       = sqrt(|weights| / |J_t state|),   b = sqrt(|nu' I_t| / |nu|)
        state   = a J_t state + b nu
        weights = weights / a + nu' I_t / b

    The mean of `state weights'` over the signs is `P_t`, so that of the gradients is the gradient;
    a and b keep the variance small. Memory and time are those of one more pass through the step.
    The signs are drawn from keys, one for each sequence, that travel in the influence.

    Args:
      cell: any causal cell.

    Returns:
      A `Learner`, whose `init` takes a key: one, or `(*batch,)` of them.

    Raises:
      ValueError: if the cell is not causal; from `init` without a key, or if the state is
        complex.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> learner = sj.online.uoro(sj.gru(4))
      >>> params = learner.cell.init(jax.random.key(0), 3)
      >>> influence = learner.init(params, jnp.ones((2, 3)), jax.random.key(1))
      >>> influence.state.shape, influence.weights.shape
      ((2, 4), (2, 108))

    Source: Tallec and Ollivier 2017, arXiv:1702.05043.
    """
    expect_causal("uoro", cell)
    return _learner(cell)


@functools.lru_cache(maxsize=256)
def _learner(cell: Cell) -> Learner:
    """One for each cell, so that nothing is compiled twice."""
    own, call = _RankOne(cell), f"uoro({cell})"
    return Learner(cell, own.make, own.fresh, own.advance, own.pull, cell.step, call, draws=True)


@dataclasses.dataclass(frozen=True)
class _RankOne:
    """The functions of the learner."""

    cell: Cell

    def make(self, params: Params, x: PyTree, key: Any) -> RankOne:
        batch = batch_of(self.cell, x)
        keys = keys_of(f"uoro({self.cell})", key, batch)
        carry = self.cell.initial_carry(params, ())
        dtype = wide_dtype(carry)
        sizes = (sum(leaf.size for leaf in floats(tree)) for tree in (carry, params))
        state, weights = (jnp.zeros((*batch, size), dtype) for size in sizes)
        return self.fresh(params, RankOne(state, weights, keys))

    def fresh(self, params: Params, influence: RankOne) -> RankOne:
        run = over_rows(self._fresh_row, influence.state.ndim - 1)
        return run(params, influence)

    def _fresh_row(self, params: Params, influence: RankOne) -> RankOne:
        signs, key = self._signs(influence)
        every = range(len(floats(params)))
        begin = initial_state(self.cell.initial_carry, params, every)
        (direct,) = pulled(begin, (floats(params),), signs[None])
        return RankOne(signs, direct[0], key)

    def advance(self, params: Params, carry: Carry, influence: RankOne, x: PyTree) -> RankOne:
        run = over_rows(self._advance_row, len(batch_of(self.cell, x)))
        return run(params, carry, influence, x)

    def _advance_row(self, params: Params, carry: Carry, influence: RankOne, x: PyTree) -> RankOne:
        signs, key = self._signs(influence)
        weights, numbers = floats(params), floats(carry)
        move = state_after(self.cell.step, params, range(len(weights)), carry, x)
        tangent = leaves_of(influence.state, numbers)
        _, onward = jax.jvp(partial(move, weights), (numbers,), (tangent,))
        onward = vector(onward, signs.dtype)
        (direct,) = pulled(lambda weights: move(weights, numbers), (weights,), signs[None])
        a = _balance(influence.weights, onward)
        b = _balance(direct[0], signs)
        state = a * onward + b * signs
        return RankOne(state, influence.weights / a + direct[0] / b, key)

    def _signs(self, influence: RankOne) -> tuple[Array, Any]:
        key, own = jax.random.split(influence.key)
        shape, dtype = influence.state.shape, influence.state.dtype
        return jax.random.rademacher(own, shape, dtype), key

    def pull(self, params: Params, influence: RankOne, cotangent: Array) -> list[Array]:
        share = (cotangent * influence.state).sum(-1, keepdims=True)
        flat = (share * influence.weights).reshape(-1, influence.weights.shape[-1]).sum(0)
        wide = [jax.ShapeDtypeStruct(leaf.shape, flat.dtype) for leaf in floats(params)]
        return leaves_of(flat, wide)


def _balance(one: Array, other: Array) -> Array:
    """The root of a quotient of norms, and 1 where either is 0: the product is then 0 anyhow."""
    tops, bottoms = (jnp.linalg.norm(side) for side in (one, other))
    some = (tops > 0) & (bottoms > 0)
    return jnp.where(some, jnp.sqrt(tops / jnp.where(some, bottoms, 1)), 1.0)
