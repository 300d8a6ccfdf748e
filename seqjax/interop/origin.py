"""Where weights come from, and whose they are."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.interop.families import LAYERS
from seqjax.interop.files import (
    Tensors,
    find_weights,
    keras_layer_config,
    read_tensors,
    tensors_of,
)
from seqjax.interop.live import described
from seqjax.interop.table import Family, Shapes


def open_source(source: Any, prefix: str = "") -> tuple[dict[str, Any], Tensors, Path | None]:
    """The config, the arrays by name, and the folder of a source of weights.

    Args:
      source: a folder, a file, a layer of another library, or arrays.
      prefix: of the names that are wanted; it is left out of them.

    Raises:
      InputError: if there is no such file, or it is none of weights.
    """
    if not isinstance(source, (str, Path)):
        config, arrays = described(source)
        return config, _below(tensors_of(arrays), prefix), None
    path = Path(source)
    if not path.exists():
        raise InputError(
            f"There is no {path}. Nothing is fetched by itself: see 'Fetch a model' in "
            "docs/interop.md."
        )
    if path.is_dir():
        return read_config(path), _below(read_tensors(find_weights(path)), prefix), path
    config = keras_layer_config(path, prefix) if path.suffix == ".keras" else {}
    return config, _below(read_tensors(path), prefix), None


def _below(tensors: Tensors, prefix: str) -> Tensors:
    """Those with the prefix, without it."""
    found = {
        name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)
    }
    if tensors and not found:
        raise InputError(
            f"No name begins with {prefix!r}; there are {', '.join(sorted(tensors)[:8])}, ..."
        )
    return found


def read_config(folder: Path) -> dict[str, Any]:
    """What `config.json` says; nothing if there is none."""
    path = folder / "config.json"
    if not path.exists():
        return {}
    try:
        config = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(f"{path} is not JSON: {error}. Fetch it again.") from None
    if not isinstance(config, dict):
        raise InputError(f"{path}: expected an object, got {type(config).__name__}.")
    return config


def choose_family(
    asked: str | Family | None,
    known: Sequence[Family],
    config: Mapping[str, Any],
    shapes: Shapes,
    folder: Path | None,
) -> Family:
    """The family that was asked for, or the one that config and names tell.

    Raises:
      InputError: if there is none, or the config is that of another one.
    """
    fitting = [family for family in known if family.matches(config, shapes)]
    if isinstance(asked, Family):
        return asked
    if asked is None:
        if len(fitting) == 1:
            return fitting[0]
        raise InputError(_none_fits(known, fitting, config, shapes, folder))
    named = [family for family in known if family.name == asked]
    if not named:
        names = ", ".join(family.name for family in known)
        raise InputError(f"There is no family {asked!r}; there are {names}.")
    if fitting and named[0] not in fitting:
        raise InputError(
            f"This config is one of the family {fitting[0].name}, not of {asked}: leave out "
            "`family`, or give the config of that model."
        )
    return named[0]


def _none_fits(
    known: Sequence[Family],
    fitting: Sequence[Family],
    config: Mapping[str, Any],
    shapes: Shapes,
    folder: Path | None,
) -> str:
    if fitting:
        names = " and ".join(family.name for family in fitting)
        return f"The weights fit {names}: say which, `family={fitting[0].name!r}`."
    if config and not config.get("model_type"):
        return "The config has no `model_type`, which tells the family: add it, or give `family=`."
    if config:
        names = ", ".join(family.name for family in known if family not in LAYERS)
        return (
            f"No family here has models with model_type {config.get('model_type')!r}; there are "
            f"{names}. docs/extending.md shows how one is added."
        )
    if not shapes:
        return "There are no arrays among these weights: expected names with arrays."
    where = f"{folder} has no config.json, and the" if folder else "The"
    hints = " or ".join(map(repr, _prefixes(known, shapes)))
    return (
        f"{where} names of the weights tell no family: {', '.join(sorted(shapes)[:4])}, ... "
        + (f"There is one below prefix={hints}." if hints else "")
        + ("" if hints else "Fetch config.json too, or say which with `family=` and `config=`.")
    )


def _prefixes(known: Sequence[Family], shapes: Shapes) -> list[str]:
    """Those below which the names tell a family."""
    starts = {name[: cut.end()] for name in shapes for cut in re.finditer(r"[./]", name)}
    parts = {
        start: {name.removeprefix(start): shapes[name] for name in shapes if name.startswith(start)}
        for start in sorted(starts)
    }
    return [start for start, part in parts.items() if any(one.matches({}, part) for one in known)]
