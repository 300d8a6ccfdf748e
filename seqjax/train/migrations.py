"""Configurations that an earlier version saved, brought to the present form."""

from typing import Any

from seqjax.core.errors import InputError

VERSION = 2
"""Of the configurations that are saved now; those without a version are of version 1."""


def migrate(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration in its present form, without its version.

    Args:
      config: as it was read from JSON, of any version.

    Raises:
      InputError: if a later version of seqjax wrote it.

    Example:
      >>> from seqjax.train.migrations import migrate
      >>> migrate({"kind": "task", "model": {"cell": "quasi_recurrent"}})
      {'kind': 'synthetic', 'model': {'cell': 'qrnn'}}
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
    }
    for section, names in options.items():
        if section in config:
            values = config[section].items()
            config[section] = {names.get(name, name): value for name, value in values}
    model = config.get("model", {})
    if "cell" in model:
        config["model"] = model | {"cell": cells.get(model["cell"], model["cell"])}
    kind = config.get("kind")
    return config | {"kind": "synthetic" if kind == "task" else kind}


STEPS = (_to_version_2,)
"""The step from version 1 to 2, and so on."""
