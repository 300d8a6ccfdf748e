"""How much of step j is left at step i, inside a chunk: exponents are masked before `exp`."""

import dataclasses
import math
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array

BLOCK = 16
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
        g = self.log_decay
        assert g is not None
        block = self.block
        blocks = self.size // block
        split = lambda a: a.reshape(*a.shape[:-2], blocks, block, a.shape[-1])  # noqa: E731
        g, left, right = map(split, (g, left, right))
        ones = partial(jnp.ones, (block, block), g.dtype)
        upto = exact("ij,...jk->...ik", jnp.tril(ones(), -1 if before else 0), g)
        after = exact("ij,...jk->...ik", jnp.triu(ones(), 1), g)
        total = g.sum(-2)
        near = self._near(left, right, upto, exact("ij,...jk->...ik", jnp.tril(ones()), g), before)
        # Blocks apart: up to the end of the one, all of those between, into the other.
        rows = []
        for row in range(blocks):
            parts = [jnp.zeros_like(near[..., 0, :, :])] * (blocks - 1 - row)
            far, between = [], None
            for column in range(row)[::-1]:
                exponent = after[..., column, :, :]
                if between is not None:
                    exponent = exponent + between[..., None, :]
                far.append(right[..., column, :, :] * jnp.exp(exponent))
                this = total[..., column, :]
                between = this if between is None else between + this
            seen = left[..., row, :, :] * jnp.exp(upto[..., row, :, :])
            if far:
                others = jnp.concatenate(far[::-1], axis=-2)
                parts = [
                    jnp.einsum("...ik,...jk->...ij", seen, others),
                    near[..., row, :, :],
                    *parts,
                ]
            else:
                parts = [near[..., row, :, :], *parts]
            rows.append(jnp.concatenate(parts, axis=-1))
        return jnp.concatenate(rows, axis=-2)

    def _near(self, left, right, upto, through, before: bool) -> Array:
        """Scores inside blocks, `through` being the sums up to j itself."""
        if self.least is not None:
            # No factor overflows, and what i does not see is left out by selection.
            return jnp.einsum("...ik,...jk->...ij", left * jnp.exp(upto), right * jnp.exp(-through))
        i, j = (jax.lax.broadcasted_iota(jnp.int32, (self.block, self.block), d) for d in (0, 1))
        seen = (j < i if before else j <= i)[..., None]
        exponent = upto[..., :, None, :] - through[..., None, :, :]
        exponent = jnp.where(like(seen, exponent.ndim), exponent, -jnp.inf)
        return (left[..., :, None, :] * right[..., None, :, :] * jnp.exp(exponent)).sum(-1)

    @cached_property
    def block(self) -> int:
        """Steps of a block; it divides the chunk."""
        most = BLOCK
        if self.least is not None:
            most = max(1, int(LARGEST_EXPONENT / max(-self.least, 1e-6)))
        return math.gcd(self.size, 2 ** int(math.log2(min(most, self.size))))


def like(array: Array, ndim: int) -> Array:
    """With leading axes of size 1 up to rank `ndim`."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def exact(form: str, *operands: Any) -> Array:
    """An einsum in full precision: it sums exponents."""
    return jnp.einsum(form, *operands, precision=jax.lax.Precision.HIGHEST)
