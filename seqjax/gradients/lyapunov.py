"""How fast small changes of the state grow or die along a trajectory."""

import math
from typing import NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray

FACTOR = 100.0
"""Over as many steps as one asks about, a gradient that changes by less than this is stable."""


class Lyapunov(NamedTuple):
    """The largest Lyapunov exponents of a trajectory, and the first as it was found.

    Attributes:
      exponents: `(count,)`, in nats per step, the largest first.
      path: `(time,)`, the estimate of the largest one after each step.
    """

    exponents: Float[Array, "count"]
    path: Float[Array, "time"]

    def verdict(self, steps: int = 100) -> str:
        """`"vanishing"`, `"stable"` or `"exploding"` for gradients over so many steps.

        A gradient changes about by `exp(exponent * steps)`; a factor of 100 either way counts.
        """
        growth = float(self.exponents[0]) * steps
        if not math.isfinite(growth):
            return "exploding" if growth > 0 or math.isnan(growth) else "vanishing"
        if growth < -math.log(FACTOR):
            return "vanishing"
        return "exploding" if growth > math.log(FACTOR) else "stable"


def lyapunov_exponents(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry,
    key: PRNGKeyArray,
    *,
    count: int = 1,
    discard: int = 0,
) -> Lyapunov:
    """The largest Lyapunov exponents of the state, by repeated QR decompositions.

        V = (d step / d carry)_t Q,   Q R = V,   exponent_i = mean over t of log |R_ii|

    Args:
      cell: any cell with a step.
      params: of the cell.
      xs: `(time, in_features)`, one row.
      carry: the state before the first step, without batch dimensions.
      key: for the directions to begin with.
      count: how many exponents, at most the numbers in the state.
      discard: steps that are run but not counted, until the directions have turned.

    Returns:
      A `Lyapunov`; `.verdict()` says it in a word.

    Raises:
      ValueError: if numbers make no sense.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import lyapunov_exponents
      >>> cell = sj.elman(16, recurrent_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> found = lyapunov_exponents(
      ...     cell, params, jnp.zeros((50, 2)), cell.initial_carry(params), jax.random.key(1)
      ... )
      >>> round(float(found.exponents[0]), 3), found.verdict()         # log(0.5)
      (-0.693, 'vanishing')

    Source: Benettin et al. 1980 (Meccanica 15); for recurrent networks Engelken, Wolf and
    Abbott 2020, arXiv:2006.02427.
    """
    if not cell.causal:
        raise ValueError(f"lyapunov_exponents: {cell} has no step; look at its parts.")
    time = jax.tree.leaves(xs)[0].shape[0]
    point, _ = jax.flatten_util.ravel_pytree(floats(carry))
    if not 1 <= count <= point.size or not 0 <= discard < time:
        raise ValueError(
            f"lyapunov_exponents: expected count from 1 to {point.size} and discard below {time} "
            f"steps, got {count} and {discard}."
        )

    def body(now, x):
        carry, directions = now
        vector, restore = jax.flatten_util.ravel_pytree(floats(carry))

        def step(vector: Array) -> tuple[Array, Carry]:
            new, _ = cell.step(params, put_floats(carry, restore(vector)), x)
            return jax.flatten_util.ravel_pytree(floats(new))[0], new

        _, push, new = jax.linearize(step, vector, has_aux=True)
        moved = jax.vmap(push, in_axes=1, out_axes=1)(directions)
        # Householder's: orthogonal even where a direction is forgotten altogether.
        directions, triangle = jnp.linalg.qr(moved)
        size = jnp.abs(jnp.diagonal(triangle))
        return (new, directions), jnp.log(jnp.maximum(size, jnp.finfo(size.dtype).tiny))

    start, _ = jnp.linalg.qr(jax.random.normal(key, (point.size, count), point.dtype))
    _, logs = jax.lax.scan(body, (carry, start), xs)
    logs = logs[discard:]
    path = jnp.cumsum(logs[:, 0]) / jnp.arange(1, time - discard + 1)
    return Lyapunov(jnp.sort(logs.mean(0), descending=True), path)
