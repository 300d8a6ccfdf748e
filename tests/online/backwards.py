"""The gradient by backpropagation through all steps: what forward gradients are held to."""

import jax
import jax.numpy as jnp
import numpy as np

import seqjax as sj
from seqjax.core.trees import floats, put_floats
from tests.parameters import drawn
from tests.table import IN_FEATURES


def loss(y, target):
    """Of one step of each sequence."""
    return jnp.sin(y * target).sum(-1)


def example(cell, *, batch=(2,), time=6, in_features=IN_FEATURES):
    """`(params, xs, targets, mask, resets)` in float64; inputs at masked steps are NaN."""
    random = np.random.default_rng(0)
    xs = random.standard_normal((*batch, time, in_features))
    targets = random.standard_normal((*batch, time, cell.features))
    mask, keep = random.random((2, *batch, time)) > 0.3
    return drawn(cell, in_features), xs, targets, mask, ~keep


def backwards(cell, params, xs, targets, *, mask=None, **options):
    """`(loss, gradients)` of the floating-point parameters."""

    def value(weights):
        own = put_floats(params, weights)
        _, ys = sj.scan(cell, own, xs, mask=mask, method="plain", **options)
        terms = loss(ys, targets)
        return (terms if mask is None else jnp.where(mask, terms, 0)).sum()

    return jax.jit(jax.value_and_grad(value))(floats(params))


def forwards(learner, params, xs, targets, **options):
    """The same by a learner."""

    def run(params):
        found = sj.online.sequence_gradient(learner, params, xs, targets, loss, **options)
        return found.loss, floats(found.gradient)

    return jax.jit(run)(params)
