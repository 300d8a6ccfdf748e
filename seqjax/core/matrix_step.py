"""One step of a matrix memory: what it forgets, writes and reads, as one record."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.types import Array


class Access(NamedTuple):
    """What one step does to a memory S, for each head a matrix `(keys, values)`.

        D = exp(log_decay)                              1 if it is None
        S = D S                                         forget
        S = S + key value'                              write: add
        S = S + rate key (value - S' key)'              with a `rate`: correct, the delta rule
        S = S + key (value - S' erase)'                 with an `erase`: a key of its own to erase
        S = D S_before + b (S_before' a)' + key value'  with `low_rank=(a, b)`
        o = S' query                                    read
        o = S_before' (query) + (query . bonus key) value     with a `bonus`: before the write

    Fields that are None leave their line out, and at most one of `rate`, `erase` and `low_rank` is
    given. A prime transposes; `S_before` is the memory before the step, also before it forgets.

    Args:
      query: `(*batch, heads, keys)`.
      key: `(*batch, heads, keys)`.
      value: `(*batch, heads, values)`. A column of ones makes a normaliser: its reading is the
        sum of all weights.
      log_decay: at most 0, or the memory grows; `(*batch, heads)` for one factor per head,
        `(*batch, heads, keys)` for one per channel, None to forget nothing.
      rate: `(*batch, heads)`; None to add.
      erase: `(*batch, heads, keys)`, or None. With `erase = rate key` and `rate value` in place of
        the value it is the delta rule.
      low_rank: a pair of `(*batch, heads, keys)`, or None.
      bonus: `(*batch, heads, keys)`, or None to read after the write. Not with `rate` or `erase`.
      log_input: `(*batch, heads)`, the logarithm of a factor of the write, any size; or None.
        For cells with `stabilized=True`, and only with additive writes, one decay per head and
        no bonus.

    `log_decay`, `rate` and `log_input` may also be a number or `(heads,)`, the same at all steps;
    axes of size 1 are repeated.
    """

    query: Array
    key: Array
    value: Array
    log_decay: Array | None = None
    rate: Array | None = None
    erase: Array | None = None
    low_rank: tuple[Array, Array] | None = None
    bonus: Array | None = None
    log_input: Array | None = None

    @property
    def decays_per_channel(self) -> bool:
        return self.log_decay is not None and self.log_decay.ndim == self.key.ndim

    def each(
        self,
        *,
        key: Callable[[Array], Array],
        value: Callable[[Array], Array],
        head: Callable[[Array], Array],
    ) -> "Access":
        """With a function applied to all that is `(*batch, heads, keys)`, one to the value and one
        to all that is `(*batch, heads)`."""
        if_any = lambda function, leaf: None if leaf is None else function(leaf)  # noqa: E731
        pair = self.low_rank
        return Access(
            key(self.query),
            key(self.key),
            value(self.value),
            log_decay=if_any(key if self.decays_per_channel else head, self.log_decay),
            rate=if_any(head, self.rate),
            erase=if_any(key, self.erase),
            low_rank=None if pair is None else (key(pair[0]), key(pair[1])),
            bonus=if_any(key, self.bonus),
            log_input=if_any(head, self.log_input),
        )


@exportable
class MatrixState(NamedTuple):
    """What a matrix-state cell carries.

    `memory` `(*batch, heads, keys, values)`, float32 at least. `log_scale` `(*batch, heads)` if
    the cell is stabilized: the memory meant is `exp(log_scale) * memory`; else None.
    """

    memory: Array
    log_scale: Array | None = None

    settable = ()
    exponent = "log_scale"
    scaled = ("memory",)


class Scaled(NamedTuple):
    """A reading of a stabilized cell: it stands for `exp(log_scale) * values`.

    `values` `(*batch, heads, values)`, `log_scale` `(*batch, heads)`, which carries no gradient,
    as the numbers do not depend on it.
    """

    values: Array
    log_scale: Array


def advance(state: MatrixState, access: Access) -> tuple[MatrixState, Any]:
    """One step: the memory after it, and what was read."""
    scale = state.log_scale
    spread = MatrixState(state.memory, None if scale is None else scale[..., None, None])
    new, reading = advance_spread(spread, beside_memory(access), _sum_over_keys)
    scale = None if new.log_scale is None else new.log_scale[..., 0, 0]
    new = MatrixState(new.memory, scale)
    if isinstance(reading, Scaled):
        assert scale is not None
        return new, Scaled(reading.values[..., 0, :], scale)
    return new, reading[..., 0, :]


def beside_memory(access: Access) -> Access:
    """The access with axes of size 1, so that all of it can be multiplied with a memory
    `(..., keys, values)`."""
    return access.each(
        key=lambda a: a[..., None],
        value=lambda a: a[..., None, :],
        head=lambda a: a[..., None, None],
    )


def _sum_over_keys(a: Array, b: Array) -> Array:
    return jnp.einsum("...ki,...kj->...ij", b, a)


def advance_spread(
    state: MatrixState, access: Access, sum_over_keys: Callable[[Array, Array], Array]
) -> tuple[MatrixState, Any]:
    """One step in arrays that are as the memory, or have size 1 along its keys, its values or both.

    Args:
      state: the memory, and its scale as an array like it.
      access: as `beside_memory` makes it.
      sum_over_keys: of the product of an array with one that has no values, in an array that has
        no keys.

    Returns:
      The state and the reading in the same form.
    """
    query, key, value, log_decay, rate, erase, low_rank, bonus, log_input = access
    if log_input is not None:
        return _advance_stabilized(state, access, sum_over_keys)
    before = memory = state.memory
    if log_decay is not None:
        memory = jnp.exp(log_decay) * memory
    if low_rank is not None:
        a, b = low_rank
        memory = memory + b * sum_over_keys(before, a)
    if rate is not None:
        value = rate * (value - sum_over_keys(memory, key))
    if erase is not None:
        value = value - sum_over_keys(memory, erase)
    memory = memory + key * value
    if bonus is None:
        return MatrixState(memory), sum_over_keys(memory, query)
    at_once = sum_over_keys(query * bonus, key)
    return MatrixState(memory), sum_over_keys(before, query) + at_once * value


def _advance_stabilized(
    state: MatrixState, access: Access, sum_over_keys: Callable[[Array, Array], Array]
) -> tuple[MatrixState, Scaled]:
    assert access.log_input is not None and state.log_scale is not None
    kept = state.log_scale if access.log_decay is None else access.log_decay + state.log_scale
    # Any scale is right as long as all share it, so no gradient goes through it.
    scale = jax.lax.stop_gradient(jnp.maximum(kept, access.log_input))
    key = jnp.exp(access.log_input - scale) * access.key
    memory = jnp.exp(kept - scale) * state.memory + key * access.value
    return MatrixState(memory, scale), Scaled(sum_over_keys(memory, access.query), scale)
