"""Which parameters are weights, for decay and for optimizers that treat matrices apart."""

from typing import Any, Literal

import jax
from jax.tree_util import GetAttrKey

from seqjax.core.attention import is_memory
from seqjax.core.trees import is_float
from seqjax.core.types import Params, PyTree

Kind = Literal["weight", "embedding", "other"]

EMBEDDINGS = {"embedding", "steps", "positions"}
"""Names of tables of which each row is a vector by itself."""

BY_UNIT = {"a", "a_real", "a_imaginary", "mu", "peephole", "between"}
"""Names of arrays of two dimensions whose entries act alone: decays, shares, scores of pairs."""

UNIT_ENDINGS = ("bias", "gain", "scale")


def parameter_kinds(params: Params) -> PyTree:
    """What each parameter is: the labels for `optax.multi_transform`.

    * `"weight"`: matrices and kernels, which multiply inputs or states.
    * `"embedding"`: tables of vectors, one for each token or position.
    * `"other"`: biases, gains, decays, step sizes, peepholes, learned initial carries, and the
      memory that an attention reads.

    The number of dimensions does not tell: the bias of a gated cell is `(gates, features)`. It is
    the name that does, the last one in the tree, and of what has two dimensions or more the
    names above and `bias`, `gain` and `scale` at the end of a name are no weights. So it is for
    the parameters of all cells, of the modules of `seqjax.nn` and of Flax, and for your own.

    Args:
      params: of a cell, or a Flax module; arrays or their shapes.

    Returns:
      A tree like `params`, with a string for each array.

    Example:
      >>> import jax, optax
      >>> import seqjax as sj
      >>> params = sj.gru(4).init(jax.random.key(0), 3)
      >>> sj.parameter_kinds(params)
      {'bias': 'other', 'input': 'weight', 'recurrent': 'weight', 'recurrent_bias': 'other'}
      >>> rules = {"weight": optax.adam(1e-3), "embedding": optax.sgd(0.1), "other": optax.sgd(0.1)}
      >>> state = optax.multi_transform(rules, sj.parameter_kinds).init(params)
    """

    def kind_of(path: tuple, node: Any) -> Any:
        if is_memory(node):
            return jax.tree.map(lambda _: "other", node)
        names, name = names_of(path), name_of(path)
        if not is_float(node) or "initial_carry" in names:
            return "other"
        if name in EMBEDDINGS:
            return "embedding"
        alone = name in BY_UNIT or name.startswith("mu_") or name.endswith(UNIT_ENDINGS)
        return "other" if alone or node.ndim < 2 else "weight"

    return jax.tree_util.tree_map_with_path(kind_of, params, is_leaf=is_memory)


def weight_mask(params: Params) -> PyTree:
    """Whether each parameter is to decay: the mask for optax.

    True for weights and embeddings of `parameter_kinds`, False for all else, which would be pulled
    away from where it belongs: a forget bias from 1, a decay from its time scale.

    Args:
      params: of a cell, or a Flax module.

    Returns:
      A tree like `params`, with a bool for each array.

    Example:
      >>> import jax, optax
      >>> import seqjax as sj
      >>> params = sj.lstm(4).init(jax.random.key(0), 3)
      >>> sj.weight_mask(params)
      {'bias': False, 'input': True, 'recurrent': True}
      >>> optimizer = optax.adamw(1e-3, weight_decay=0.1, mask=sj.weight_mask)
    """
    return jax.tree.map(lambda kind: kind != "other", parameter_kinds(params))


def names_of(path: tuple) -> list[str]:
    """The parts of the path of a parameter."""
    # Of a variable of Flax, the array is an attribute.
    own = path[:-1] if path[-1:] == (GetAttrKey("value"),) else path
    return list(map(_name, own))


def name_of(path: tuple) -> str:
    """The last part of the path of a parameter; empty if it is the whole tree."""
    return ["", *names_of(path)][-1]


def _name(key: Any) -> str:
    """The last part of a path as a name: of a dict, an attribute or a position."""
    for field in ("key", "name", "idx"):
        if hasattr(key, field):
            return str(getattr(key, field))
    return str(key)
