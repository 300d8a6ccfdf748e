"""Zoneout: units of a state that keep their old value at random."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, factory
from seqjax.core.exponents import keeps_exponent, mean
from seqjax.core.exportable import exportable
from seqjax.core.noise import Randomness, check_rate, draw_units
from seqjax.core.recurrence import Recurrence, multiply
from seqjax.core.stack import expect_cell
from seqjax.core.trees import is_float
from seqjax.core.types import Array, Carry, Params, PyTree


@exportable
class ZoneoutState(NamedTuple):
    """The carry of the cell inside, and its randomness."""

    cell: Carry
    randomness: Randomness


@factory
def zoneout(cell: Cell, rate: Any) -> Cell:
    """A cell whose units keep their old value at random.

        carry = where(hold, carry, new_carry),   hold ~ Bernoulli(rate)
        carry = rate * carry + (1 - rate) * new_carry       without a key: the mean

    Whole numbers in a carry, such as counts, always take their new value. Of a state that keeps an
    exponent apart, such as `sj.SLSTMState`, the numbers that are meant are held and averaged:
    what has the same exponent is held together.

    Args:
      cell: a cell whose output is a leaf of its carry, such as every gated cell.
      rate: probability that a unit keeps its value, in [0, 1); or one number for each leaf
        of the carry, as in `LSTMState(hidden=0.05, cell=0.5)`.

    Returns:
      A cell with the given cell's parameters and the carry
      `ZoneoutState(cell, randomness)`. Noise is on when the carry has a key
      (`sj.seed_carry`).

    Raises:
      ValueError: if a rate is not in [0, 1), the cell's output is no part of its carry, or leaves
        with one exponent have different rates.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.zoneout(sj.lstm(4), 0.1)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sj.scan(cell, params, jnp.ones((5, 3)))[1].shape
      (5, 4)

    Source: Krueger et al. 2016, arXiv:1606.01305.
    """
    expect_cell("zoneout", cell)
    output = cell.output
    if output is None:
        raise ValueError(
            f"zoneout({cell}): expected a cell whose output is a leaf of its carry, such as sj.gru "
            "or sj.lstm; the output of this one is none, so there are no units to hold. In a "
            "sj.stack, sj.residual or sj.dropout put zoneout around the cells inside."
        )
    for number in jax.tree.leaves(rate):
        check_rate("zoneout", number)
    _check_shared(cell, rate)
    if not isinstance(rate, int | float):
        in_features = cell.in_features or 1
        params = jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))
        _spread(cell, rate, jax.eval_shape(cell.initial_carry, params))

    def initial_carry(params, batch_shape=()):
        return ZoneoutState(
            cell.initial_carry(params, batch_shape),
            Randomness(None, jnp.zeros(batch_shape, jnp.int32)),
        )

    def mix(carry, new):
        """The state that holds some units of the old one."""
        key, draws = carry.randomness
        rates = _spread(cell, rate, new)
        if key is None:
            state = jax.tree.map(_mean, new, carry.cell, rates, is_leaf=keeps_exponent)
            return ZoneoutState(state, carry.randomness)

        def hold(leaf: Array, old: Array, number: float, stream: int) -> Array:
            if not is_float(leaf):
                return leaf
            kept = draw_units(key, draws, stream, number, leaf.shape[draws.ndim :])
            return jnp.where(kept, old, leaf)

        state = jax.tree.map(hold, new, carry.cell, rates, _streams(new))
        return ZoneoutState(state, Randomness(key, draws + 1))

    def step(params, carry, x):
        state = mix(carry, cell.step(params, carry.cell, x)[0])
        return state, output(state.cell)

    parts = cell.structure
    return Cell(
        init=cell.init,
        initial_carry=initial_carry,
        step=step,
        features=cell.features,
        input_ndim=cell.input_ndim,
        output_ndim=cell.output_ndim,
        in_features=cell.in_features,
        structure=_ZoneoutParts(parts, mix) if isinstance(parts, Recurrence) else None,
        name=cell.name,
    )


@dataclasses.dataclass(frozen=True)
class _ZoneoutParts:
    """The `Recurrence` of a cell with zoneout: the parts of the cell, then the mix."""

    inner: Recurrence
    mix: Callable[[Carry, Carry], ZoneoutState]

    @property
    def unit_parameters(self) -> tuple[str, ...]:
        return self.inner.unit_parameters

    @property
    def summed_gates(self) -> frozenset[int]:
        return self.inner.summed_gates

    @property
    def state_blocks(self) -> int:
        return self.inner.state_blocks

    @property
    def closes_over_traced(self) -> bool:
        return self.inner.closes_over_traced

    def by_gate(self) -> "_ZoneoutParts":
        return dataclasses.replace(self, inner=self.inner.by_gate())

    def flat(self, params: Params) -> Params:
        return self.inner.flat(params)

    def project_inputs(self, params: Params, x: Array) -> Any:
        return self.inner.project_inputs(params, x)

    def advance(
        self, params: Params, carry: Carry, x: Any, multiply: Callable[..., Any] = multiply
    ) -> tuple[Carry, Array]:
        state = self.mix(carry, self.inner.advance(params, carry.cell, x, multiply)[0])
        return state, self.output(state)

    def output(self, carry: Carry) -> Array:
        return self.inner.output(carry.cell)

    def joint(self, params: Params) -> tuple[Array, Array] | None:
        return self.inner.joint(params)


def _mean(new: Any, old: Any, rate: Any) -> Any:
    """`rate * old + (1 - rate) * new` of an array, or of a state with an exponent."""
    if not keeps_exponent(new):
        return (rate * old + (1 - rate) * new).astype(new.dtype) if is_float(new) else new
    others = set(new._fields) - {*new.scaled, new.exponent}
    apart = {
        name: jax.tree.map(_mean, *(getattr(node, name) for node in (new, old, rate)))
        for name in others
    }
    return mean(getattr(rate, rate.exponent), old, new)._replace(**apart)


def _streams(carry: Carry) -> PyTree:
    """Numbers for the draws of every leaf: the same one for all leaves with one exponent, so that
    their units are held together."""
    leaves, structure = jax.tree.flatten(carry)

    def share(node: Any) -> Any:
        if not keeps_exponent(node):
            return node
        names = (*node.scaled, node.exponent)
        first = min(jax.tree.leaves([getattr(node, name) for name in names]))
        return node._replace(
            **{name: jax.tree.map(lambda _: first, getattr(node, name)) for name in names}
        )

    numbers = jax.tree.unflatten(structure, range(len(leaves)))
    return jax.tree.map(share, numbers, is_leaf=keeps_exponent)


def _spread(cell: Cell, rate: Any, carry: Carry) -> PyTree:
    """The rate of every leaf of the carry."""
    try:
        return jax.tree.map(lambda number, part: jax.tree.map(lambda _: number, part), rate, carry)
    except (ValueError, TypeError):
        raise ValueError(
            f"zoneout({cell}): the rates {rate!r} do not fit the carry "
            f"{jax.tree.map(jnp.shape, carry)}; give one number, or one for each leaf."
        ) from None


def _check_shared(cell: Cell, rate: Any) -> None:
    """Raises if numbers with one exponent, whose units are held together, have several rates."""
    for node in filter(keeps_exponent, jax.tree.leaves(rate, is_leaf=keeps_exponent)):
        names = (*node.scaled, node.exponent)
        if len(set(jax.tree.leaves([getattr(node, name) for name in names]))) > 1:
            raise ValueError(
                f"zoneout({cell}): {', '.join(names)} have one exponent, so their units are held "
                f"together; give them the same rate, got {node}."
            )
