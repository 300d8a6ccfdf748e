"""How much of the loss's gradient arrives at every step, layer by layer."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.run import Run
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PyTree
from seqjax.gradients.layers import Layer, Look, run_layers, watched


class LayerFlow(NamedTuple):
    """The gradient of a loss at every step of one layer, as norms `(*batch, time)`.

    Attributes:
      name: the layer's number, where it stands, and how its cell prints.
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

    At masked steps, which nothing enters, both are 0. Across a reset or a truncation nothing
    flows: what stands at a reset belongs to the initial state, with which that step begins.

    Args:
      cell: any cell; of composites every layer is looked at.
      params: of the cell.
      xs: as for `sj.scan`.
      loss: `(carry, ys) -> scalar`, of what the scan returns.
      carry: where to start.
      **options: of `sj.scan`.

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
      ('2 lstm(8)', (30,))

    Source: Pascanu, Mikolov and Bengio 2012, arXiv:1211.5063.
    """
    return _flow(lambda look: loss(*run_layers(look, cell, params, xs, carry, **options)))


def model_flow(model: Any, loss: Callable[[Any], Array]) -> tuple[LayerFlow, ...]:
    """`gradient_flow` for all recurrent layers of a Flax model.

    Args:
      model: an `nnx.Module` with `sj.nn.RNN` in it.
      loss: `model -> scalar`, which runs each of them once.

    Returns:
      A `LayerFlow` for each layer, in the order in which they run.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.gradients import model_flow
      >>> model = sj.nn.Classifier(sj.gru(8), 3, sj.nn.Softmax(2), rngs=nnx.Rngs(0))
      >>> (flow,) = model_flow(model, lambda model: model(jnp.ones((4, 9, 3))).sum())
      >>> flow.carry.shape
      (4, 9)
    """
    return _flow(lambda look: loss(watched(model, look)))


def _flow(run: Callable[[Look], Array]) -> tuple[LayerFlow, ...]:
    """The gradients with respect to zeros that are added to every input and every state."""
    layers: list[Layer] = []

    def note(layer: Layer) -> Run:
        if floats(layer.carry):
            layers.append(layer)
        return layer.run()

    jax.eval_shape(lambda: run(note))
    zeros = [_zeros(layer) for layer in layers]
    names = [layer.name for layer in layers]
    ranks = [len(layer.batch_shape) + 1 for layer in layers]

    def value(probes: list[tuple[list[Array], list[Array]]]) -> Array:
        left = iter(probes)

        def probed(layer: Layer) -> Run:
            if not floats(layer.carry):
                return layer.run()
            on_carry, on_inputs = next(left)
            moved = [x + d for x, d in zip(floats(layer.xs), on_inputs, strict=True)]
            xs = (put_floats(layer.xs, moved), tuple(on_carry))
            return layer._replace(cell=_probe(layer.cell), xs=xs).run()

        return run(probed)

    found = jax.grad(value)(zeros)
    return tuple(
        LayerFlow(name, _norm(on_carry, rank), _norm(on_inputs, rank))
        for name, rank, (on_carry, on_inputs) in zip(names, ranks, found, strict=True)
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


def _zeros(layer: Layer) -> tuple[list[Array], list[Array]]:
    """What is added to the state before every step, and to every input."""
    batch, time = layer.batch_shape, layer.time
    on_carry = [
        jnp.zeros((*batch, time, *leaf.shape[len(batch) :]), leaf.dtype)
        for leaf in floats(layer.carry)
    ]
    return on_carry, [jnp.zeros(leaf.shape, leaf.dtype) for leaf in floats(layer.xs)]


def _probe(cell: Cell) -> Cell:
    """The cell with something added to the state that enters each step."""

    def step(params: Params, carry: Carry, now: PyTree) -> tuple[Carry, PyTree]:
        x, added = now
        moved = [a + d for a, d in zip(floats(carry), added, strict=True)]
        return cell.step(params, put_floats(carry, moved), x)

    return dataclasses.replace(cell, step=step, structure=None, output=None, name="")


def _norm(leaves: list[Array], ndim: int) -> Array:
    """The norm over all entries of all leaves behind the first `ndim` axes."""
    squares = [jnp.square(jnp.abs(leaf)).reshape(*leaf.shape[:ndim], -1).sum(-1) for leaf in leaves]
    return jnp.sqrt(jnp.asarray(sum(squares)))
