"""What a stretch of a diagonal recurrence does: its steps, joined in pairs, pairs of pairs, ..."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from seqjax.core import affine
from seqjax.core.affine import LogScaled, Update, no_update
from seqjax.core.cell import Cell
from seqjax.core.composition import Summary, joined
from seqjax.core.linear import Diagonal
from seqjax.core.masks import select
from seqjax.core.steps import ScanFn, Steps, time_of
from seqjax.core.trees import narrowed, tree_bytes, widened
from seqjax.core.types import Carry, Inputs, Params, PyTree
from seqjax.engines.boundaries import Boundaries
from seqjax.engines.diagonal import steps_of_tile
from seqjax.engines.placement import all_varying
from seqjax.engines.tiles import over_tiles


@dataclasses.dataclass(frozen=True)
class DiagonalStretch:
    """The `Composition` of `state = decay * state + value`, with `*` and `+` of `core/affine.py`.

    The transition is the product of all decays, or the sum of their logarithms.
    """

    structure: Diagonal
    logarithmic: bool
    forgets: bool = True

    def summarize(
        self,
        scan: ScanFn,
        cell: Cell,
        params: Params,
        empty: Carry,
        initial: Carry,
        xs: Inputs,
        steps: Steps,
    ) -> tuple[PyTree, Carry]:
        """In tiles of time, of which the backward pass computes each a second time."""
        size = steps_of_tile(time_of(xs), tree_bytes(empty) + tree_bytes(xs) // time_of(xs))
        wide, flags = widened(params), Boundaries(*steps.flags)

        def tile(total: Summary, here: tuple) -> tuple[Summary, None]:
            made = self._steps(narrowed(wide, params), empty, initial, *here)
            if steps.reverse:
                made = jax.tree.map(lambda leaf: jnp.flip(leaf, 0), made)
            return joined(self, total, self._all(made)), None

        first = jax.tree.map(lambda leaf: leaf[:1], (xs, flags))
        one = jax.eval_shape(partial(self._steps, params, empty, initial), *first)
        like = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], leaf.dtype), one)
        decay = no_update(Update(like.transition, like.end)).decay
        total = all_varying((like._replace(transition=decay, end=empty), xs))[0]
        if size < time_of(xs):
            tile = jax.checkpoint(tile, prevent_cse=False)
        total, _ = over_tiles(tile, total, (xs, flags), size=size, reverse=steps.reverse)
        return total.transition, total.end

    def _steps(
        self, params: Params, like: Carry, initial: Carry, x: Inputs, flags: Boundaries
    ) -> Summary:
        """What each of some steps does, leaves `(time, *batch, ...)`."""
        made = self.structure.update(params, self.structure.project(params, x), like, lead=1)
        time = time_of(x)
        # Neither need depend on the input.
        each = lambda leaf, like: jnp.broadcast_to(leaf, (time, *like.shape))  # noqa: E731
        *_, unit = jax.tree.leaves(like)
        decay = jax.tree.map(lambda leaf: each(leaf, unit), made.decay)
        update = Update(decay, jax.tree.map(each, made.value, like))
        valid, resets, cuts = flags
        if valid is not None:
            update = jax.tree.map(partial(select, valid), update, no_update(update))
            resets, cuts = (None if flag is None else flag & valid for flag in (resets, cuts))
        end = update.value
        if resets is not None:
            anew = affine.apply(update, jax.tree.map(lambda leaf: leaf[None], initial))
            end = jax.tree.map(partial(select, resets), anew, end)
        return Summary(resets, cuts, update.decay, end)

    def _all(self, made: Summary) -> Summary:
        """All steps as one."""
        while (count := jax.tree.leaves(made)[0].shape[0]) > 1:
            paired = count - count % 2
            first, second, rest = (
                jax.tree.map(lambda leaf, where=where: leaf[where], made)
                for where in (slice(0, paired, 2), slice(1, paired, 2), slice(paired, None))
            )
            pairs = joined(self, first, second)
            made = jax.tree.map(lambda *parts: jnp.concatenate(parts), pairs, rest)
        return jax.tree.map(lambda leaf: leaf[0], made)

    def reach(self, carry: Carry, xs: Inputs, steps: Steps) -> int | None:
        return None

    def empty(self, carry: Carry) -> Carry:
        return affine.empty(carry)

    def chain(self, first: PyTree, second: PyTree) -> PyTree:
        return affine.chain(first, second, logarithmic=self.logarithmic)

    def follow(self, transition: PyTree, carry: Carry, end: Carry) -> Carry:
        return affine.apply(Update(transition, end), carry)


def diagonal_stretch(structure: Diagonal, carry: Carry) -> DiagonalStretch:
    """How stretches of a cell with this state compose."""
    return DiagonalStretch(structure, isinstance(carry, LogScaled))
