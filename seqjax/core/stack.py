"""Cells on top of cells: stack, residual, and a learned start."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, factory
from seqjax.core.steps import Run, zero_masked
from seqjax.core.types import Carry


class StackState(NamedTuple):
    """What a stack carries: one carry for each layer, the first layer first."""

    layers: tuple[Carry, ...]


@factory
def stack(*cells: Cell) -> Cell:
    """Layers of cells: the output of each is the input of the next.

        y_0 = x
        carry_l, y_l = cells[l].step(params[l], carry_l, y_{l-1})

    Args:
      cells: the layers, the first one nearest to the input.

    Returns:
      A cell. Its parameters are a tuple with one entry per layer, its carry is
      `StackState(layers)`, its output that of the last layer. It is causal if all layers
      are.

    Raises:
      ValueError: without cells.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.lstm(8), sj.gru(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> ys.shape, carry.layers[0].cell.shape
      ((5, 4), (8,))
    """
    if not cells:
        raise ValueError("stack: expected at least one cell, got none.")
    for cell in cells:
        expect_cell("stack", cell)

    def init(key, in_features):
        widths = (in_features, *(cell.features for cell in cells))
        keys = jax.random.split(key, len(cells))
        return tuple(
            cell.init(k, width) for cell, k, width in zip(cells, keys, widths, strict=False)
        )

    def initial_carry(params, batch_shape=()):
        return StackState(
            tuple(cell.initial_carry(p, batch_shape) for cell, p in zip(cells, params, strict=True))
        )

    def step(params, carry, x):
        carries = []
        for cell, p, c in zip(cells, params, carry.layers, strict=True):
            c, x = cell.step(p, c, x)
            carries.append(c)
        return StackState(tuple(carries)), x

    def sequence(scan, params, carry, initial, xs, steps):
        runs = []
        for cell, p, c, start in zip(cells, params, carry.layers, initial.layers, strict=True):
            runs.append(scan(cell, p, c, start, xs, steps))
            xs = runs[-1].ys
        return Run(
            carry=StackState(tuple(run.carry for run in runs)),
            ys=xs,
            carries=StackState(tuple(run.carries for run in runs)),
        )

    causal = all(cell.causal for cell in cells)
    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if causal else no_step("stack", cells),
        features=cells[-1].features,
        input_ndim=cells[0].input_ndim,
        causal=causal,
        sequence=sequence,
    )


@factory
def residual(cell: Cell) -> Cell:
    """A cell whose output is added to its input.

        carry, y = cell.step(params, carry, x)
        y = x + y

    Args:
      cell: any cell; its `features` must equal the width of its input.

    Returns:
      A cell with the parameters and the carry of the given one.

    Raises:
      ValueError: from `init`, if the widths differ.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.residual(sj.gru(3))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> sj.scan(cell, params, jnp.ones((5, 3)))[1].shape
      (5, 3)

    Source: He et al. 2015, arXiv:1512.03385.
    """
    expect_cell("residual", cell)

    def init(key, in_features):
        if in_features != cell.features:
            raise ValueError(
                f"residual({cell}): the input must be as wide as the output, {cell.features}; "
                f"got in_features={in_features}. Use a cell of {in_features} features, or put "
                "a layer of that width below."
            )
        return cell.init(key, in_features)

    def step(params, carry, x):
        carry, y = cell.step(params, carry, x)
        return carry, x + y

    def sequence(scan, params, carry, initial, xs, steps):
        run = scan(cell, params, carry, initial, xs, steps)
        return run._replace(ys=zero_masked(xs + run.ys, steps.valid))

    return Cell(
        init=init,
        initial_carry=cell.initial_carry,
        step=step if cell.causal else no_step("residual", (cell,)),
        features=cell.features,
        input_ndim=cell.input_ndim,
        causal=cell.causal,
        sequence=sequence,
    )


class LearnedParameters(NamedTuple):
    """The parameters of a cell and the state it starts from, without batch dimensions."""

    cell: object
    initial_carry: Carry


@factory
def learned_initial_carry(cell: Cell) -> Cell:
    """A cell that starts, also after a reset, from a state that is trained.

        carry_0 = params.initial_carry, the same for every row

    Args:
      cell: any cell.

    Returns:
      A cell with parameters `LearnedParameters(cell, initial_carry)`. The learned state
      begins as the cell's own initial carry; only floating-point leaves are learned.

    Example:
      >>> import jax
      >>> import seqjax as sj
      >>> cell = sj.learned_initial_carry(sj.gru(2))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> params.initial_carry
      Array([0., 0.], dtype=float32)
      >>> cell.initial_carry(params, (5,)).shape
      (5, 2)
    """
    expect_cell("learned_initial_carry", cell)

    def is_learned(leaf) -> bool:
        return jnp.issubdtype(leaf.dtype, jnp.inexact)

    def init(key, in_features):
        params = cell.init(key, in_features)
        start = cell.initial_carry(params)
        learned = jax.tree.map(lambda leaf: leaf if is_learned(leaf) else None, start)
        return LearnedParameters(params, learned)

    def initial_carry(params, batch_shape=()):
        start = cell.initial_carry(params.cell, batch_shape)
        learned = iter(jax.tree.leaves(params.initial_carry))
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(next(learned), leaf.shape) if is_learned(leaf) else leaf,
            start,
        )

    def step(params, carry, x):
        return cell.step(params.cell, carry, x)

    def sequence(scan, params, carry, initial, xs, steps):
        return scan(cell, params.cell, carry, initial, xs, steps)

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if cell.causal else no_step("learned_initial_carry", (cell,)),
        features=cell.features,
        input_ndim=cell.input_ndim,
        causal=cell.causal,
        output=cell.output,
        sequence=sequence,
    )


def expect_cell(owner: str, cell: object) -> None:
    """Raises if `cell` is not a `Cell`."""
    if not isinstance(cell, Cell):
        hint = " (call the function that makes it?)" if callable(cell) else ""
        raise TypeError(f"{owner}: expected a Cell, got {cell!r}{hint}.")


def no_step(owner: str, cells: tuple[Cell, ...]):
    """A `step` for cells that need the whole sequence: it says so."""

    def step(params, carry, x):
        names = ", ".join(map(repr, cells))
        raise TypeError(
            f"{owner}({names}) has no step: a bidirectional cell needs the whole sequence, "
            "the future included. Run it with sj.scan, or use a forward cell to go step by "
            "step."
        )

    return step
