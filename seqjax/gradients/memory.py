"""How far back an input still moves the output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray
from seqjax.engines.scan import scan, shape_of_batch


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
    lengths: Any = None,
    directions: int = 8,
    **options: Any,
) -> Influence:
    """How much each input moves the last output, by how long ago it was.

        by_lag[k] = sqrt(mean over random unit vectors u of || u' d y_last / d x_(last - k) ||^2)

    Args:
      cell: any cell.
      params: of the cell.
      xs: `(*batch, time, in_features)`.
      key: for the directions.
      carry: where to start.
      lengths: `(*batch,)` ints, as for `sj.scan`: the last output is that of the last step that
        counts. A row without steps has no influence.
      directions: of the output that are tried; the mean over more of them is more exact.
      **options: the other options of `sj.scan`.

    Returns:
      An `Influence`.

    Raises:
      ValueError: for a `mask`, under which a lag of steps would say little, and for `reverse`.

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

    if options.get("mask") is not None:
        raise ValueError(
            "effective_memory: a lag says little where steps are masked; give `lengths`, or leave "
            "the masked steps out of `xs`."
        )
    if options.get("reverse"):
        raise ValueError("effective_memory: for a reversed scan, turn `xs` around instead.")
    batch_shape, time = shape_of_batch(cell, xs)
    ends = jnp.broadcast_to(time if lengths is None else jnp.asarray(lengths), batch_shape)

    def last(inputs: list[Array]) -> Array:
        _, ys = scan(cell, params, put_floats(xs, inputs), carry, lengths=lengths, **options)
        place = jnp.maximum(ends - 1, 0)[..., None, None]
        return jnp.take_along_axis(ys, place, -2)[..., 0, :]

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
    lag = jnp.arange(time)
    place = ends[..., None] - 1 - lag
    found = jnp.take_along_axis(jnp.sqrt(squares), jnp.maximum(place, 0), -1)
    return Influence(jnp.where(place >= 0, found, 0.0))
