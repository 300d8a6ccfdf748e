"""Lyapunov exponents: the growth of small perturbations of the state along a trajectory."""

import itertools
import math
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import expand, select
from seqjax.core.noise import restart, with_keys_of
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray
from seqjax.gradients.layerwise import Layer, whole_cell

FACTOR = 100.0
"""A gradient that changes by less than this factor over the given steps is stable."""


class Lyapunov(NamedTuple):
    """The largest Lyapunov exponents of a trajectory, and the convergence of the first.

    Attributes:
      exponents: `(*batch, count)`, in nats per step, in descending order.
      path: `(*batch, time)`, the estimate of the largest one after each step; NaN before the first
        step that counts.
    """

    exponents: Float[Array, "*batch count"]
    path: Float[Array, "*batch time"]

    def verdict(self, steps: int = 100) -> str:
        """`"vanishing"`, `"stable"` or `"exploding"` for gradients over this many steps.

        A gradient changes by about `exp(exponent * steps)`; the threshold is a factor of 100 in
        either direction. In a batch the largest exponents are averaged.
        """
        largest = jnp.nanmean(self.exponents[..., 0])
        growth = float(largest) * steps
        if not math.isfinite(growth):
            return "vanishing" if growth < 0 else "exploding"
        if growth < -math.log(FACTOR):
            return "vanishing"
        return "exploding" if growth > math.log(FACTOR) else "stable"


def lyapunov_exponents(
    cell: Cell,
    params: Params,
    xs: Inputs,
    key: PRNGKeyArray,
    carry: Carry | None = None,
    *,
    count: int = 1,
    discard: int = 0,
    **options: Any,
) -> Lyapunov:
    """The largest Lyapunov exponents of the state, by repeated QR decompositions.

        V = (d step / d carry)_t Q,   Q R = V,   exponent_i = mean over t of log |R_ii|

    Args:
      cell: any cell with a step.
      params: of the cell.
      xs: `(*batch, time, in_features)`.
      key: for the initial directions.
      carry: the state before the first step.
      count: number of exponents, at most the size of the state.
      discard: burn-in: steps that are not counted, until the directions have aligned.
      **options: `lengths`, `mask`, `resets`, `reverse` of `sj.scan`. Masked steps do not count. At
        a reset, which no perturbation survives, the directions continue in the new sequence.

    Returns:
      A `Lyapunov`, with a `.verdict()` in a word. A sequence without a valid step has NaN.

    Raises:
      ValueError: if the cell has no step, or `count` or `discard` is out of range.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import lyapunov_exponents
      >>> cell = sj.elman(16, recurrent_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> found = lyapunov_exponents(cell, params, jnp.zeros((50, 2)), jax.random.key(1))
      >>> round(float(found.exponents[0]), 3), found.verdict()         # log(0.5)
      (-0.693, 'vanishing')

    Source: Benettin et al. 1980 (Meccanica 15); for recurrent networks Engelken, Wolf and
    Abbott 2020, arXiv:2006.02427.
    """
    if not cell.causal:
        raise ValueError(f"lyapunov_exponents: {cell} has no step; look at its parts.")
    layer = whole_cell(cell, params, xs, carry, **options)
    return layer_exponents(layer, key, count=count, discard=discard)


def layer_exponents(
    layer: Layer, key: PRNGKeyArray, *, count: int = 1, discard: int = 0
) -> Lyapunov:
    """`lyapunov_exponents` of a layer from a run."""
    cell, params, batch_shape = layer.cell, layer.params, layer.batch_shape
    batch_ndim = len(batch_shape)
    size = sum(math.prod(leaf.shape[batch_ndim:]) for leaf in floats(layer.carry))
    if not 1 <= count <= size or not 0 <= discard < max(1, layer.time):
        raise ValueError(
            f"lyapunov_exponents: expected count from 1 to {size} and discard below {layer.time} "
            f"steps, got {count} and {discard}."
        )

    initial = with_keys_of(layer.initial, layer.carry)

    def body(now, here):
        carry, directions, number = now
        x, counts, reset = here
        start = carry if reset is None else restart(reset, initial, carry)
        leaves = floats(start)

        def step(leaves: list[Array]) -> tuple[list[Array], Carry]:
            new, _ = cell.step(params, put_floats(start, leaves), x)
            return floats(new), new

        _, push, new = jax.linearize(step, leaves, has_aux=True)
        moved = jax.vmap(
            lambda v: _to_vectors(push(_to_leaves(v, leaves, batch_ndim)), batch_ndim), -1, -1
        )(directions)
        # Householder QR is orthogonal even where a direction is forgotten completely.
        turned, triangle = jnp.linalg.qr(moved)
        growth = jnp.abs(jnp.diagonal(triangle, axis1=-2, axis2=-1))
        logs = jnp.log(jnp.maximum(growth, jnp.finfo(growth.dtype).tiny))
        number = number + counts
        logs = jnp.where(expand(counts & (number > discard), logs.ndim), logs, 0)
        directions = select(counts, turned, directions)
        carry = jax.tree.map(lambda a, b: select(counts, a, b), new, carry)
        return (carry, directions, number), logs

    inputs = (layer.xs, layer.counts, layer.steps.resets)
    dtype = jnp.result_type(*floats(layer.carry), jnp.float32)
    start, _ = jnp.linalg.qr(jax.random.normal(key, (*batch_shape, size, count), dtype))
    none = jnp.zeros(batch_shape, jnp.int32)
    reverse = layer.steps.reverse
    now = (layer.carry, start, none)
    (_, _, number), logs = jax.lax.scan(body, now, inputs, reverse=reverse)
    counted = jnp.maximum(number - discard, 0)
    exponents = logs.sum(0) / counted[..., None]
    so_far = jax.lax.cumsum(layer.counts.astype(jnp.int32), reverse=reverse) - discard
    path = jax.lax.cumsum(logs, reverse=reverse).max(-1) / jnp.maximum(so_far, 0)
    return Lyapunov(jnp.sort(exponents, descending=True), jnp.moveaxis(path, 0, -1))


def _to_vectors(leaves: list[Array], batch_ndim: int) -> Array:
    """Leaves `(*batch, ...)` as `(*batch, size)`."""
    return jnp.concatenate([leaf.reshape(*leaf.shape[:batch_ndim], -1) for leaf in leaves], -1)


def _to_leaves(vectors: Array, like: list[Array], batch_ndim: int) -> list[Array]:
    """The inverse of `_to_vectors`."""
    ends = list(itertools.accumulate(math.prod(leaf.shape[batch_ndim:]) for leaf in like))
    parts = jnp.split(vectors, ends[:-1], -1)
    return [
        part.reshape(leaf.shape).astype(leaf.dtype) for part, leaf in zip(parts, like, strict=True)
    ]
