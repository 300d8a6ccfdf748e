"""What truncated backpropagation leaves out."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.steps import Run, cuts_every
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.gradients.layerwise import Layer, Look, run_layers, watched


class TruncationCost(NamedTuple):
    """The truncated gradient of all parameters beside the full one, `(lengths,)` each.

    Attributes:
      every: after how many steps the gradient was cut.
      cosine: of the angle between the two: 1 points the same way, 0 tells nothing.
      norm_ratio: norm of the truncated gradient by that of the full one.
    """

    every: np.ndarray
    cosine: np.ndarray
    norm_ratio: np.ndarray


def truncation_cost(
    cell: Cell,
    params: Params,
    xs: Inputs,
    loss: Callable[[Carry, PyTree], Array],
    every: Sequence[int],
    carry: Carry | None = None,
    **options: Any,
) -> TruncationCost:
    """How the gradient of the parameters changes when it is cut every k steps.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      loss: `(carry, ys) -> scalar`.
      every: the numbers of steps to try.
      **options: of `sj.scan`, but for `truncate`.

    Returns:
      A `TruncationCost`, in the order of `every`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import truncation_cost
      >>> cell = sj.gru(8)
      >>> params = cell.init(jax.random.key(0), 2)
      >>> xs = jax.random.normal(jax.random.key(1), (4, 30, 2))
      >>> found = truncation_cost(cell, params, xs, lambda _, ys: jnp.square(ys).sum(), [1, 30])
      >>> [round(float(cosine), 3) for cosine in found.cosine][1]
      1.0

    Source: Williams and Peng 1990 (Neural Computation 2); Tallec and Ollivier 2017,
    arXiv:1705.08209.
    """

    def value(leaves: list[Array], look: Look) -> Array:
        weights = put_floats(params, leaves)
        return loss(*run_layers(look, cell, weights, xs, carry, **options))

    return _cost(value, floats(params), every)


def model_truncation_cost(
    model: Any, loss: Callable[[Any], Array], every: Sequence[int]
) -> TruncationCost:
    """`truncation_cost` for a Flax model, all of whose recurrent layers are truncated.

    Args:
      model: an `nnx.Module` with `sj.nn.RNN` in it.
      loss: `model -> scalar`.
      every: the numbers of steps to try.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> from flax import nnx
      >>> from seqjax.gradients import model_truncation_cost
      >>> model = sj.nn.RNN(sj.gru(4), 3, rngs=nnx.Rngs(0))
      >>> loss = lambda model: jnp.square(model(jnp.ones((2, 8, 3)))[1]).sum()
      >>> model_truncation_cost(model, loss, [2, 8]).cosine.round(3)[1]
      np.float64(1.0)
    """

    return _cost(lambda model, look: loss(watched(model, look)), model, every)


def _cost(value: Callable[[Any, Look], Array], point: Any, every: Sequence[int]) -> TruncationCost:
    @jax.jit
    def gradient(truncate: Array) -> Array:
        def look(layer: Layer) -> Run:
            # Compiled once for all numbers of steps.
            cuts = cuts_every(truncate, layer.counts, reverse=layer.steps.reverse)
            return layer._replace(steps=dataclasses.replace(layer.steps, cuts=cuts)).run()

        found = jax.grad(lambda point: value(point, look))(point)
        return jax.flatten_util.ravel_pytree(found)[0]

    @jax.jit
    def compare(truncated: Array, full: Array) -> tuple[Array, Array]:
        small = jnp.finfo(full.dtype).tiny
        size, all_of_it = jnp.linalg.norm(truncated), jnp.linalg.norm(full)
        unit = truncated / jnp.maximum(size, small) @ (full / jnp.maximum(all_of_it, small))
        return unit, size / jnp.maximum(all_of_it, small)

    full = gradient(jnp.int32(np.iinfo(np.int32).max))
    found = [compare(gradient(jnp.int32(steps)), full) for steps in every]
    cosine, ratio = np.array(found, np.float64).reshape(-1, 2).T
    return TruncationCost(np.asarray(every), cosine, ratio)
