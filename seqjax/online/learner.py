"""What an algorithm for learning online is: an influence, a step of it, and gradients from it."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, StepFn
from seqjax.core.masks import select
from seqjax.core.noise import with_keys_of
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Params, PyTree
from seqjax.engines.boundaries import Boundaries
from seqjax.online.expectations import expect_cotangent, expect_flags, expect_influence
from seqjax.online.transition import expect_real_state, vector, wide_dtype

Influence = PyTree
"""Arrays `(*batch, ...)`: how a state depends on the parameters through all steps so far."""


@dataclasses.dataclass(frozen=True, repr=False)
class Learner:
    """A cell and a way to carry the derivative of its state forward in time.

    With `s` the floating-point numbers of a carry and `w` those of the parameters,

        P_t = J_t P_{t-1} + I_t,     J_t = ds_t / ds_{t-1},     I_t = ds_t / dw at a fixed s_{t-1}

    is the influence of `w` on `s_t` through all steps so far; algorithms differ in what they keep
    of it. A learner holds no arrays; like a cell it is static.

    Args:
      cell: any causal cell with a real state.
      make: `(params, x, key) -> influence`, that of the initial carry; `x` is the input of one
        step, of which the shape counts. `key` is for algorithms that draw numbers, else None.
      fresh: `(params, influence) -> influence` after a reset: that of the initial carry.
      advance: `(params, carry, influence, x) -> influence` after a step from this carry.
      pull: `(params, influence, cotangent) -> gradients` of the floating-point leaves of the
        parameters, from cotangents `(*batch, n)` of the state, summed over the batch.
      observed: the step through which the loss of a step is differentiated, by default that of the
        cell.
      call: how the learner prints.
      draws: whether `make` needs a key.
    """

    cell: Cell
    make: Callable[..., Influence]
    fresh: Callable[[Params, Influence], Influence]
    advance: Callable[[Params, Carry, Influence, PyTree], Influence]
    pull: Callable[[Params, Influence, Array], list[Array]]
    observed: StepFn
    call: str
    draws: bool = False

    def init(self, params: Params, x: PyTree, key: Any = None) -> Influence:
        """The influence of the initial carry: zeros, unless that is learned.

        Args:
          params: of the cell.
          x: the input of one step `(*batch, ...)`; only its shape counts.
          key: for `uoro`, and only for it.
        """
        if key is not None and not self.draws:
            raise ValueError(f"{self}: expected no `key`, as it draws no numbers.")
        expect_real_state(self.call, self.cell.initial_carry(params, ()))
        return self.make(params, x, key)

    def step(
        self,
        params: Params,
        carry: Carry,
        influence: Influence,
        x: PyTree,
        mask: Array | None = None,
        reset: Array | None = None,
    ) -> tuple[Carry, Influence, PyTree]:
        """One step in time of the carry and of its influence; a body for `jax.lax.scan`.

        Args:
          params: of the cell.
          carry: before the step.
          influence: of the parameters on this carry.
          x: `(*batch, inputs)`.
          mask: `(*batch,)` bool; where it is False, carry and influence stay as they are.
          reset: `(*batch,)` bool; where it is True, both start anew before the step.

        Returns:
          `(carry, influence, y)`.
        """
        for name, value in (("mask", mask), ("reset", reset)):
            expect_flags(self, name, value, batch_of(self.cell, x))
        expect_influence(self, params, x, influence)
        flags, x = Boundaries(mask, reset), without_masked(x, mask)
        start, before = self.begun(params, carry, influence, flags)
        new, y = self.cell.step(params, start, x)
        after = self.advance(params, start, before, x)
        return flags.hold(new, carry), flags.hold(after, influence), y

    def gradient(self, params: Params, influence: Influence, cotangent: Carry) -> Params:
        """The gradient of the parameters through a state, `cotangent P_t`, summed over the batch.

        Args:
          params: of the cell.
          influence: on the state.
          cotangent: the derivative of a loss with respect to the state, a tree like the carry;
            leaves that are no floating-point numbers do not count.

        Returns:
          A tree like the parameters; zeros for leaves that cannot be differentiated.
        """
        expect_cotangent(self, self.cell.initial_carry(params, ()), cotangent)
        found = self.pull(params, influence, self.cotangents(params, cotangent))
        zeros = jax.tree.map(jnp.zeros_like, params)
        like = zip(found, floats(params), strict=True)
        return put_floats(zeros, [leaf.astype(own.dtype) for leaf, own in like])

    def cotangents(self, params: Params, carry: Carry) -> Array:
        """The floating-point leaves of a tree like a carry as vectors `(*batch, n)`."""
        leaves, own = floats(carry), floats(self.cell.initial_carry(params, ()))
        pack = partial(vector, dtype=wide_dtype(carry))
        for _ in range(leaves[0].ndim - own[0].ndim if own else 0):
            pack = jax.vmap(pack)
        return pack(leaves)

    def begun(
        self, params: Params, carry: Carry, influence: Influence, flags: Boundaries
    ) -> tuple[Carry, Influence]:
        """The carry and the influence that a step starts from, after any reset."""
        if flags.resets is None:
            return carry, influence
        initial = with_keys_of(self.cell.initial_carry(params, flags.resets.shape), carry)
        fresh = self.fresh(params, influence)
        anew = jax.tree.map(partial(select, flags.resets), fresh, influence)
        return flags.reset(initial, carry), anew

    def __repr__(self) -> str:
        return self.call


def without_masked(xs: PyTree, mask: Array | None) -> PyTree:
    """Inputs with zeros at masked steps, so that no NaN in one reaches a derivative."""
    if mask is None:
        return xs
    return jax.tree.map(lambda leaf: select(mask, leaf, jnp.zeros_like(leaf)), xs)


def over_rows(function: Callable[..., Any], batch_ndim: int) -> Callable[..., Any]:
    """`function(params, *rows)` for arguments with batch dimensions; parameters have none."""

    def run(params: Params, *rows: PyTree) -> Any:
        own = partial(function, params)
        for _ in range(batch_ndim):
            own = jax.vmap(own)
        return own(*rows)

    return run


def batch_of(cell: Cell, x: PyTree) -> tuple[int, ...]:
    """The batch dimensions of the input of one step."""
    leaf, rank = jax.tree.leaves(x)[0], jax.tree.leaves(cell.input_ndim)[0]
    return jnp.shape(leaf)[: jnp.ndim(leaf) - rank]
