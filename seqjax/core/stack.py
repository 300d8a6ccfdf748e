"""Cells on top of cells: stack, residual, and a learned initial carry."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, factory
from seqjax.core.exponents import map_exponents
from seqjax.core.exportable import exportable
from seqjax.core.misfits import NoStepError
from seqjax.core.ranks import expect_equal_ranks, in_a_row
from seqjax.core.steps import Run
from seqjax.core.trees import is_float
from seqjax.core.types import Array, Carry


@factory
def stack(*cells: Cell, **named: Cell) -> Cell:
    """Layers of cells: the output of each is the input of the next.

        y = x
        for each layer: carry[name], y = layer.step(params[name], carry[name], y)

    Args:
      *cells: the layers, the first one nearest to the input. Each is named after its cell and its
        position, such as `gru_0`.
      **named: more layers, after those, with names of their own.

    Returns:
      A cell. Its parameters and its carry are dicts by layer name, its output is that of the last
      layer. It is causal if all layers are.

    Raises:
      ValueError: without cells, if two layers have one name, or if the outputs of a layer are not
        of the rank that the next one takes: images for vectors, say. Layers without a state, such
        as `sj.dense`, fit everywhere: between images they work pixel by pixel.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.stack(sj.gru(8), sj.lstm(4))
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> params["gru_0"]["recurrent"].shape, carry["lstm_1"].cell.shape, ys.shape
      ((8, 3, 8), (4,), (5, 4))
      >>> sorted(sj.stack(memory=sj.gru(8), output=sj.dense(4)).init(jax.random.key(0), 3))
      ['memory', 'output']
    """
    layers = in_a_row("stack", by_name("stack", cells, named))
    first, last = (list(layers.values())[index] for index in (0, -1))
    causal = all(cell.causal for cell in layers.values())

    def init(key, in_features):
        keys = jax.random.split(key, len(layers))
        params = {}
        for (name, cell), own in zip(layers.items(), keys, strict=True):
            params[name] = cell.init(own, in_features)
            in_features = cell.features
        return params

    def initial_carry(params, batch_shape=()):
        return {
            name: cell.initial_carry(params[name], batch_shape) for name, cell in layers.items()
        }

    def step(params, carry, x):
        carries = {}
        for name, cell in layers.items():
            carries[name], x = cell.step(params[name], carry[name], x)
        return carries, x

    def sequence(scan, params, carry, initial, xs, steps):
        runs = {}
        for name, cell in layers.items():
            runs[name] = scan(cell, params[name], carry[name], initial[name], xs, steps)
            xs = runs[name].ys
        return Run(
            carry={name: run.carry for name, run in runs.items()},
            ys=xs,
            carries={name: run.carries for name, run in runs.items()},
        )

    return Cell(
        init=init,
        initial_carry=initial_carry,
        step=step if causal else no_step("stack", tuple(layers.values())),
        features=last.features,
        input_ndim=first.input_ndim,
        output_ndim=last.output_ndim,
        pixelwise=all(cell.pixelwise for cell in layers.values()),
        in_features=first.in_features,
        causal=causal,
        sequence=sequence,
        structure=Layers(tuple(layers.items())),
    )


@dataclasses.dataclass(frozen=True)
class Layers:
    """What a stack consists of, for the engine that runs layers on several devices.

    Args:
      cells: names and layers, the first one nearest to the input.
    """

    cells: tuple[tuple[str, Cell], ...]


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
      ValueError: if input and output differ in rank; from `init`, if they differ in width.

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
    expect_equal_ranks("residual", cell)

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
        return run._replace(ys=xs + run.ys)

    return Cell(
        init=init,
        initial_carry=cell.initial_carry,
        step=step if cell.causal else no_step("residual", (cell,)),
        features=cell.features,
        input_ndim=cell.input_ndim,
        pixelwise=cell.pixelwise,
        in_features=cell.features,
        causal=cell.causal,
        sequence=sequence,
        name=cell.name,
    )


@exportable
class LearnedParameters(NamedTuple):
    """The parameters of a cell and the state it starts from, without batch dimensions."""

    cell: object
    initial_carry: Carry


@factory
def learned_initial_carry(cell: Cell) -> Cell:
    """A cell that starts, also after a reset, from a state that is trained.

        carry_0 = params.initial_carry, the same for every sequence

    Args:
      cell: any cell.

    Returns:
      A cell with parameters `LearnedParameters(cell, initial_carry)`. The learned state
      begins as the cell's own initial carry, and the carry has the dtypes of that, however narrow
      the parameters are. Only floating-point leaves are learned, and no exponents: of an
      `sj.LogScaled` the values, at exponent 0. What is not learned is None.

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

    def init(key, in_features):
        params = cell.init(key, in_features)
        start = map_exponents(lambda exponent: None, cell.initial_carry(params))
        learned = jax.tree.map(lambda leaf: leaf if is_float(leaf) else None, start)
        return LearnedParameters(params, learned)

    def initial_carry(params, batch_shape=()):
        start = map_exponents(jnp.zeros_like, cell.initial_carry(params.cell, batch_shape))

        def begin(leaf: Array, learned: Any) -> Array:
            if learned is None:
                return leaf
            return jnp.broadcast_to(jnp.asarray(learned, leaf.dtype), leaf.shape)

        return jax.tree.map(begin, start, params.initial_carry)

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
        output_ndim=cell.output_ndim,
        in_features=cell.in_features,
        causal=cell.causal,
        output=cell.output,
        sequence=sequence,
    )


def by_name(owner: str, cells: tuple[Cell, ...], named: Mapping[str, Cell]) -> dict[str, Cell]:
    """The parts of a composite by name: positional ones are named after their cell and position."""
    if not cells and not named:
        raise ValueError(f"{owner}: expected at least one cell, got none.")
    for cell in (*cells, *named.values()):
        expect_cell(owner, cell)
    parts = {f"{cell.name or 'cell'}_{index}": cell for index, cell in enumerate(cells)}
    for name, cell in named.items():
        if name in parts:
            raise ValueError(
                f"{owner}: two parts are called {name!r}, {parts[name]} by its position and {cell} "
                "by its name. Choose another name."
            )
        parts[name] = cell
    return parts


def expect_cell(owner: str, cell: object) -> None:
    """Raises if `cell` is not a `Cell`."""
    if not isinstance(cell, Cell):
        hint = " (call the function that makes it?)" if callable(cell) else ""
        raise TypeError(f"{owner}: expected a Cell, got {cell!r}{hint}.")


def no_step(owner: str, cells: tuple[Cell, ...]):
    """A `step` for cells that need the whole sequence: it says so."""

    def step(params, carry, x):
        names = ", ".join(map(repr, cells))
        raise NoStepError(
            f"{owner}({names})",
            "this cell has no step, as a bidirectional one needs the whole sequence, the future "
            "included. Run it with sj.scan, or use a forward cell to go step by step.",
        )

    return step
