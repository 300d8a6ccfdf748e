"""Gradient checking: finite differences and the plain path."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.double_precision import double_precision
from seqjax.core.trees import cast, floats, put_floats
from seqjax.core.types import Array, Carry, Inputs, Params, PRNGKeyArray, PyTree
from seqjax.engines.methods import Method
from seqjax.engines.request import shape_of_batch
from seqjax.engines.scan import scan


class GradientCheck(NamedTuple):
    """Largest errors of directional derivatives, relative to the largest derivative.

    Attributes:
      finite_differences: between the gradient and finite differences of the loss.
      plain: between the gradient and that of the plain path.
    """

    finite_differences: float
    plain: float


def check_gradient(
    cell: Cell,
    params: Params,
    xs: Inputs,
    key: PRNGKeyArray,
    loss: Callable[[Carry, PyTree], Array] | None = None,
    carry: Carry | None = None,
    *,
    directions: int = 4,
    step: float = 1e-5,
    method: Method | str = "auto",
    **options: Any,
) -> GradientCheck:
    """Compares a cell's gradient, in float64, with finite differences and with the plain path.

        (loss(p + h u) - loss(p - h u)) / 2 h     beside    u . gradient

    Args:
      cell, params, xs, carry: as for `sj.scan`; computed in float64 whatever their dtype, which a
        TPU leaves to the CPU of its host.
      key: for the directions and, without a loss, its weights.
      loss: `(carry, ys) -> scalar`; by default a random weighted sum of the outputs.
      directions: number of random directions in the space of parameters, inputs and first carry.
      step: h.
      method: of `sj.scan`, whose gradient is checked.
      **options: the other options of `sj.scan`. The truncated gradients of `truncate` are no
        derivatives of the loss, and fail.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import check_gradient
      >>> cell = sj.gru(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> found = check_gradient(cell, params, jnp.ones((5, 3)), jax.random.key(1))
      >>> found.finite_differences < 1e-8 and found.plain < 1e-12
      True
    """
    with double_precision() as place:
        params, xs, carry, key = place((params, xs, carry, key))
        params, xs = cast((params, xs), jnp.float64)
        if carry is None:
            carry = cell.initial_carry(params, shape_of_batch(cell, xs)[0])
        carry = cast(carry, jnp.float64)
        point, restore = jax.flatten_util.ravel_pytree(tuple(map(floats, (params, xs, carry))))
        weight_key, key = jax.random.split(key)

        def value(point: Array, method: Method | str) -> Array:
            p, x, c = map(put_floats, (params, xs, carry), restore(point))
            end, ys = scan(cell, p, x, c, method=method, **options)
            if loss is not None:
                return loss(end, ys)
            leaves = jax.tree.leaves(ys)
            weights = [jax.random.normal(weight_key, leaf.shape, leaf.dtype) for leaf in leaves]
            sums = [(w * leaf).sum() for w, leaf in zip(weights, leaves, strict=True)]
            return jnp.stack(sums).sum()

        run = jax.jit(value, static_argnames="method")
        slope = jax.jit(jax.grad(value), static_argnames="method")
        ours, plain = slope(point, method), slope(point, "plain")
        by_difference, by_gradient, by_plain = [], [], []
        for one in jax.random.split(key, directions):
            u = jax.random.normal(one, point.shape, point.dtype)
            u = u / jnp.linalg.norm(u)
            change = run(point + step * u, method) - run(point - step * u, method)
            by_difference.append(float(change) / (2 * step))
            by_gradient.append(float(u @ ours))
            by_plain.append(float(u @ plain))
    largest = max(map(abs, by_gradient), default=0.0) or 1.0
    gap = lambda a, b: max(abs(x - y) for x, y in zip(a, b, strict=True)) / largest  # noqa: E731
    return GradientCheck(gap(by_difference, by_gradient), gap(by_plain, by_gradient))
