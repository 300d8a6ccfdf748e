"""What truncated backpropagation leaves out."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PyTree
from seqjax.engines.scan import scan


class TruncationCost(NamedTuple):
    """The truncated gradient beside the full one, `(lengths,)` each.

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
      **options: `lengths`, `mask`, `resets`, `reverse`, `method` of `sj.scan`.

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

    def gradient(truncate: int | None) -> Array:
        def value(leaves: list[Array]) -> Array:
            weights = put_floats(params, leaves)
            return loss(*scan(cell, weights, xs, carry, truncate=truncate, **options))

        found = jax.jit(jax.grad(value))(floats(params))
        return jax.flatten_util.ravel_pytree(found)[0]

    full = gradient(None)
    size = jnp.linalg.norm(full)
    cosine, ratio = [], []
    for steps in every:
        cut = gradient(steps)
        cosine.append(float(cut @ full / jnp.maximum(jnp.linalg.norm(cut) * size, 1e-30)))
        ratio.append(float(jnp.linalg.norm(cut) / jnp.maximum(size, 1e-30)))
    return TruncationCost(np.asarray(every), np.asarray(cosine), np.asarray(ratio))
