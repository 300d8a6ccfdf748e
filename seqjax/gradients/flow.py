"""Gradient flow: the norm of the loss's gradient at every step of every layer."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell, StepFn
from seqjax.core.matrix import MatrixRecurrence
from seqjax.core.matrix_step import advance
from seqjax.core.steps import Run
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PyTree
from seqjax.gradients.layerwise import Hook, Layer, run_layers, with_hook


class LayerFlow(NamedTuple):
    """The gradient of a loss at every step of one layer, as norms `(*batch, time)`.

    Attributes:
      name: number, path in the model, and repr of the cell.
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

    At masked steps both are 0. No gradient crosses a reset or a truncation; the value at a reset is
    that of the initial state, with which the step begins.

    Args:
      cell: any cell; composites are taken apart into layers.
      params: of the cell.
      xs: as for `sj.scan`.
      loss: `(carry, ys) -> scalar`, of what the scan returns.
      carry: before the first step.
      **options: of `sj.scan`.

    Returns:
      A `LayerFlow` for each layer, in the order of execution.

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
    return _flow(lambda hook: loss(*run_layers(hook, cell, params, xs, carry, **options)))


def model_flow(model: Any, loss: Callable[[Any], Array]) -> tuple[LayerFlow, ...]:
    """`gradient_flow` for all recurrent layers of a Flax model.

    Args:
      model: an `nnx.Module` with `sj.nn.RNN` in it.
      loss: `model -> scalar`, which runs each layer once.

    Returns:
      A `LayerFlow` for each layer, in the order of execution.

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
    return _flow(lambda hook: loss(with_hook(model, hook)))


def _flow(run: Callable[[Hook], Array]) -> tuple[LayerFlow, ...]:
    """The gradients with respect to the meters at every input and every state."""
    layers: list[Layer] = []

    def note(layer: Layer) -> Run:
        if floats(layer.carry):
            layers.append(layer)
        return layer.run()

    jax.eval_shape(lambda: run(note))
    names = [layer.name for layer in layers]
    meters = [_meters(layer) for layer in layers]

    def value(meters: list[Meters]) -> Array:
        left = iter(meters)

        def metered(layer: Layer) -> Run:
            if not floats(layer.carry):
                return layer.run()
            here = next(left)
            xs = put_floats(layer.xs, _metered(floats(layer.xs), here.inputs))
            return _run_metered(layer._replace(xs=xs), here.carry)

        return run(metered)

    found = jax.grad(value)(meters)
    last = lambda norms: jnp.moveaxis(norms, 0, -1)  # noqa: E731
    return tuple(
        LayerFlow(name, *map(last, norms)) for name, norms in zip(names, found, strict=True)
    )


def reach(norms: Array, fraction: float = 0.01) -> Array:
    """The number of steps that a gradient reaches back, above a fraction of its last norm.

    Args:
      norms: `(*batch, time)`, from a loss of the last output alone.
      fraction: of the norm at the last step.

    Returns:
      `(*batch,)` ints; the number of steps if it never falls below.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.gradients import reach
      >>> int(reach(jnp.array([0.001, 0.01, 0.5, 1.0]), fraction=0.1))
      2
    """
    above = jnp.flip(norms >= fraction * norms[..., -1:], -1)
    return jnp.cumprod(above.astype(jnp.int32), -1).sum(-1)


class Meters(NamedTuple):
    """Zeros whose gradients are the norms of other gradients, `(time, *batch)` each."""

    carry: Array
    inputs: Array


def _meters(layer: Layer) -> Meters:
    dtype = jnp.finfo(jnp.result_type(*floats(layer.carry))).dtype  # Real, of complex states too.
    zeros = jnp.zeros((layer.time, *layer.batch_shape), dtype)
    return Meters(zeros, zeros)


def _run_metered(layer: Layer, meter: Array) -> Run:
    """The run, step by step, with a meter at the carry that enters each step."""
    structure = layer.cell.structure
    if isinstance(structure, MatrixRecurrence):
        return _run_memory(layer, structure, meter)

    def step(params: Params, carry: Carry, now: PyTree) -> tuple[Carry, PyTree]:
        x, meter = now
        return layer.cell.step(params, put_floats(carry, _metered(floats(carry), meter)), x)

    return _with_step(layer, step, (layer.xs, meter), layer.cell.input_ndim)


def _run_memory(layer: Layer, recurrence: MatrixRecurrence, meter: Array) -> Run:
    """`_run_metered` of a matrix memory: projections are computed for all steps at once, and only
    the memory is updated step by step."""
    xs = layer.xs
    access = recurrence.checked_access(layer.params, xs)
    wide = jax.tree.map(lambda leaf: leaf.astype(layer.carry.memory.dtype), access)

    def step(params: Params, carry: Carry, now: PyTree) -> tuple[Carry, PyTree]:
        access, meter = now
        return advance(put_floats(carry, _metered(floats(carry), meter)), access)

    run = _with_step(layer, step, (wide, meter), 2)
    ys = recurrence.output(layer.params, run.ys, access, xs)
    return run._replace(ys=ys)


def _with_step(layer: Layer, step: StepFn, xs: PyTree, input_ndim: PyTree) -> Run:
    cell = dataclasses.replace(
        layer.cell, step=step, input_ndim=input_ndim, structure=None, output=None, call=""
    )
    return layer._replace(cell=cell, xs=xs).run()


@jax.custom_vjp
def _metered(leaves: list[Array], meter: Array) -> list[Array]:
    """The identity on the leaves; the "gradient" of the meter `(*batch,)` is the norm of theirs.

    So norms are computed within the backward pass, and no gradient of a state is stored.
    """
    return leaves


def _metered_forward(leaves: list[Array], meter: Array) -> tuple[list[Array], Array]:
    return leaves, meter


def _metered_backward(meter: Array, gradients: list[Array]) -> tuple[list[Array], Array]:
    behind = [tuple(range(meter.ndim, leaf.ndim)) for leaf in gradients]
    squares = [
        jnp.square(jnp.abs(leaf)).sum(axes) for leaf, axes in zip(gradients, behind, strict=True)
    ]
    return gradients, jnp.sqrt(jnp.asarray(sum(squares, jnp.zeros_like(meter)))).astype(meter.dtype)


_metered.defvjp(_metered_forward, _metered_backward)
