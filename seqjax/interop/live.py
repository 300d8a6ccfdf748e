"""Layers of other libraries and their weights: arrays by name, and what else they say."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax

KERAS_LISTS = {2: 1, 3: 1, 4: 2, 6: 2}
"""Of how many layers, one in each direction, a list of so many weights is."""


def described(source: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """The config and the arrays of a layer, or of a tree of arrays.

    Raises:
      TypeError: if it is neither.
    """
    for library, describe in LIBRARIES.items():
        if any(base.__module__.split(".")[0] == library for base in type(source).__mro__):
            return describe(source)
    if isinstance(source, Mapping):
        return {}, _named(source)
    if isinstance(source, Sequence):
        return {}, _keras_names(source)
    raise TypeError(
        "expected a path, a layer of PyTorch, Keras, Flax NNX or Equinox, or arrays by name; got "
        f"{type(source).__name__}."
    )


def nested(arrays: Mapping[str, Any]) -> dict[str, Any]:
    """Dicts of dicts of arrays whose names have dots in them."""
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *parts, last = name.split(".")
        branch = tree
        for part in parts:
            branch = branch.setdefault(part, {})
        branch[last] = array
    return tree


def _named(tree: Any) -> dict[str, Any]:
    """The arrays of a tree by the names on the way to each, with dots between."""
    found = {}
    for path, leaf in jax.tree.leaves_with_path(tree):
        parts = [str(getattr(key, "key", getattr(key, "name", None))) for key in path]
        if parts[-1:] == ["value"]:
            # Of a variable of Flax, the array is an attribute.
            parts = parts[:-1]
        if hasattr(leaf, "shape"):
            found[".".join(parts)] = leaf
    return found


def _of_torch(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    if not hasattr(module, "state_dict"):
        raise TypeError(f"expected a module of PyTorch, got {type(module).__name__}.")
    config = {}
    if hasattr(module, "nonlinearity"):
        config["nonlinearity"] = module.nonlinearity
    return config, module.state_dict()


def _of_keras(layer: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return keras_config(layer.get_config()), _keras_names(layer.get_weights())


def keras_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """What the config of a layer says of its cell, whatever is around it."""
    inside = config.get("layer", config.get("cell"))
    own = {} if inside is None else keras_config(inside["config"])
    outside = {key: value for key, value in config.items() if key not in ("layer", "cell")}
    return {**outside, **own, "go_backwards": config.get("go_backwards", False)}


def _of_nnx(module: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    named = {
        key: getattr(getattr(module, key), "__name__", None)
        for key in ("activation_fn", "gate_fn")
        if hasattr(module, key)
    }
    return {**named, "residual": getattr(module, "residual", False)}, _named(module)


def _keras_names(weights: Sequence[Any]) -> dict[str, Any]:
    """As in the files of Keras."""
    if len(weights) not in KERAS_LISTS:
        raise TypeError(
            "expected the weights of one recurrent layer of Keras, two or three arrays in each "
            f"direction; got {len(weights)}."
        )
    directions = ("",) if KERAS_LISTS[len(weights)] == 1 else ("forward_layer/", "backward_layer/")
    each = len(weights) // len(directions)
    return {
        f"{direction}cell/vars/{index}": weights[each * number + index]
        for number, direction in enumerate(directions)
        for index in range(each)
    }


LIBRARIES = {
    "keras": _of_keras,
    "torch": _of_torch,
    "flax": _of_nnx,
    "equinox": lambda module: ({}, _named(module)),
}
"""By the package of the class, or of one that it is made from: a layer of Keras may be one of
PyTorch as well."""
