"""Losses over sequences, in which padding never counts."""

import jax.numpy as jnp
import optax

from seqjax.core.masks import expand
from seqjax.core.types import Array


def cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> Array:
    """The negative log-likelihood of the targets, in nats, summed over the steps that count.

        sum over t of mask[t] * -log softmax(logits[t])[targets[t]]

    Args:
      logits: `(*batch, time, classes)`; computed in float32 at least.
      targets: `(*batch, time)` ints.
      mask: `(*batch, time)` bool, the steps that count; all of them if None. What stands
        at the others, NaN included, does not matter.

    Returns:
      A scalar, in nats. Divide by the number of steps that count for the mean.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import cross_entropy
      >>> float(cross_entropy(jnp.zeros((1, 3, 4)), jnp.zeros((1, 3), int)) / 3)
      1.3862943649291992
    """
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if mask is not None:
        logits = jnp.where(expand(mask, logits.ndim), logits, 0.0)
        targets = jnp.where(mask, targets, 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    return nats.sum() if mask is None else jnp.where(mask, nats, 0.0).sum()
