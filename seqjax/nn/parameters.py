"""A cell's parameters as variables of a Flax module, and back."""

from typing import Any

import jax
import jax.numpy as jnp
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


def expect_like(owner: str, params: Params, like: Params) -> None:
    """Raises unless parameters have the names and shapes of others."""
    given, wanted = (
        {jax.tree_util.keystr(path): jnp.shape(leaf) for path, leaf in leaves}
        for leaves in map(jax.tree.leaves_with_path, (params, like))
    )
    for path in sorted(given.keys() | wanted.keys()):
        if given.get(path) != wanted.get(path):
            raise ValueError(
                f"{owner}: expected params{path} of shape {wanted.get(path)}, got "
                f"{given.get(path)} (None: there is none). They must be like those of `cell.init`."
            )
    if jax.tree.structure(params) != jax.tree.structure(like):
        raise ValueError(
            f"{owner}: expected a tree like that of `cell.init`, {jax.tree.structure(like)}; got "
            f"{jax.tree.structure(params)}."
        )
