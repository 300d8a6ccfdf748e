"""What happens around a step: cut, reset, step, hold. Every engine goes by this rule."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.masks import select
from seqjax.core.noise import restart, with_dtypes_of
from seqjax.core.types import Array, Carry, PyTree


class Boundaries(NamedTuple):
    """The flags of one step `(*batch,)` or of many `(time, *batch)`, or None for none.

    `valid`: the step counts; `resets`: the state starts anew before it; `cuts`: no gradient
    crosses into it. All are selections, so no NaN crosses them, in values or in gradients.
    """

    valid: Array | None = None
    resets: Array | None = None
    cuts: Array | None = None

    def cut(self, carry: Carry) -> Carry:
        """The carry, constant where the gradient is cut."""
        cuts, stop = self.cuts, jax.lax.stop_gradient
        if cuts is None:
            return carry
        return jax.tree.map(lambda leaf: select(cuts, stop(leaf), leaf), carry)

    def reset(self, initial: Carry, carry: Carry) -> Carry:
        """The initial carry where the state starts anew, else the carry.

        The initial carry may be wider: its gradient then adds up over resets as it is.
        """
        if self.resets is None:
            return carry
        return restart(self.resets, with_dtypes_of(initial, carry), carry)

    def hold(self, new: PyTree, old: PyTree) -> PyTree:
        """The new values at steps that count, else the old ones, from before any reset."""
        if self.valid is None:
            return new
        return jax.tree.map(partial(select, self.valid), new, old)

    def step(
        self, advance: Callable[[Carry], tuple[Carry, PyTree]], initial: Carry, carry: Carry
    ) -> tuple[Carry, PyTree]:
        """One step within its boundaries: `advance` takes the carry it starts from."""
        carry = self.cut(carry)
        new, made = advance(self.reset(initial, carry))
        return self.hold(new, carry), made

    def push(
        self,
        advance: Callable[[list[Array]], tuple[list[Array], PyTree]],
        d_initial: list[Array] | None,
        d_carry: list[Array],
    ) -> tuple[list[Array], PyTree]:
        """The derivative of `step`; tangents of carries are lists of floating-point leaves.

        Args:
          advance: the tangents after the step and of what it makes, from those before it.
          d_initial: the tangents of the initial carry, None if they are zero.
          d_carry: the tangents of the carry before the step.
        """
        nothing = [jnp.zeros_like(d) for d in d_carry]
        if self.cuts is not None:
            d_carry = [select(self.cuts, *pair) for pair in zip(nothing, d_carry, strict=True)]
        d_start = d_carry
        if self.resets is not None:
            fresh = [d.astype(n.dtype) for d, n in zip(d_initial or nothing, nothing, strict=True)]
            d_start = [select(self.resets, *pair) for pair in zip(fresh, d_carry, strict=True)]
        d_new, d_made = advance(d_start)
        return self.hold(d_new, d_carry), d_made
