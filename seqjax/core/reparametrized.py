"""Cells whose parameters are computed from others at every call."""

import dataclasses
from typing import Protocol, runtime_checkable

import jax

from seqjax.core.cell import Cell, factory
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.trees import narrow, widen
from seqjax.core.types import Array, Params


@runtime_checkable
class Change(Protocol):
    """Parameters of another form. Equal ones must compare equal, as dataclasses do: cells are
    static where programs are compiled."""

    def load(self, params: Params) -> Params:
        """What the cell computes with, of the parameters; gradients go through it."""
        ...

    def save(self, params: Params) -> Params:
        """What the parameters start with, of those that the cell starts with."""
        ...


@factory
def reparametrized(cell: Cell, change: Change) -> Cell:
    """A cell that is trained in terms of other parameters.

        carry, y = cell.step(change.load(params), carry, x)

    Args:
      cell: any cell.
      change: from the parameters to those of the cell.

    Returns:
      A cell with other parameters, and with the carry and the outputs of the given one.

    Example:
      >>> import jax
      >>> from seqjax.core.layers import rms_norm
      >>> from seqjax.core.reparametrized import ZeroCentred, reparametrized
      >>> reparametrized(rms_norm(2), ZeroCentred("gain")).init(jax.random.key(0), 2)
      {'gain': Array([0., 0.], dtype=float32)}
    """
    expect_cell("reparametrized", cell)

    def init(key, in_features):
        return change.save(cell.init(key, in_features))

    def initial_carry(params, batch_shape=()):
        return cell.initial_carry(change.load(params), batch_shape)

    def step(params, carry, x):
        return cell.step(change.load(params), carry, x)

    def sequence(scan, params, carry, initial, xs, steps):
        return scan(cell, change.load(params), carry, initial, xs, steps)

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if cell.causal else no_step("reparametrized", (cell,)),
        features=cell.features,
        input_ndim=cell.input_ndim,
        output_ndim=cell.output_ndim,
        pixelwise=cell.pixelwise,
        in_features=cell.in_features,
        causal=cell.causal,
        sequence=sequence,
        name=cell.name,
    )


@dataclasses.dataclass(frozen=True, init=False)
class ZeroCentred:
    """Gains are what they have beyond 1: near 1, a narrow dtype has few numbers, near 0 many.

    Args:
      *names: the last part of their paths.
    """

    names: tuple[str, ...]

    def __init__(self, *names: str):
        object.__setattr__(self, "names", names)

    def load(self, params: Params) -> Params:
        return self._moved(params, 1.0)

    def save(self, params: Params) -> Params:
        return self._moved(params, -1.0)

    def _moved(self, params: Params, number: float) -> Params:
        def move(path, leaf: Array) -> Array:
            own = jax.tree_util.keystr(path[-1:], simple=True) in self.names
            return narrow(widen(leaf) + number, leaf) if own else leaf

        return jax.tree.map_with_path(move, params)
