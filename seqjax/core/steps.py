"""What every engine is told about a run, and what it gives back. Time is the first axis."""

import dataclasses
import math
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.device_axis import before_here
from seqjax.core.masks import opposite_resets, select
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree, TimeFlags


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Steps:
    """Which steps count, where the state starts anew, in which order and at what cost.

    Args:
      valid: `(time, *batch)` bool, or None if all steps count.
      resets: `(time, *batch)` bool, or None for no reset.
      cuts: `(time, *batch)` bool, the steps before which the gradient is cut, or None for
        none: what becomes of `truncate` when the steps are counted.
      reverse: process the last step first.
      truncate: cut the gradient every k valid steps; None for never.
      cuts_apart: at least how many valid steps lie between two cuts.
      checkpoint_every: store the carry every k steps only; None for every step.
      devices: how many devices run sequences of their own at the same time.
      record: also return the carry after every step.
      snapshots: also return the carry after every k steps, for a number k, or after each of some
        numbers of steps; masked ones count. None for neither.
      time_axis: the mesh axis over which time is split, of which these steps are the stretch of one
        device; None if they are all.
    """

    valid: TimeFlags | None = None
    resets: TimeFlags | None = None
    cuts: TimeFlags | None = None
    reverse: bool = dataclasses.field(default=False, metadata={"static": True})
    truncate: int | None = dataclasses.field(default=None, metadata={"static": True})
    cuts_apart: int = dataclasses.field(default=1, metadata={"static": True})
    checkpoint_every: int | None = dataclasses.field(default=None, metadata={"static": True})
    devices: int = dataclasses.field(default=1, metadata={"static": True})
    record: bool = dataclasses.field(default=False, metadata={"static": True})
    snapshots: int | tuple[int, ...] | None = dataclasses.field(
        default=None, metadata={"static": True}
    )
    time_axis: str | None = dataclasses.field(default=None, metadata={"static": True})

    @property
    def flags(self) -> tuple[TimeFlags | None, TimeFlags | None, TimeFlags | None]:
        """All that has a time axis: `(valid, resets, cuts)`."""
        return self.valid, self.resets, self.cuts

    def part(self, flags: tuple) -> "Steps":
        """The same run for some of the steps, given their flags, all carries stored."""
        valid, resets, cuts = flags
        return dataclasses.replace(
            self, valid=valid, resets=resets, cuts=cuts, checkpoint_every=None
        )

    def opposite(self) -> "Steps":
        """The same boundaries and masks, processed in the other direction."""
        resets = self.resets
        if resets is not None:
            beyond = None if self.time_axis is None else self._first_reset_beyond(self.time_axis)
            resets = opposite_resets(resets, self.valid, reverse=self.reverse, beyond=beyond)
        return dataclasses.replace(self, resets=resets, reverse=not self.reverse)

    def counted(self, time: int, batch_shape: tuple[int, ...]) -> "Steps":
        """With `cuts` in place of `truncate`: every k steps in the order of processing.

        A masked step is as if it were not there, so it is not counted.
        """
        if self.truncate is None:
            return self
        valid = jnp.ones((time, *batch_shape), bool) if self.valid is None else self.valid
        before: int | Array = 0
        if self.time_axis is not None:
            before = before_here(
                self.time_axis,
                jnp.add,
                valid.sum(0, dtype=jnp.int32),
                batch_ndim=len(batch_shape),
                reverse=self.reverse,
            )[None]
        cuts = cuts_every(self.truncate, valid, reverse=self.reverse, before=before)
        return dataclasses.replace(self, cuts=cuts, cuts_apart=self.truncate, truncate=None)

    def _first_reset_beyond(self, axis: str) -> Array:
        """The flag of the step that is processed first on the devices after this one."""
        resets, valid = self.resets, self.valid
        assert resets is not None
        in_order = lambda flags: jnp.flip(flags, 0) if self.reverse else flags  # noqa: E731
        resets = in_order(resets)
        valid = jnp.ones_like(resets) if valid is None else in_order(valid)
        first = jnp.take_along_axis(resets, valid.argmax(0)[None], axis=0)[0]
        # From the far end to here, so that the nearer one of two is the later one.
        _, flag = before_here(
            axis,
            lambda far, near: (far[0] | near[0], jnp.where(near[0], near[1], far[1])),
            (valid.any(0), first),
            batch_ndim=first.ndim,
            reverse=not self.reverse,
            reach=1 if self.valid is None else None,
        )
        return flag


def cuts_every(
    truncate: int | Array, valid: TimeFlags, *, reverse: bool, before: int | Array = 0
) -> TimeFlags:
    """The steps before which the gradient is cut: every k of those that count, of which there are
    some before the first one here."""
    count = before + jax.lax.cumsum(valid.astype(jnp.int32), reverse=reverse) - 1
    return valid & (count > 0) & (count % truncate == 0)


class Run(NamedTuple):
    """The result of running a cell over a sequence.

    `carry` after the last step, `ys` `(time, *batch, features)` with zeros at masked
    steps, `carries` the carry after every step (`(time, *batch, ...)`) if recorded, or the
    snapshots `(snapshots, *batch, ...)` in the order of processing.
    """

    carry: Carry
    ys: PyTree
    carries: Carry | None


@runtime_checkable
class ScanFn(Protocol):
    """Runs a cell over a sequence, its inputs `(time, *batch, ...)` with zeros at masked steps;
    `initial` is the carry that a reset goes back to."""

    def __call__(
        self, cell: Cell, params: Params, carry: Carry, initial: Carry, xs: Inputs, steps: Steps
    ) -> Run: ...


@runtime_checkable
class SequenceFn(Protocol):
    """How a composite cell runs over a sequence, given the `scan` for its parts.

    What it puts out at masked steps is replaced by zeros.
    """

    def __call__(
        self,
        scan: ScanFn,
        params: Params,
        carry: Carry,
        initial: Carry,
        xs: Inputs,
        steps: Steps,
    ) -> Run: ...


def zero_masked(values: PyTree, valid: Array | None) -> PyTree:
    """Zeros at the masked steps of `(time, *batch, ...)` arrays, by selection."""
    if valid is None:
        return values
    return jax.tree.map(lambda leaf: select(valid, leaf, jnp.zeros_like(leaf)), values)


def batch_shape_of(cell: Cell, xs: Inputs) -> tuple[int, ...]:
    """The batch dimensions of inputs `(time, *batch, *step_shape)`."""
    leaf, step_ndim = jax.tree.leaves(xs)[0], jax.tree.leaves(cell.input_ndim)[0]
    return leaf.shape[1 : leaf.ndim - step_ndim]


def time_of(xs: Inputs) -> int:
    """The number of steps."""
    return jax.tree.leaves(xs)[0].shape[0]


def is_symbolic(*sizes: Any) -> bool:
    """Whether a size is open, a symbol of `jax.export.symbolic_shape`, and not a number."""
    return not all(isinstance(size, int) for size in sizes)


def time_major(tree: Any, batch_ndim: int) -> Any:
    """Leaves `(*batch, time, ...)` with time in front."""
    return jax.tree.map(lambda leaf: _move(leaf, batch_ndim, 0, batch_ndim), tree)


def batch_major(tree: Any, batch_ndim: int) -> Any:
    """Leaves `(time, *batch, ...)` with the batch in front."""
    return jax.tree.map(lambda leaf: _move(leaf, 0, batch_ndim, batch_ndim), tree)


def _move(leaf: Array, source: int, target: int, batch_ndim: int) -> Array:
    moved = jnp.moveaxis(leaf, source, target)
    if leaf.size == math.prod(leaf.shape[source : source + 1] + leaf.shape[batch_ndim + 1 :]):
        # One sequence: nothing moves in memory, but for a transposition XLA would copy it all.
        return leaf.reshape(moved.shape)
    return moved
