"""Exponentials of parameters, held where a larger one would make NaN and change nothing else."""

import math

import jax.numpy as jnp

from seqjax.core.types import Array


def bounded_exp(x: Array) -> Array:
    """`exp(x)`, and `exp(20)` above: the product of four of them still fits into float32.

    Where it multiplies what has become 0, or its gradient does, infinity would make that NaN.
    """
    return jnp.exp(jnp.minimum(x, 20.0))


def log_decay(x: Array, size: Array | float = 1.0) -> Array:
    """`-size * exp(x)`, the logarithm of a decay, held where the decay is as good as 0.

    Engines sum logarithms over time: one that is very large would take the digits of the others.
    """
    largest = -math.log(jnp.finfo(x.dtype).tiny)
    return -jnp.minimum(size * bounded_exp(x), largest)
