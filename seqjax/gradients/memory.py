"""How far back an input still moves the output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray
from seqjax.engines.scan import scan


class Influence(NamedTuple):
    """How much an input moves the last output.

    Attributes:
      by_lag: `(*batch, time)`: root of the mean square of `d y_last / d x_(last - lag)`, over
        random directions of the output; lag 0 is the last step itself.
    """

    by_lag: Float[Array, "*batch time"]

    def steps(self, fraction: float = 0.01) -> Array:
        """`(*batch,)` ints: the largest lag whose influence is above a fraction of the largest."""
        strong = self.by_lag >= fraction * self.by_lag.max(-1, keepdims=True)
        lag = jnp.arange(self.by_lag.shape[-1]).reshape((1,) * (strong.ndim - 1) + (-1,))
        return jnp.where(strong & (self.by_lag > 0), lag, 0).max(-1)


def effective_memory(
    cell: Cell,
    params: Params,
    xs: Inputs,
    key: PRNGKeyArray,
    carry: Carry | None = None,
    *,
    directions: int = 8,
    **options: Any,
) -> Influence:
    """How much each input moves the last output, by how long ago it was.

        by_lag[k] = sqrt(mean over random unit vectors u of || u' d y_last / d x_(last - k) ||^2)

    Args:
      cell: any cell.
      params: of the cell.
      xs: `(*batch, time, in_features)`, without padding.
      key: for the directions.
      carry: where to start.
      directions: of the output that are tried; the mean over more of them is more exact.
      **options: `resets` and the other options of `sj.scan`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import effective_memory
      >>> cell = sj.elman(8, activation=jnp.tanh, recurrent_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> found = effective_memory(cell, params, jnp.zeros((40, 2)), jax.random.key(1))
      >>> int(found.steps(fraction=0.01))                            # 0.5 ** 6 = 0.016
      6
    """

    def last(inputs: list[Array]) -> Array:
        _, ys = scan(cell, params, put_floats(xs, inputs), carry, **options)
        return ys[..., -1, :]

    inputs = floats(xs)
    y, pull = jax.vjp(last, inputs)

    def one(key: PRNGKeyArray) -> Array:
        u = jax.random.normal(key, y.shape, y.dtype)
        u = u / jnp.linalg.norm(u, axis=-1, keepdims=True)
        (found,) = pull(u)
        batch_ndim = y.ndim - 1
        squares = [
            jnp.square(leaf).reshape(*leaf.shape[: batch_ndim + 1], -1).sum(-1) for leaf in found
        ]
        return sum(squares[1:], squares[0])

    squares = jax.vmap(one)(jax.random.split(key, directions)).mean(0)
    return Influence(jnp.flip(jnp.sqrt(squares), -1))
