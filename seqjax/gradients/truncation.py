"""The bias of truncated backpropagation through time."""

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
from seqjax.gradients.layerwise import Hook, Layer, run_layers, with_hook


class TruncationCost(NamedTuple):
    """The truncated gradient of all parameters against the full one, `(lengths,)` each.

    Attributes:
      every: the truncation lengths.
      cosine: of the angle between the two gradients: 1 is the same direction, 0 is orthogonal.
      norm_ratio: norm of the truncated gradient over that of the full one.
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
    """How truncation every k steps changes the gradient of the parameters.

    Args:
      cell, params, xs, carry: as for `sj.scan`.
      loss: `(carry, ys) -> scalar`.
      every: the truncation lengths.
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

    def value(leaves: list[Array], hook: Hook) -> Array:
        weights = put_floats(params, leaves)
        return loss(*run_layers(hook, cell, weights, xs, carry, **options))

    return _cost(value, floats(params), every)


def model_truncation_cost(
    model: Any, loss: Callable[[Any], Array], every: Sequence[int]
) -> TruncationCost:
    """`truncation_cost` of a Flax model, all of whose recurrent layers are truncated.

    Args:
      model: an `nnx.Module` with `sj.nn.RNN` in it.
      loss: `model -> scalar`.
      every: the truncation lengths.

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

    return _cost(lambda model, hook: loss(with_hook(model, hook)), model, every)


def _cost(value: Callable[[Any, Hook], Array], point: Any, every: Sequence[int]) -> TruncationCost:
    @jax.jit
    def gradient(truncate: Array) -> Array:
        def hook(layer: Layer) -> Run:
            # Traced, so that one program serves all truncation lengths.
            cuts = cuts_every(truncate, layer.counts, reverse=layer.steps.reverse)
            return layer._replace(steps=dataclasses.replace(layer.steps, cuts=cuts)).run()

        found = jax.grad(lambda point: value(point, hook))(point)
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
