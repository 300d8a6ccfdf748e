"""How much of step j is left at step i, inside a chunk: exponents are masked before `exp`."""

import dataclasses
import math
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array

BLOCK = 4
"""Steps between which decays per channel are formed one by one where nothing bounds them."""

LARGEST_EXPONENT = 40.0
"""Where they are bounded, no factor is formed above `exp` of this."""


@dataclasses.dataclass(frozen=True)
class Decays:
    """The decays of chunks of C steps, as sums of logarithms between steps.

    Sums are made of the terms between two steps, not as the difference of two longer sums, so a
    strong decay somewhere costs no digits elsewhere. Only inside a block, where there would be
    one sum for each pair of steps and each channel, they are differences within that block.

    Args:
      log_decay: `(..., C)` for one factor per head, `(..., C, keys)` per channel, or None.
      segments: `(..., C)` numbers, steps of one run between resets sharing one; or None.
      size: C.
      per_channel: whether `log_decay` has channels.
      least: a lower bound of `log_decay`, or None.
    """

    log_decay: Array | None
    segments: Array | None
    size: int
    per_channel: bool
    least: float | None

    def allowed(self, *, before: bool) -> Array:
        """Which steps j a step i sees: those up to itself, or strictly before it."""
        i, j = (jax.lax.broadcasted_iota(jnp.int32, (self.size, self.size), d) for d in (0, 1))
        within = j < i if before else j <= i
        if self.segments is None:
            return within
        same = self.segments[..., :, None] == self.segments[..., None, :]
        return same & within.reshape((1,) * (same.ndim - 2) + within.shape)

    def since_start(self, *, before: bool) -> Array | None:
        """Sums from the start of a step's segment, or of the chunk, up to it: `(..., C, 1 or
        keys)`."""
        return self._sums(self.allowed(before=before))

    def until_end(self) -> Array | None:
        """Sums over the steps after each step: `(..., C, 1 or keys)`."""
        i, j = (jax.lax.broadcasted_iota(jnp.int32, (self.size, self.size), d) for d in (0, 1))
        return self._sums(j > i)

    def between(self, *, before: bool) -> Array:
        """Sums over the steps after j up to i (before i), -inf where i does not see j."""
        assert not self.per_channel
        allowed = self.allowed(before=before)
        if self.log_decay is None:
            return jnp.where(allowed, 0.0, -jnp.inf)
        after = jax.lax.broadcasted_iota(jnp.int32, (self.size, self.size), 0)
        after = after > jax.lax.broadcasted_iota(jnp.int32, (self.size, self.size), 1)
        g = self.log_decay
        terms = jnp.where(like(after, g.ndim + 1), g[..., :, None], 0.0)
        upto = jnp.tril(jnp.ones((self.size, self.size), g.dtype), -1 if before else 0)
        sums = exact("il,...lj->...ij", upto, terms)
        return jnp.where(like(allowed, sums.ndim), sums, -jnp.inf)

    def scores(self, left: Array, right: Array, *, before: bool) -> Array:
        """`sum_k left[i, k] right[j, k] exp(what is between)`: `(..., C, C)`."""
        if not self.per_channel:
            products = jnp.einsum("...ik,...jk->...ij", left, right)
            if self.log_decay is None:
                allowed = self.allowed(before=before)
                return jnp.where(like(allowed, products.ndim), products, 0.0)
            return products * jnp.exp(self.between(before=before))
        products = self._scores_per_channel(left, right, before=before)
        allowed = self.allowed(before=before)
        return jnp.where(like(allowed, products.ndim), products, 0.0)

    def _sums(self, which: Array) -> Array | None:
        g = self.log_decay
        if g is None:
            return None
        g = g if self.per_channel else g[..., None]
        which = which.astype(g.dtype)
        if which.ndim == 2:
            return exact("ij,...jk->...ik", which, g)
        return exact("...ij,...jk->...ik", which, g)

    def _scores_per_channel(self, left: Array, right: Array, *, before: bool) -> Array:
        g, block = self.log_decay, self.block
        assert g is not None
        split = lambda a, *sizes: a.reshape(*a.shape[:-2], -1, *sizes, a.shape[-1])  # noqa: E731
        sums = partial(exact, "ij,...jk->...ik")
        lower = lambda size, k: jnp.tril(jnp.ones((size, size), g.dtype), k)  # noqa: E731
        last = -1 if before else 0
        near = split(g, block)
        found = self._near(
            split(left, block), split(right, block), sums(lower(block, last), near),
            sums(lower(block, 0), near), before,
        )  # fmt: skip
        while block < self.size:
            # Two neighbours become one: from j to the end of the first, on to i in the second.
            first, second = (split(g, 2, block)[..., half, :, :] for half in (0, 1))
            seen = split(left, 2, block)[..., 1, :, :] * jnp.exp(sums(lower(block, last), second))
            kept = split(right, 2, block)[..., 0, :, :] * jnp.exp(sums(lower(block, -1).T, first))
            corner = jnp.einsum("...ik,...jk->...ij", seen, kept)
            above, below = found[..., 0::2, :, :], found[..., 1::2, :, :]
            top = jnp.concatenate([above, jnp.zeros_like(above)], axis=-1)
            found = jnp.concatenate([top, jnp.concatenate([corner, below], axis=-1)], axis=-2)
            block *= 2
        return found[..., 0, :, :]

    def _near(self, left, right, upto, through, before: bool) -> Array:
        """Scores inside blocks, `through` being the sums up to j itself."""
        if self._bounded is not None:
            # No factor overflows, and what i does not see is left out by selection.
            return jnp.einsum("...ik,...jk->...ij", left * jnp.exp(upto), right * jnp.exp(-through))
        i, j = (jax.lax.broadcasted_iota(jnp.int32, (self.block, self.block), d) for d in (0, 1))
        seen = (j < i if before else j <= i)[..., None]
        exponent = upto[..., :, None, :] - through[..., None, :, :]
        exponent = jnp.where(like(seen, exponent.ndim), exponent, -jnp.inf)
        return (left[..., :, None, :] * right[..., None, :, :] * jnp.exp(exponent)).sum(-1)

    @cached_property
    def block(self) -> int:
        """Steps of a block; it divides the chunk, both being powers of two."""
        most = self._bounded or BLOCK
        return min(self.size, 2 ** int(math.log2(most)))

    @cached_property
    def _bounded(self) -> int | None:
        """Over how many steps no factor goes above the largest; None if that is no whole block.

        Nor would smaller blocks do: with two steps a block, programs that XLA made for CPUs (jax
        0.10.2) crashed.
        """
        if self.least is None:
            return None
        steps = int(LARGEST_EXPONENT / max(-self.least, 1e-6))
        return steps if steps >= BLOCK else None


def like(array: Array, ndim: int) -> Array:
    """With leading axes of size 1 up to rank `ndim`."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def exact(form: str, *operands: Any) -> Array:
    """An einsum in full precision: it sums exponents."""
    return jnp.einsum(form, *operands, precision=jax.lax.Precision.HIGHEST)
