"""Cells whose parameters are computed from others at every call."""

import functools
from collections.abc import Callable

import jax

from seqjax.core.cell import Cell, factory
from seqjax.core.stack import expect_cell, no_step
from seqjax.core.trees import narrow, widen
from seqjax.core.types import Params


@factory
def reparametrized(
    cell: Cell, *, load: Callable[[Params], Params], save: Callable[[Params], Params]
) -> Cell:
    """A cell that is trained in terms of other parameters.

        carry, y = cell.step(load(params), carry, x)

    Args:
      cell: any cell.
      load: what the cell computes with, of the parameters; gradients go through it.
      save: what the parameters start with, of those that the cell starts with.

    Returns:
      A cell with other parameters, and with the carry and the outputs of the given one.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> from seqjax.core.layers import rms_norm
      >>> from seqjax.core.reparametrized import reparametrized
      >>> positive = reparametrized(
      ...     rms_norm(2),
      ...     load=lambda params: jax.tree.map(jnp.exp, params),
      ...     save=lambda params: jax.tree.map(jnp.log, params),
      ... )
      >>> positive.init(jax.random.key(0), 2)
      {'gain': Array([0., 0.], dtype=float32)}
    """
    expect_cell("reparametrized", cell)

    def init(key, in_features):
        return save(cell.init(key, in_features))

    def initial_carry(params, batch_shape=()):
        return cell.initial_carry(load(params), batch_shape)

    def step(params, carry, x):
        return cell.step(load(params), carry, x)

    def sequence(scan, params, carry, initial, xs, steps):
        return scan(cell, load(params), carry, initial, xs, steps)

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


def zero_centred(cell: Cell, *names: str) -> Cell:
    """A cell in which the gains of these names are what they have beyond 1.

    Near 1, a narrow dtype has few numbers; near 0 it has many.

    Args:
      cell: any cell.
      *names: the last part of their paths in its parameters.

    Returns:
      As from `reparametrized`.

    Example:
      >>> import jax
      >>> from seqjax.core.layers import rms_norm
      >>> from seqjax.core.reparametrized import zero_centred
      >>> zero_centred(rms_norm(2), "gain").init(jax.random.key(0), 2)
      {'gain': Array([0., 0.], dtype=float32)}
    """
    moved = functools.partial(_moved, names)
    return reparametrized(
        cell, load=functools.partial(moved, 1.0), save=functools.partial(moved, -1.0)
    )


def _moved(names: tuple[str, ...], number: float, params: Params) -> Params:
    def move(path, leaf):
        own = jax.tree_util.keystr(path[-1:], simple=True) in names
        return narrow(widen(leaf) + number, leaf) if own else leaf

    return jax.tree.map_with_path(move, params)
