"""A cell's parameters as variables of a Flax module, and back."""

from typing import Any

import jax
from flax import nnx

from seqjax.core.types import Params, PyTree


def _is_flax(node: Any) -> bool:
    return isinstance(node, (nnx.Module, nnx.Variable))


def to_variables(params: Params) -> PyTree:
    """Every array of the tree as an `nnx.Param`; Flax modules inside stay as they are."""
    wrapped = jax.tree.map(
        lambda leaf: leaf if _is_flax(leaf) else nnx.Param(leaf), params, is_leaf=_is_flax
    )
    return wrapped if _is_flax(wrapped) else nnx.data(wrapped)


def to_arrays(variables: PyTree) -> Params:
    """The tree of arrays that `to_variables` was given."""
    return jax.tree.map(
        lambda node: node.get_value() if isinstance(node, nnx.Variable) else node,
        variables,
        is_leaf=_is_flax,
    )
