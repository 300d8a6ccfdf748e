"""Where parameters lie when they are split over devices: one rule for all models."""

from typing import Any

import jax

from seqjax.core.parameter_kinds import names_of
from seqjax.core.types import PyTree

SMALLEST = 4096
"""Numbers that an array needs to be split over the devices of a batch."""

BY_GATE = {"input", "recurrent", "kernel"}
"""Names of weights whose second axis is that of gates, or of inputs, and not of heads."""


def parameter_specs(
    params: PyTree, mesh: Any, *, data: str | None = "data", model: str | None = "model"
) -> PyTree:
    """How to split parameters, or the state of their optimizer, over a mesh.

    Over `model`, so that devices work on parts of their own:

    * the weights of a matrix memory, `(inputs, heads, width)`, by heads, and those of its output by
      rows,
    * gated cells with blocks by blocks, `recurrent` `(blocks, ...)`, with the units of a block,
    * an embedding and the head of a language model by the tokens of the vocabulary.

    Over `data`, where each device works on rows of its own with all parameters, which it gathers
    before (fully sharded data parallel): the largest axis that the devices divide and that is not
    split yet, of arrays with 4,096 numbers or more.

    All others are on every device. Names and shapes decide, so the moments of an optimizer lie
    where their parameters do.

    Args:
      params: a tree of arrays or their shapes.
      mesh: a mesh.
      data: the axis that splits the batch; None to leave it out.
      model: the axis that splits the model; None to leave it out.

    Returns:
      A tree like `params`, with a `jax.P` for each array.

    Example:
      >>> import jax
      >>> import seqjax as sj
      >>> params = jax.eval_shape(lambda: sj.lstm(64).init(jax.random.key(0), 8))
      >>> sj.parameter_specs(params, jax.sharding.AbstractMesh((4,), ("data",)))
      {'bias': P(None, None), 'input': P(None, None, None), 'recurrent': P('data', None, None)}

    Source: Rajbhandari et al. 2019, arXiv:1910.02054; Shoeybi et al. 2019, arXiv:1909.08053.
    """
    sizes = dict(mesh.shape)
    paths = jax.tree_util.tree_flatten_with_path(params)[0]
    parents: dict[tuple, dict[str, Any]] = {}
    named = []
    for path, leaf in paths:
        names = tuple(names_of(path))
        parents.setdefault(names[:-1], {})[names[-1] if names else ""] = leaf
        named.append((names, leaf))
    specs = []
    for names, leaf in named:
        entries: list[str | None] = [None] * leaf.ndim
        if model in sizes:
            axis = _axis_of_part(names, leaf, parents[names[:-1]], sizes[model])
            if axis is not None:
                entries[axis] = model
        if data in sizes:
            axis = _largest_axis(leaf, entries, sizes[data])
            if axis is not None:
                entries[axis] = data
        specs.append(jax.P(*entries))
    return jax.tree.unflatten(jax.tree.structure(params), specs)


def _largest_axis(leaf: Any, entries: list, devices: int) -> int | None:
    """The axis to split over the devices of a batch."""
    if leaf.size < SMALLEST:
        return None
    free = [n for n, size in enumerate(leaf.shape) if not size % devices and entries[n] is None]
    return max(free, key=lambda n: leaf.shape[n], default=None)


def _axis_of_part(
    names: tuple[str, ...], leaf: Any, siblings: dict[str, Any], devices: int
) -> int | None:
    """The axis of heads, blocks or tokens, if the devices divide it."""
    *before, name = ("", *names)
    axis = None
    recurrent = siblings.get("recurrent")
    if recurrent is not None and recurrent.ndim == 4:
        by_block = {"recurrent": 0, "input": -1, "bias": -1}
        axis = by_block.get(name) if recurrent.shape[0] % devices == 0 else None
    elif name == "embedding" and leaf.ndim == 2:
        axis = 0
    elif before[-1] == "head" and leaf.ndim:
        axis = -1
    elif leaf.ndim == 3 and name not in BY_GATE:
        axis = 1
    elif name == "output" and leaf.ndim == 2 and _has_heads(siblings, devices):
        axis = 0
    if axis is None or leaf.shape[axis] % devices:
        return None
    return axis % leaf.ndim


def _has_heads(siblings: dict[str, Any], devices: int) -> bool:
    heads = [leaf.shape[1] for name, leaf in siblings.items() if leaf.ndim == 3]
    return bool(heads) and not any(count % devices for count in heads)
