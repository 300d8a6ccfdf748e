"""Masked losses over sequences.

Each is a sum over the unmasked terms, accumulated in float32 at least: divide by their number for
the mean, or add the sums of several batches or devices first. `mask` is bool and has leading
dimensions of the targets: `(*batch, time)` for a target per step, `(*batch,)` for one per sequence,
or all of them. Masked entries, NaN included, reach neither the sum nor its gradient; None is all
True.
"""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.scipy import stats

from seqjax.core.masks import expand
from seqjax.core.types import Array, Float


def cross_entropy(
    logits: Array, targets: Array, mask: Array | None = None, *, label_smoothing: float = 0.0
) -> Array:
    """The negative log-likelihood of the targets, in nats, summed over unmasked steps.

        p = softmax(logits[t])
        sum over t of mask[t] * -((1 - s) log p[targets[t]] + s mean(log p))     s: label_smoothing

    Args:
      logits: `(*batch, time, classes)`; computed in float32 at least.
      targets: `(*batch, time)` ints.
      mask: `(*batch, time)` bool, the steps that count; all of them if None.
      label_smoothing: share of the target distribution that is spread uniformly over the classes,
        in [0, 1).

    Returns:
      A scalar, in nats. Divide by the number of unmasked steps for the mean.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import cross_entropy
      >>> float(cross_entropy(jnp.zeros((1, 3, 4)), jnp.zeros((1, 3), int)) / 3)
      1.3862943649291992

    Source: label smoothing, Szegedy et al. 2015, arXiv:1512.00567.
    """
    logits = _masked(logits, mask)
    targets = targets if mask is None else jnp.where(mask, targets, 0)
    nats = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
    if label_smoothing:
        spread = -jax.nn.log_softmax(logits, -1).mean(-1)
        nats = (1 - label_smoothing) * nats + label_smoothing * spread
    return _sum(nats, mask)


def binary_cross_entropy(logits: Array, targets: Array, mask: Array | None = None) -> Array:
    """The negative log-likelihood of independent binary labels (multi-label classification).

        sum of -(target * log sigmoid(logit) + (1 - target) * log sigmoid(-logit))

    Args:
      logits: `(*shape, labels)`.
      targets: `(*shape, labels)`; 0 and 1, bool, or probabilities.
      mask: bool with leading dimensions of these; with all of them it masks single labels.

    Returns:
      A scalar, in nats.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import binary_cross_entropy
      >>> float(binary_cross_entropy(jnp.zeros((1, 2)), jnp.array([[True, False]])) / 2)
      0.6931471824645996
    """
    check_shapes("binary_cross_entropy", logits=logits, targets=targets)
    logits = _masked(logits, mask)
    targets = _masked(targets.astype(logits.dtype), mask)
    return _sum(optax.sigmoid_binary_cross_entropy(logits, targets), mask)


def squared_error(predictions: Array, targets: Array, mask: Array | None = None) -> Array:
    """The sum of `(prediction - target) ** 2`.

    Args:
      predictions: `(*shape)`.
      targets: `(*shape)`.
      mask: bool with leading dimensions of these.

    Returns:
      A scalar, in the square of the targets' unit.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import squared_error
      >>> float(squared_error(jnp.array([1.0, 5.0]), jnp.array([3.0, 5.0])))
      4.0
    """
    check_shapes("squared_error", predictions=predictions, targets=targets)
    return _sum(optax.squared_error(_masked(predictions, mask), _masked(targets, mask)), mask)


def huber(
    predictions: Array, targets: Array, mask: Array | None = None, *, delta: float = 1.0
) -> Array:
    """The Huber loss: quadratic for small errors and linear beyond, robust to outliers.

        e = |prediction - target|
        sum of e ** 2 / 2 if e <= delta, else delta * (e - delta / 2)

    Args:
      predictions: `(*shape)`.
      targets: `(*shape)`.
      mask: bool with leading dimensions of these.
      delta: the error at which the loss becomes linear, in the targets' unit.

    Returns:
      A scalar.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import huber
      >>> float(huber(jnp.array([0.0, 0.0]), jnp.array([1.0, 10.0])))
      10.0

    Source: Huber 1964 (Annals of Mathematical Statistics).
    """
    check_shapes("huber", predictions=predictions, targets=targets)
    errors = optax.huber_loss(_masked(predictions, mask), _masked(targets, mask), delta=delta)
    return _sum(errors, mask)


def pinball(predictions: Array, targets: Array, levels: Array, mask: Array | None = None) -> Array:
    """The pinball (quantile) loss, summed over the levels too; its minimizer is the quantile.

        e = target - prediction
        sum of max(level * e, (level - 1) * e)

    Args:
      predictions: `(*shape, quantiles)`.
      targets: `(*shape)`.
      levels: `(quantiles,)` in (0, 1); 0.5 is the median.
      mask: bool with leading dimensions of the targets.

    Returns:
      A scalar, in the targets' unit.

    Raises:
      ValueError: if the shapes do not fit.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import pinball
      >>> float(pinball(jnp.array([[1.0, 4.0]]), jnp.array([3.0]), jnp.array([0.5, 0.75])))
      1.25

    Source: Koenker and Bassett 1978 (Econometrica).
    """
    return _sum(pinball_errors(predictions, targets, levels, mask), mask)


def pinball_errors(
    predictions: Array, targets: Array, levels: Array, mask: Array | None = None
) -> Array:
    """The terms of `pinball`, `(*shape, quantiles)`; masked ones are 0."""
    if predictions.shape != (*targets.shape, *levels.shape):
        raise ValueError(
            "pinball: the predictions need the shape of the targets with a trailing axis for the "
            f"levels, {(*targets.shape, *levels.shape)}; got {predictions.shape}."
        )
    error = _masked(targets, mask)[..., None] - _masked(predictions, mask)
    levels = levels.reshape((1,) * targets.ndim + levels.shape)
    return jnp.maximum(levels * error, (levels - 1) * error)


def gaussian_nll(location: Array, scale: Array, targets: Array, mask: Array | None = None) -> Array:
    """The negative log-likelihood of a normal distribution.

        z = (target - location) / scale
        sum of z ** 2 / 2 + log(scale) + log(2 pi) / 2

    Args:
      location: `(*shape)`, the mean.
      scale: `(*shape)`, the standard deviation, above 0.
      targets: `(*shape)`.
      mask: bool with leading dimensions of these.

    Returns:
      A scalar, in nats; below 0 where the density is above 1.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import gaussian_nll
      >>> float(gaussian_nll(jnp.array([2.0]), jnp.array([1.0]), jnp.array([2.0])))
      0.9189385175704956
    """
    check_shapes("gaussian_nll", location=location, scale=scale, targets=targets)
    density = stats.norm.logpdf(
        _masked(targets, mask), _masked(location, mask), _masked(scale, mask, 1.0)
    )
    return _sum(-density, mask)


def student_t_nll(
    location: Array, scale: Array, degrees: Array, targets: Array, mask: Array | None = None
) -> Array:
    """The negative log-likelihood of Student's t distribution, robust to outliers.

        z = (target - location) / scale
        sum of (degrees + 1) / 2 * log(1 + z ** 2 / degrees) + log(scale)
               + log(degrees pi) / 2 + lgamma(degrees / 2) - lgamma((degrees + 1) / 2)

    Args:
      location: `(*shape)`, the median.
      scale: `(*shape)`, above 0; it approaches the standard deviation as the degrees grow.
      degrees: `(*shape)`, the degrees of freedom, above 0; the fewer, the heavier the tails.
      targets: `(*shape)`.
      mask: bool with leading dimensions of these.

    Returns:
      A scalar, in nats; below 0 where the density is above 1.

    Raises:
      ValueError: if the shapes differ.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.losses import student_t_nll
      >>> one = jnp.ones(1)                                      # log(pi): a Cauchy density
      >>> round(float(student_t_nll(one, one, one, one)), 4)
      1.1447
    """
    check_shapes("student_t_nll", location=location, scale=scale, degrees=degrees, targets=targets)
    density = stats.t.logpdf(
        _masked(targets, mask),
        _masked(degrees, mask, 1.0),
        _masked(location, mask),
        _masked(scale, mask, 1.0),
    )
    return _sum(-density, mask)


def _masked(x: Array, mask: Array | None, fill: float = 0.0) -> Float[Array, "..."]:
    """In float32 at least, with a harmless number where the mask is False."""
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    return x if mask is None else jnp.where(expand(mask, x.ndim), x, fill)


def _sum(terms: Array, mask: Array | None) -> Array:
    if mask is None:
        return terms.sum()
    return jnp.where(expand(mask, terms.ndim), terms, 0.0).sum()


def check_shapes(owner: str, **arrays: Any) -> None:
    """Raises `ValueError` unless the shapes are the same.

    Broadcasting `(n, 1)` against `(n,)` would pass silently and ruin a training run.
    """
    if len({x.shape for x in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {x.shape}" for name, x in arrays.items())
        raise ValueError(f"{owner}: the shapes must be the same, got {shapes}.")
