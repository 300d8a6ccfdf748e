"""What a stretch of time does to a state, whatever the state is: stretches compose.

    after = transition * before + end

where `end` is the state after the stretch if it starts from nothing. Two stretches in a row are
one:

    transition = transition_2 * transition_1        end = transition_2 * end_1 + end_2

What `*` and `+` mean is for the `Composition` of a cell to say. A reset in a stretch forgets what
was before by selection, a cut holds it constant.

Source: Blelloch 1990, "Prefix sums and their applications"; for recurrences on several devices:
Martin and Cundy 2018, arXiv:1709.04057.
"""

from functools import partial
from typing import Any, NamedTuple, Protocol, runtime_checkable

import jax

from seqjax.core.masks import select
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree


@runtime_checkable
class Composition(Protocol):
    """How stretches of time of a cell compose. A record like this is hashable.

    As the `structure` of a cell that runs whole sequences by itself, it lets time be split over
    devices.
    """

    @property
    def forgets(self) -> bool:
        """Whether a reset makes the state anew; a count of draws only moves on."""
        ...

    def summarize(
        self,
        scan: Any,
        cell: Any,
        params: Params,
        empty: Carry,
        initial: Carry,
        xs: Inputs,
        steps: Any,
    ) -> tuple[PyTree, Carry]:
        """`(transition, end)` of a stretch; `scan` is a `ScanFn`, `empty` what it starts from."""
        ...

    def reach(self, carry: Carry, xs: Inputs, steps: Any) -> int | None:
        """How many stretches before this one matter at most; None for all."""
        ...

    def empty(self, carry: Carry) -> Carry:
        """The state that is nothing, of the form of a carry."""
        ...

    def chain(self, first: PyTree, second: PyTree) -> PyTree:
        """The transition of two stretches."""
        ...

    def follow(self, transition: PyTree, carry: Carry, end: Carry) -> Carry:
        """The state after a stretch that starts from a carry."""
        ...


class Summary(NamedTuple):
    """What a stretch does. Leaves `(*batch, ...)`.

    `forgets`: a reset is in it; `cuts`: the gradient is cut in it, both `(*batch,)` bool, or None
    for nowhere.
    """

    forgets: Array | None
    cuts: Array | None
    transition: PyTree
    end: Carry


def applied(composition: Composition, summary: Summary, carry: Carry) -> Carry:
    """The state after a stretch that starts from a carry."""
    forgets, cuts, transition, end = summary
    if cuts is not None:
        carry = jax.tree.map(partial(select, cuts), jax.lax.stop_gradient(carry), carry)
    if forgets is not None:
        carry = jax.tree.map(partial(select, forgets), composition.empty(carry), carry)
    return composition.follow(transition, carry, end)


def joined(composition: Composition, first: Summary, second: Summary) -> Summary:
    """What two stretches do, one after the other."""
    before = first.transition
    if second.cuts is not None:
        before = jax.tree.map(partial(select, second.cuts), jax.lax.stop_gradient(before), before)
    transition = composition.chain(before, second.transition)
    if second.forgets is not None:
        transition = jax.tree.map(partial(select, second.forgets), second.transition, transition)
    either = lambda a, b: None if a is None else a | b  # noqa: E731
    return Summary(
        forgets=either(first.forgets, second.forgets),
        cuts=either(first.cuts, second.cuts),
        transition=transition,
        end=applied(composition, second, first.end),
    )
