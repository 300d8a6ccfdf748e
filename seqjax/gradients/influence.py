"""Effective memory: how far back an input still influences the output."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.masks import expand
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray
from seqjax.gradients.layerwise import Layer, whole_cell


class Influence(NamedTuple):
    """The influence of each input on the last output.

    Attributes:
      by_lag: `(*batch, time)`: root mean square of `d y_last / d x_(last - lag)` over random
        directions of the output; lag 0 is the last step itself.
    """

    by_lag: Float[Array, "*batch time"]

    def steps(self, fraction: float = 0.01) -> Array:
        """`(*batch,)` ints: the largest lag with at least a fraction of the largest influence."""
        strong = self.by_lag >= fraction * self.by_lag.max(-1, keepdims=True)
        lag = jnp.arange(self.by_lag.shape[-1]).reshape((1,) * (strong.ndim - 1) + (-1,))
        return jnp.where(strong & (self.by_lag > 0), lag, 0).max(-1)

    def over_batch(self) -> "Influence":
        """One for the whole batch, normalized by the largest of each sequence: at each lag the mean
        over the sequences that are long enough."""
        every = self.by_lag.reshape(-1, self.by_lag.shape[-1])
        largest = every.max(-1, keepdims=True)
        share = every / jnp.where(largest > 0, largest, 1)
        return Influence(share.sum(0) / jnp.maximum((every > 0).sum(0), 1))


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
    """The influence of each input on the last output, by lag.

        by_lag[k] = sqrt(mean over random unit vectors u of || u' d y_last / d x_(last - k) ||^2)

    Args:
      cell: any cell.
      params: of the cell.
      xs: `(*batch, time, in_features)`.
      key: for the directions.
      carry: before the first step.
      directions: number of random directions of the output; more are more accurate.
      **options: of `sj.scan`. The last step is the last valid one in the order of processing; lags
        count masked steps, whose influence is 0. An empty sequence has no influence at all.

    Returns:
      An `Influence`.

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
    layer = whole_cell(cell, params, xs, carry, **options)
    return layer_influence(layer, key, directions=directions)


def layer_influence(layer: Layer, key: PRNGKeyArray, *, directions: int = 8) -> Influence:
    """`effective_memory` of a layer from a run."""
    counts, time, reverse = layer.counts, layer.time, layer.steps.reverse
    step = expand(jnp.arange(time), counts.ndim)
    # The step processed last: in a reversed scan the first valid one.
    last = jnp.where(counts, -step if reverse else step, -time).max(0)
    last = jnp.abs(last)
    some = counts.any(0)

    def final(inputs: list[Array]) -> Array:
        ys = layer._replace(xs=put_floats(layer.xs, inputs)).run().ys
        at = jnp.where(some, last, 0)[None, ..., None]
        return jnp.take_along_axis(ys, at, 0)[0]

    inputs = floats(layer.xs)
    y, pull = jax.vjp(final, inputs)
    rank = y.ndim

    def one(key: PRNGKeyArray) -> Array:
        u = jax.random.normal(key, y.shape, y.dtype)
        (found,) = pull(u / jnp.linalg.norm(u, axis=-1, keepdims=True))
        squares = [jnp.square(leaf).reshape(*leaf.shape[:rank], -1).sum(-1) for leaf in found]
        return jnp.stack(squares).sum(0)

    squares = jax.vmap(one)(jax.random.split(key, directions)).mean(0)
    lag = step if reverse else -step
    at = last[None] + lag
    inside = (at >= 0) & (at < time) & some[None]
    found = jnp.take_along_axis(jnp.sqrt(squares), jnp.clip(at, 0, time - 1), 0)
    return Influence(jnp.moveaxis(jnp.where(inside, found, 0.0), 0, -1))
