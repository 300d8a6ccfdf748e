"""How much of step j is left at step i, inside a chunk.

One decay per head: an exponent for each pair of steps, masked before `exp`. One per channel: scores
inside blocks of steps, then neighbouring blocks are joined by products whose factors are at most 1.
Inside a block, `sum_k left[i, k] right[j, k] exp(upto[i, k] - upto[j, k])` is one product of
matrices if the decays are mild enough for `exp(-upto[j, k])`; if not, it is summed pair by pair,
in smaller blocks and with exponents masked before `exp`. Where nothing is known before, that is
decided while it runs, for all steps at hand: so a strong decay in a later step, or in another
row, can change the last digits of an output, and nothing more.
"""

import dataclasses
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp

from seqjax.core.types import Array

LARGEST_EXPONENT = 60.0
"""Mild: in a block no factor is above `exp` of this."""


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
      least: a lower bound of `log_decay` per channel, or None.
      block: steps of a block that is one product where its decays are mild, a power of two.
      strong_block: the same where they are formed pair by pair.
    """

    log_decay: Array | None
    segments: Array | None
    size: int
    per_channel: bool
    least: float | None
    block: int
    strong_block: int

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
        mild = partial(_scores_by_products, before=before)
        if self._mild_for is not None:
            return mild(left, right, g, block=min(self.size, self._mild_for))
        small = min(self.size, self.strong_block)
        strong = partial(_scores_pair_by_pair, block=small, before=before)
        if self.size == small:
            return strong(left, right, g)
        mild = partial(mild, block=min(self.size, self.block))
        # Without checkpoints the backward pass would store what either of the two needs.
        either = jax.checkpoint(mild), jax.checkpoint(strong)
        return jax.lax.cond(self._are_mild, *either, left, right, g)

    @cached_property
    def _are_mild(self) -> Array:
        """Whether the decays of all blocks are."""
        assert self.log_decay is not None
        blocks = _split(self.log_decay, min(self.size, self.block))
        return (jnp.abs(blocks).sum(-2) <= LARGEST_EXPONENT).all()

    @cached_property
    def _mild_for(self) -> int | None:
        """A number of steps, a power of two, over which decays are mild whatever the inputs."""
        if self.least is None:
            return None
        steps = int(LARGEST_EXPONENT / max(-self.least, 1e-6))
        return 1 << (steps.bit_length() - 1) if steps >= self.block else None


def _scores_by_products(left: Array, right: Array, g: Array, *, block: int, before: bool) -> Array:
    """Scores from mild decays; what is found for steps that i does not see means nothing."""
    near = _split(g, block)
    seen = _split(left, block) * jnp.exp(_upto(near, before=before))
    kept = _split(right, block) * jnp.exp(-_upto(near, before=False))
    return _joined(jnp.einsum("...ik,...jk->...ij", seen, kept), left, right, g, before)


def _scores_pair_by_pair(left: Array, right: Array, g: Array, *, block: int, before: bool) -> Array:
    """Scores from any decays: exponents are masked before `exp`."""
    # All blocks along one axis: XLA for CPUs (jaxlib 0.10.2) crashes in sums of products that have
    # seven axes.
    # Split, then joined: a mesh that is Explicit takes no reshape that does both.
    rows, columns, near = (
        _split(a, block).reshape(-1, block, a.shape[-1]) for a in (left, right, g)
    )
    exponent = _upto(near, before=before)[:, :, None] - _upto(near, before=False)[:, None]
    i, j = (jax.lax.broadcasted_iota(jnp.int32, (block, block), d) for d in (0, 1))
    seen = (j < i if before else j <= i)[None, ..., None]
    exponent = jnp.where(seen, exponent, -jnp.inf)
    found = (rows[:, :, None] * columns[:, None] * jnp.exp(exponent)).sum(-1)
    found = found.reshape(*left.shape[:-2], -1, block, block)
    return _joined(found, left, right, g, before)


def _joined(found: Array, left: Array, right: Array, g: Array, before: bool) -> Array:
    """From the scores inside blocks those of the chunk: neighbours become one, again and again."""
    while (block := found.shape[-1]) < g.shape[-2]:
        halves = lambda a: (half[..., 0, :, :] for half in jnp.split(_split(a, 2, block), 2, -3))  # noqa: E731
        # From j to the end of the first, on to i in the second.
        (_, seen), (kept, _), (first, second) = map(halves, (left, right, g))
        seen = seen * jnp.exp(_upto(second, before=before))
        kept = kept * jnp.exp(_after(first))
        corner = jnp.einsum("...ik,...jk->...ij", seen, kept)
        above, below = found[..., 0::2, :, :], found[..., 1::2, :, :]
        top = jnp.concatenate([above, jnp.zeros_like(above)], axis=-1)
        found = jnp.concatenate([top, jnp.concatenate([corner, below], axis=-1)], axis=-2)
    return found[..., 0, :, :]


def _split(a: Array, *sizes: int) -> Array:
    """Steps in blocks: `(..., C, k)` as `(..., blocks, *sizes, k)`."""
    return a.reshape(*a.shape[:-2], -1, *sizes, a.shape[-1])


def _upto(g: Array, *, before: bool) -> Array:
    """Sums of `(..., steps, k)` up to each step, itself included unless `before`."""
    ones = jnp.ones((g.shape[-2],) * 2, g.dtype)
    return exact("ij,...jk->...ik", jnp.tril(ones, -1 if before else 0), g)


def _after(g: Array) -> Array:
    """Sums over the steps after each step."""
    ones = jnp.ones((g.shape[-2],) * 2, g.dtype)
    return exact("ij,...jk->...ik", jnp.triu(ones, 1), g)


def like(array: Array, ndim: int) -> Array:
    """With leading axes of size 1 up to rank `ndim`."""
    return array.reshape((1,) * (ndim - array.ndim) + array.shape)


def exact(form: str, *operands: Any) -> Array:
    """An einsum in full precision: it sums exponents."""
    return jnp.einsum(form, *operands, precision=jax.lax.Precision.HIGHEST)
