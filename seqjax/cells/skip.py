"""What goes past the state of a linear state space, from input to output."""

from typing import Any

import jax

from seqjax.core import initializers
from seqjax.core.gates import like_features
from seqjax.core.types import Array, Params, PRNGKeyArray


def start_skip(key: PRNGKeyArray, in_features: int, features: int, dtype: Any) -> Array:
    """D: a number for each feature; or a matrix, if input and output differ in width."""
    if in_features == features:
        return jax.random.normal(key, (features,), dtype)
    return initializers.Glorot()(key, (in_features, features), dtype)


def add_skip(params: Params, values: Array, x: Array) -> Array:
    """`values + D x`, in the dtype of the inputs."""
    skip = params["skip"]
    direct = like_features(skip, x) * x if skip.ndim == 1 else x @ skip
    return (values + direct).astype(direct.dtype)
