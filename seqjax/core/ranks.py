"""How the ranks of inputs and outputs fit together where cells join: vectors, images, volumes."""

import dataclasses
from typing import Any

from seqjax.core.cell import Cell


def in_a_row(owner: str, parts: dict[str, Cell]) -> dict[str, Cell]:
    """Cells each of which takes the outputs of the one before, those that work pixel by pixel at
    the rank that comes.

    Raises:
      ValueError: if the outputs of one are not of the rank that the next one takes.
    """
    first = next(iter(parts.values()))
    rank = _common_rank(parts) if first.pixelwise else first.input_ndim
    before, fitted = "", {}
    for name, cell in parts.items():
        fitted[name] = _at_rank(cell, rank)
        if fitted[name].input_ndim != rank:
            raise ValueError(
                f"{owner}: {cell} takes {_spell(cell.input_ndim)} at each step, but what comes "
                f"before it, {before}, puts out {_spell(rank)}. {_HINT}"
            )
        before, rank = cell, fitted[name].output_ndim
    return fitted


def side_by_side(owner: str, parts: dict[str, Cell]) -> dict[str, Cell]:
    """Cells that take the same inputs and whose outputs are joined.

    Raises:
      ValueError: if their inputs or their outputs differ in rank.
    """
    rank = _common_rank(parts)
    fitted = {name: _at_rank(cell, rank) for name, cell in parts.items()}
    first, *others = fitted.values()
    for cell in others:
        if (cell.input_ndim, cell.output_ndim) != (first.input_ndim, first.output_ndim):
            raise ValueError(
                f"{owner}: all cells must take and put out arrays of the same ranks; {first} "
                f"{_spell_both(first)}, {cell} {_spell_both(cell)}. {_HINT}"
            )
    return fitted


def expect_equal_ranks(owner: str, cell: Cell) -> None:
    """Raises unless the outputs of a cell can be joined to its inputs."""
    if cell.input_ndim != cell.output_ndim:
        raise ValueError(
            f"{owner}: expected a cell whose inputs and outputs have the same rank, as they are "
            f"joined; {cell} {_spell_both(cell)}. {_HINT}"
        )


_HINT = (
    "From images to vectors go sj.space_mean and any sj.pointwise with `input_ndim` and "
    "`output_ndim`."
)


def _common_rank(parts: dict[str, Cell]) -> Any:
    """The rank that the first cell asks for which does not work pixel by pixel; 1 if all do."""
    asked = next((cell.input_ndim for cell in parts.values() if not cell.pixelwise), 1)
    return asked if isinstance(asked, int) and asked > 0 else 1


def _at_rank(cell: Cell, rank: Any) -> Cell:
    """The cell over inputs of a rank, if it works pixel by pixel; else unchanged."""
    if not cell.pixelwise or not isinstance(rank, int) or rank < 1:
        return cell
    return dataclasses.replace(cell, input_ndim=rank, output_ndim=rank, pixelwise=rank == 1)


def _spell_both(cell: Cell) -> str:
    return f"takes {_spell(cell.input_ndim)} and puts out {_spell(cell.output_ndim)}"


def _spell(rank: Any) -> str:
    names = {0: "numbers", 1: "vectors"}
    if not isinstance(rank, int):
        return f"arrays of ranks {rank}"
    return names.get(rank, f"arrays of rank {rank}")
