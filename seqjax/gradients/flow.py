"""How much of the loss's gradient arrives at every step, layer by layer."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.run import Run, batch_shape_of
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PyTree
from seqjax.engines.sequential import sequential
from seqjax.gradients.layers import run_layers


class LayerFlow(NamedTuple):
    """The gradient of a loss at every step of one layer, as norms `(*batch, time)`.

    Attributes:
      name: the layer, as its cell prints.
      carry: norm of the gradient with respect to the state that enters the step.
      inputs: norm of the gradient with respect to the input of the step.
    """

    name: str
    carry: Float[Array, "*batch time"]
    inputs: Float[Array, "*batch time"]


def gradient_flow(
    cell: Cell,
    params: Params,
    xs: Inputs,
    loss: Callable[[Carry, PyTree], Array],
    carry: Carry | None = None,
    **options: Any,
) -> tuple[LayerFlow, ...]:
    """The norm of the loss's gradient at every step, for each layer that has a state.

        carry[t]  = || d loss / d (state that enters step t) ||
        inputs[t] = || d loss / d x_t ||

    At masked steps both are 0; across a reset or a truncation nothing flows, so what stands at
    the step behind it comes from that step on.

    Args:
      cell: any cell; of composites every layer is looked at.
      params: of the cell.
      xs: as for `sj.scan`.
      loss: `(carry, ys) -> scalar`, of what the scan returns.
      carry: where to start.
      **options: `lengths`, `mask`, `resets`, `reverse` and `truncate` of `sj.scan`.

    Returns:
      A `LayerFlow` for each layer, in the order in which they run.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import gradient_flow
      >>> cell = sj.stack(sj.elman(8), sj.lstm(8))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.random.normal(jax.random.key(1), (30, 2))
      >>> first, second = gradient_flow(cell, params, xs, lambda carry, ys: ys[-1].sum())
      >>> second.name, second.carry.shape
      ('lstm(8)', (30,))

    Source: Pascanu, Mikolov and Bengio 2012, arXiv:1211.5063.
    """
    names: list[str] = []

    def discover(number, part, params, carry, initial, xs, steps):
        names.append(repr(part))
        run = sequential(part, params, carry, initial, xs, steps)
        batch = batch_shape_of(part, xs)
        time = floats(xs)[0].shape[len(batch)]
        wide = [(*batch, time, *leaf.shape[len(batch) :]) for leaf in floats(carry)]
        shapes.append(
            (
                len(batch),
                [
                    jax.ShapeDtypeStruct(s, leaf.dtype)
                    for s, leaf in zip(wide, floats(carry), strict=True)
                ],
                [jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for leaf in floats(xs)],
            )
        )
        return run

    shapes: list[Any] = []
    run = lambda look: run_layers(look, cell, params, xs, carry, **options)  # noqa: E731
    jax.eval_shape(lambda: run(discover))

    def value(probes):
        def probed(number, part, params, carry, initial, xs, steps) -> Run:
            on_carry, on_inputs = probes[number]
            moved = put_floats(
                xs, [x + d.astype(x.dtype) for x, d in zip(floats(xs), on_inputs, strict=True)]
            )
            return sequential(_probe(part), params, carry, initial, (moved, tuple(on_carry)), steps)

        return loss(*run(probed))

    zeros = [
        jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), probes)
        for _, *probes in shapes
    ]
    gradients = jax.grad(value)(zeros)
    return tuple(
        LayerFlow(name, _norm(on_carry, batch_ndim + 1), _norm(on_inputs, batch_ndim + 1))
        for name, (on_carry, on_inputs), (batch_ndim, *_) in zip(
            names, gradients, shapes, strict=True
        )
    )


def reach(norms: Array, fraction: float = 0.01) -> Array:
    """How many steps back a gradient stays above a fraction of what it is at the last step.

    Args:
      norms: `(*batch, time)`, from a loss of the last output alone.
      fraction: of the norm at the last step.

    Returns:
      `(*batch,)` ints; as many as there are steps if it never falls below.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.gradients import reach
      >>> int(reach(jnp.array([0.001, 0.01, 0.5, 1.0]), fraction=0.1))
      2
    """
    above = jnp.flip(norms >= fraction * norms[..., -1:], -1)
    return jnp.cumprod(above.astype(jnp.int32), -1).sum(-1)


def _norm(leaves: list[Array], ndim: int) -> Array:
    """The norm over all entries of all leaves behind the first `ndim` axes."""
    squares = [jnp.square(jnp.abs(leaf)).reshape(*leaf.shape[:ndim], -1).sum(-1) for leaf in leaves]
    return jnp.sqrt(sum(squares[1:], squares[0]))


def _probe(cell: Cell) -> Cell:
    """The cell with something added to the state that enters each step."""

    def step(params, carry, now):
        x, added = now
        moved = [a + d.astype(a.dtype) for a, d in zip(floats(carry), added, strict=True)]
        return cell.step(params, put_floats(carry, moved), x)

    return dataclasses.replace(cell, step=step, structure=None, output=None, name="")
