"""Configurations and checkpoints that an earlier version saved, brought to the present form."""

import re
from collections.abc import Mapping
from typing import Any

from seqjax.core.errors import InputError

VERSION = 4
"""Of the configurations that are saved now; those without a version are of version 1."""


def migrate(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration in its present form, without its version.

    Args:
      config: as it was read from JSON, of any version.

    Raises:
      InputError: if a later version of seqjax wrote it.

    Example:
      >>> from seqjax.train.migrations import migrate
      >>> migrate({"kind": "task", "model": {"cell": "quasi_recurrent"}})["model"]
      {'cell': 'qrnn'}
    """
    config = dict(config)
    version = config.pop("version", 1)
    if version not in range(1, VERSION + 1):
        raise InputError(
            f"The run was saved in version {version}, this seqjax reads versions 1 to {VERSION}: "
            "install the seqjax that saved it, or a later one."
        )
    for step in STEPS[version - 1 :]:
        config = step(config)
    return config


def _to_version_2(config: dict[str, Any]) -> dict[str, Any]:
    """Options, cells and the synthetic tasks got the names of the field."""
    options = {
        "model": {"feeding": "input_feeding"},
        "teaching": {"sampling": "scheduled_sampling", "smoothing": "label_smoothing"},
        "decoding": {"penalty": "length_penalty"},
        "sequences": {"longest": "max_length", "keep": "truncate_side"},
    }
    cells = {
        "diagonal_state_space": "s4d",
        "independent": "indrnn",
        "legendre_memory": "lmu",
        "linear_recurrent_unit": "lru",
        "quasi_recurrent": "qrnn",
        "real_gated_lru": "rg_lru",
        "selective_state_space": "s6",
        "simple_recurrent": "sru",
        "simplified_state_space": "s5",
        "rwkv4": "rwkv4_time_mix",
        "rwkv6": "rwkv6_time_mix",
        "rwkv7": "rwkv7_time_mix",
    }
    blocks = {"griffin": "hawk"}
    for section, names in options.items():
        if section in config:
            values = config[section].items()
            config[section] = {names.get(name, name): value for name, value in values}
    for name, renamed in (("cell", cells), ("block", blocks)):
        model = config.get("model", {})
        if name in model:
            config["model"] = model | {name: renamed.get(model[name], model[name])}
    kind = config.get("kind")
    return config | {"kind": "synthetic" if kind == "task" else kind}


def _to_version_3(config: dict[str, Any]) -> dict[str, Any]:
    """Biases no longer decay; those of a run that goes on do. Transcripts are a `text`."""
    optimization = {"decay_biases": True} | config.get("optimization", {})
    config = config | {"optimization": optimization}
    if "columns" in config:
        names, values = {"transcript": "text"}, config["columns"].items()
        config["columns"] = {names.get(name, name): value for name, value in values}
    return config


STEPS = (_to_version_2, _to_version_3, dict)
"""The step from version 1 to 2, and so on. In version 4 it is checkpoints that are different: each
array has a digest of its own."""


ORDER = (
    "blocks",
    "first",
    "first_norm",
    "norm",
    "time",
    "project",
    "mix",
    "gates",
    "branches",
    "convolve",
    "gate",
    "recurrent",
    "cell",
    "memory",
    "pool",
    "up",
    "down",
    "output",
    "channel",
    "last_norm",
)
"""Names of layers, those that come first in a composite before those that come after them."""

Shape = tuple[tuple[int, ...], Any]


def match_arrays(saved: Mapping[str, Shape], wanted: Mapping[str, Shape]) -> dict[str, str] | None:
    """The name in a checkpoint of version 1 of each array of the present form.

    Layers were numbered in composites and have names now: `variables/1/0/kernel` is
    `variables/qrnn_1/convolve/kernel`. Their order is the same, so arrays whose paths are equal
    but for layers, and whose shapes and dtypes are equal, are matched in order.

    Args:
      saved: shape and dtype of each array in the checkpoint.
      wanted: the same in the present form.

    Returns:
      For each name in `wanted` that in `saved`; None if they do not match.

    Example:
      >>> from seqjax.train.migrations import match_arrays
      >>> saved = {"0/bias": ((2,), "f4"), "1/bias": ((2,), "f4")}
      >>> match_arrays(saved, {"dense_1/bias": ((2,), "f4"), "gru_0/bias": ((2,), "f4")})
      {'gru_0/bias': '0/bias', 'dense_1/bias': '1/bias'}
    """
    old, new = _grouped(saved), _grouped(wanted)
    found = {}
    for group, names in new.items():
        if len(old.get(group, ())) != len(names):
            return None
        found |= dict(zip(names, old[group], strict=True))
    return found


def _grouped(arrays: Mapping[str, Shape]) -> dict[Any, list[str]]:
    """The names of arrays in the order of their layers, by all that is not a layer."""
    groups: dict[Any, list[str]] = {}
    for name in sorted(arrays, key=lambda name: [_place(part) for part in name.split("/")]):
        path = tuple(part for part in name.split("/") if _place(part)[0] == LEAF)
        groups.setdefault((path, arrays[name]), []).append(name)
    return groups


NUMBER, NAME, LEAF = range(3)


def _place(part: str) -> tuple[int, int, str]:
    """Where a part of a path stands among those beside it; a layer by its number or its name."""
    numbered = re.fullmatch(r"(?:.*_)?(\d+)", part)
    if numbered:
        return NUMBER, int(numbered[1]), ""
    if part in (*ORDER, "layers"):
        return NAME, ORDER.index(part) if part in ORDER else 0, ""
    return LEAF, 0, part
