"""What a stretch of a matrix-state recurrence does to the memory at its start.

    S_end = T S + A

Where steps only forget and add, T is the product of the decays. Else T is a matrix on the side of
the keys, the same for all columns of values: a memory that starts as the identity and to which
nothing is written ends as T. It runs beside the memory itself, as `keys` columns more.
"""

import dataclasses

import jax
import jax.numpy as jnp

from seqjax.core.affine import NOTHING
from seqjax.core.cell import Cell
from seqjax.core.composition import Composition
from seqjax.core.masks import select
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import Access, MatrixState
from seqjax.core.steps import ScanFn, Steps
from seqjax.core.types import Array, Inputs, Params
from seqjax.engines.decays import exact


def matrix_stretch(recurrence: MatrixRecurrence, params: Params, xs: Inputs) -> Composition:
    """How stretches of a cell with this memory compose."""
    access = jax.eval_shape(recurrence.checked_access, params, xs)
    corrects = any(a is not None for a in (access.rate, access.erase, access.low_rank))
    return (CorrectingStretch if corrects else AddingStretch)(recurrence)


@dataclasses.dataclass(frozen=True)
class _MatrixStretch:
    """What both have in common."""

    recurrence: MatrixRecurrence
    forgets: bool = True

    def reach(self, carry: MatrixState, xs: Inputs, steps: Steps) -> int | None:
        return None

    def empty(self, carry: MatrixState) -> MatrixState:
        scale = carry.log_scale
        nothing = None if scale is None else jnp.full_like(scale, NOTHING)
        return MatrixState(jnp.zeros_like(carry.memory), nothing)


class AddingStretch(_MatrixStretch):
    """The `Composition` of memories that forget and add: T as the sum of the logarithms of all
    decays, `(*batch, heads)` or `(*batch, heads, keys)`; None without decays."""

    def summarize(
        self,
        scan: ScanFn,
        cell: Cell,
        params: Params,
        empty: MatrixState,
        initial: MatrixState,
        xs: Inputs,
        steps: Steps,
    ) -> tuple[Array | None, MatrixState]:
        end = scan(cell, params, empty, initial, xs, steps).carry
        decays = self.recurrence.checked_access(params, xs).log_decay
        if decays is None:
            return None, end
        decays = decays.astype(empty.memory.dtype)
        if steps.cuts is not None:
            # What lies before the last cut is held constant.
            cuts = steps.cuts.astype(jnp.int32)
            later = jax.lax.cumsum(cuts, reverse=not steps.reverse) > cuts
            decays = select(later, jax.lax.stop_gradient(decays), decays)
        if steps.valid is not None:
            decays = select(steps.valid, decays, jnp.zeros_like(decays))
        return decays.sum(0), end

    def chain(self, first: Array | None, second: Array | None) -> Array | None:
        return None if first is None or second is None else first + second

    def follow(self, transition: Array | None, carry: MatrixState, end: MatrixState) -> MatrixState:
        memory, scale = carry
        if scale is None or end.log_scale is None:
            if transition is not None:
                axes = (1,) * (memory.ndim - transition.ndim)
                memory = jnp.exp(transition).reshape(*transition.shape, *axes) * memory
            return MatrixState(memory + end.memory)
        kept = scale if transition is None else scale + transition
        # Any scale is right as long as all share it, so no gradient goes through it.
        both = jax.lax.stop_gradient(jnp.maximum(kept, end.log_scale))
        before, after = (jnp.exp(a - both)[..., None, None] for a in (kept, end.log_scale))
        return MatrixState(before * memory + after * end.memory, both)


class CorrectingStretch(_MatrixStretch):
    """The `Composition` of memories whose writes depend on what is there: T as a matrix,
    `(*batch, heads, keys, keys)`."""

    def summarize(
        self,
        scan: ScanFn,
        cell: Cell,
        params: Params,
        empty: MatrixState,
        initial: MatrixState,
        xs: Inputs,
        steps: Steps,
    ) -> tuple[Array, MatrixState]:
        keys, values = self.recurrence.keys, self.recurrence.values
        both = dataclasses.replace(
            self.recurrence, access=self._access, read_out=_nothing, values=values + keys
        )
        beside = Cell(
            init=cell.init,
            initial_carry=both.initial_carry,
            step=both.step,
            features=1,
            input_ndim=cell.input_ndim,
            structure=both,
            call=cell.call,
        )
        square = (*empty.memory.shape[:-1], keys)
        one = jnp.broadcast_to(jnp.eye(keys, dtype=empty.memory.dtype), square)
        start, anew = (
            MatrixState(jnp.concatenate([state.memory, turned], axis=-1))
            for state, turned in ((empty, one), (initial, jnp.zeros_like(one)))
        )
        end = scan(beside, params, start, anew, xs, steps).carry.memory
        return end[..., values:], MatrixState(end[..., :values])

    def _access(self, params: Params, x: Inputs) -> Access:
        """The steps, which write nothing into the columns that were added."""
        access = self.recurrence.checked_access(params, x)
        value = access.value
        nothing = jnp.zeros((*value.shape[:-1], self.recurrence.keys), value.dtype)
        return access._replace(value=jnp.concatenate([value, nothing], axis=-1))

    def chain(self, first: Array, second: Array) -> Array:
        return exact("...ij,...jk->...ik", second, first)

    def follow(self, transition: Array, carry: MatrixState, end: MatrixState) -> MatrixState:
        kept = exact("...ij,...jk->...ik", transition, carry.memory)
        return MatrixState(kept + end.memory)


def _nothing(params: Params, reading: Array, x: Inputs) -> Array:
    """The output of a run of which only the memory counts."""
    return jnp.zeros_like(reading[..., 0, :1])
