"""From a configuration to a cell and an optimizer."""

import importlib
import inspect
import os
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from seqjax.cells.block_stack import block_stack
from seqjax.cells.catalogue import CATALOGUE
from seqjax.cells.convolutional import conv_gru, convolution, space_mean
from seqjax.core.bidirectional import bidirectional
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.layers import dense
from seqjax.core.noise import dropout
from seqjax.core.over_space import strided
from seqjax.core.parameter_kinds import weight_mask
from seqjax.core.stack import residual, stack
from seqjax.core.wide_carry import wide_carry
from seqjax.train.config import CellConfig, OptimizerConfig, parse_options

CELLS: dict[str, Callable[..., Cell]] = {
    entry.name: entry.make for entry in CATALOGUE if entry.takes_vectors
}
"""What `--cell` takes: the names under which seqjax exports cells."""


def find_cell(name: str) -> Callable[[int], Any]:
    """The function `(features, **options) -> Cell` behind a name or behind `module:function`.

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


def build_cell(
    config: CellConfig,
    *,
    both_ways: bool = False,
    inside: Callable[[Cell], Cell] = lambda cell: cell,
) -> Cell:
    """The cell of a configuration: layers, residual from the second on, with dropout; or blocks.

    Args:
      config: of the cell.
      both_ways: whether every layer, or the stack of blocks, reads in both directions.
      inside: changes the last layer, or the stack of blocks, before dropout is put around it.
    """
    if config.block is not None:
        trunk = _trunk(config)
        trunk = inside(bidirectional(trunk) if both_ways else trunk)
        if config.dropout:
            trunk = dropout(trunk, config.dropout, variational=config.variational)
        return stack(dense(config.features), trunk)
    layers = []
    for layer in range(config.layers):
        cell = _layer(config)
        if layer == 0 and cell.in_features:
            layers.append(dense(cell.in_features))
        if both_ways and cell.causal:
            cell = bidirectional(cell)
        if layer == config.layers - 1:
            cell = inside(cell)
        if config.dropout:
            cell = dropout(cell, config.dropout, variational=config.variational)
        layers.append(residual(cell) if layer else cell)
    return layers[0] if len(layers) == 1 else stack(*layers)


def _trunk(config: CellConfig) -> Cell:
    """The stack of blocks of a configuration."""
    if config.cell != type(config).cell:
        raise InputError(f"Give --cell {config.cell} or --block {config.block}, not both.")
    options = parse_options("--cell-options", config.cell_options)
    pattern = str(config.block).split(",")
    name = pattern[0] if len(pattern) == 1 else pattern
    try:
        trunk = block_stack(name, config.features, layers=config.layers, **options)
        _try_out(trunk, config.features)
    except ERRORS_OF_CELLS as error:
        said = f"--block {config.block} --features {config.features}{_said(config)}"
        raise InputError(f"{said}: {error}") from None
    return trunk


def _layer(config: CellConfig) -> Cell:
    """A layer of a configuration."""
    make = find_cell(config.cell)
    options = parse_options("--cell-options", config.cell_options)
    for name, parameter in inspect.signature(make).parameters.items():
        value = options.get(name, parameter.default)
        if isinstance(parameter.default, bool) and not isinstance(value, bool):
            raise InputError(
                f"--cell {config.cell} --cell-options {name}={value}: expected true or false."
            )
    try:
        cell = make(config.features, **options)
        if config.cell in CELLS:
            _try_out(cell, config.features)
        if config.wide_carry and isinstance(cell, Cell):
            cell = wide_carry(cell)
    except ERRORS_OF_CELLS as error:
        if not options and config.cell not in CELLS:
            raise
        raise InputError(f"--cell {config.cell}{_said(config)}: {error}") from None
    if not isinstance(cell, Cell):
        raise InputError(
            f"--cell {config.cell}: expected a function that takes the number of features "
            f"and returns a seqjax Cell; it returned {cell!r}."
        )
    return cell


ERRORS_OF_CELLS = (AttributeError, TypeError, ValueError)
"""What wrong options raise, in a cell that is made, starts or takes a step."""


def _try_out(cell: Cell, features: int) -> None:
    """One step, without computing: some options are not looked at before."""

    def step():
        params = cell.init(jax.random.key(0), features)
        return cell.step(params, cell.initial_carry(params), jnp.zeros(features))

    jax.eval_shape(step)


def _said(config: CellConfig) -> str:
    return f" --cell-options {' '.join(config.cell_options)}" if config.cell_options else ""


def build_video_cell(cell: Cell, channels: int, space: tuple[int, ...]) -> Cell:
    """A cell over images: a convolution that halves them, a convolutional GRU, the mean over space,
    and then `cell`."""
    eyes = convolution(channels, space=space, stride=2)
    memory = conv_gru(channels, space=strided(space, 2))
    return stack(eyes, memory, space_mean(channels, axes=len(space)), cell)


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
    share, mask = config.weight_decay, None if config.decay_biases else weight_mask
    rule = {
        "adamw": lambda: optax.adamw(schedule, b2=0.99, weight_decay=share, mask=mask),
        "sgd": lambda: optax.chain(
            optax.add_decayed_weights(share, mask), optax.sgd(schedule, momentum=0.9)
        ),
    }[config.optimizer]()
    return optax.chain(optax.clip_by_global_norm(config.clip), rule)
