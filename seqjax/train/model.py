"""From settings to a model and an optimizer."""

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

import optax

from seqjax.cells.elman import elman
from seqjax.cells.gru import gru
from seqjax.cells.lstm import lstm
from seqjax.cells.minimal_gated import minimal_gated
from seqjax.core.bidirectional import bidirectional
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.noise import dropout
from seqjax.core.stack import residual, stack
from seqjax.train.config import CellConfig, OptimizerConfig

CELLS: dict[str, Callable[[int], Cell]] = {
    "elman": elman,
    "gru": gru,
    "lstm": lstm,
    "minimal_gated": minimal_gated,
}


def find_cell(name: str) -> Callable[[int], Any]:
    """The function `features -> Cell` behind a name of ours or behind `module:function`.

    Raises:
      InputError: if there is no such cell, module or function.
    """
    if name in CELLS:
        return CELLS[name]
    module_name, colon, function_name = name.partition(":")
    if not colon:
        raise InputError(
            f"There is no cell {name!r}. The cells are {', '.join(CELLS)}; for one of your own "
            "write module:function."
        )
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name.split(".")[0] and error.name != module_name:
            raise
        raise InputError(
            f"--cell {name}: there is no module {module_name!r} in this folder or among the "
            "installed packages."
        ) from None
    function: Any = getattr(module, function_name, None)
    if not callable(function):
        raise InputError(f"--cell {name}: {module_name} has no function {function_name!r}.")
    return function


def build_cell(config: CellConfig, *, both_ways: bool = False) -> Cell:
    """The cell of the settings: layers, residual from the second on, with dropout.

    Args:
      config: the settings.
      both_ways: whether every layer reads in both directions.
    """
    make = find_cell(config.cell)
    layers = []
    for layer in range(config.layers):
        cell = make(config.features)
        if not isinstance(cell, Cell):
            raise InputError(
                f"--cell {config.cell}: expected a function that takes the number of features "
                f"and returns a seqjax Cell; it returned {cell!r}."
            )
        if both_ways and cell.causal:
            cell = bidirectional(cell)
        if config.dropout:
            cell = dropout(cell, config.dropout, variational=config.variational)
        layers.append(residual(cell) if layer else cell)
    return layers[0] if config.layers == 1 else stack(*layers)


def build_optimizer(config: OptimizerConfig, steps: int) -> optax.GradientTransformation:
    """Clipping by global norm, then the update rule with its schedule."""
    warmup = min(config.warmup, steps // 2)
    peak, decay = config.learning_rate, max(1, steps - warmup)
    after = {
        "cosine": optax.cosine_decay_schedule(peak, decay, alpha=0.02),
        "linear": optax.linear_schedule(peak, 0.02 * peak, decay),
        "constant": optax.constant_schedule(peak),
    }[config.schedule]
    rise = optax.linear_schedule(peak / (warmup + 1), peak, warmup)
    schedule = optax.join_schedules([rise, after], [warmup])
    rule = {
        "adamw": lambda: optax.adamw(schedule, b2=0.99, weight_decay=config.weight_decay),
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(config.weight_decay), optax.sgd(schedule, momentum=0.9)
        ),
    }[config.optimizer]()
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)
