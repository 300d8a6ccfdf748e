"""Every setting of a run, as frozen records."""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from seqjax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class CellConfig:
    """The recurrent layers of a model."""

    cell: str = "gru"
    """elman, gru, lstm, minimal_gru, mlstm, delta_net, ... (a wrong name lists them all); or
    module:function, where function(features) makes a cell."""
    cell_options: tuple[str, ...] = ()
    """What else the cell is told, or each block, as name=value, such as heads=2."""
    block: (
        Literal[
            "gated_delta_net",
            "hawk",
            "mamba",
            "mamba2",
            "minimal_gru",
            "retnet",
            "rwkv4",
            "rwkv6",
            "rwkv7",
            "xlstm",
            "xlstm_7b",
        ]
        | None
    ) = None
    """Instead of cells: layers of such blocks, with a norm behind the last. Hawk is Griffin without
    its local attention."""
    features: int = 256
    """Width of each layer's state."""
    layers: int = 1
    """Number of layers; from the second on they are residual."""
    dropout: float = 0.1
    """Probability that an output of a layer is dropped."""
    variational: bool = False
    """One dropout mask for a whole sequence instead of one for every step."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """The update rule, from optax; adamw without weight decay is adam."""
    learning_rate: float = 1e-2
    """Peak of the learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What the learning rate does after the warm-up: fall to 2 percent, or stay."""
    warmup: int = 100
    """Steps over which the learning rate rises from zero."""
    clip: float = 1.0
    """Largest norm of the gradient over all parameters; larger ones are scaled down."""
    weight_decay: float = 0.1
    """Share of the learning rate by which parameters shrink in a step."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every run can be told, whatever it learns."""

    optimization: OptimizerConfig = OptimizerConfig()
    batch: int = 64
    """Rows of a batch."""
    steps: int = 1000
    """Updates of the parameters."""
    seed: int = 0
    """For parameters, noise and the order of the data."""
    repeat: int = 1
    """Train so many times, with seed, seed + 1, ..., and report the mean and the spread."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters are kept in float32."""
    out: Path | None = None
    """Folder of the run; by default a new one below runs/."""
    resume: Path | None = None
    """Folder of a run to continue, with the settings that it was started with."""
    log_every: int = 50
    """Steps between lines in the logs."""
    validate_every: int = 500
    """Steps between validations and checkpoints."""
    patience: int = 0
    """Stop after so many validations in a row without a better one; 0 never stops early."""
    diagnose: int = 0
    """Steps between looks at gradients and gates, for TensorBoard and `seqjax inspect`; 0 for
    none."""
    devices: int | None = None
    """How many devices share the batch; by default as many as divide it. On a CPU, cores."""

    def __post_init__(self):
        check_numbers(self)


ABOVE_ZERO = {
    "batch", "steps", "repeat", "log_every", "validate_every", "devices", "features", "layers",
    "embedding", "spelling", "time", "learning_rate", "clip", "buckets", "vocabulary", "history",
    "horizon", "length", "beams", "summary", "video", "convolutions", "test_lengths",
    "generate", "seconds",
}  # fmt: skip
NOT_NEGATIVE = {
    "patience",
    "diagnose",
    "warmup",
    "weight_decay",
    "sample",
    "longest",
    "season",
    "penalty",
    "long",
}
BELOW_ONE = {"dropout", "word_dropout", "smoothing"}
UP_TO_ONE = {"sampling"}
BETWEEN = {"held_out"}


def check_numbers(config: Any) -> None:
    """Raises `InputError` where a setting, here or in the records inside, makes no sense."""
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        option = f"--{name.replace('_', '-')}"
        if dataclasses.is_dataclass(value):
            check_numbers(value)
            continue
        if name in ABOVE_ZERO and isinstance(value, tuple) and not all(one > 0 for one in value):
            raise InputError(f"{option} must be above 0, all of them, got {value}.")
        if not isinstance(value, (int, float)):
            continue
        if name in ABOVE_ZERO and not value > 0:
            raise InputError(f"{option} must be above 0, got {value}.")
        elif name in NOT_NEGATIVE and value < 0:
            raise InputError(f"{option} must be 0 or more, got {value}.")
        elif name in BELOW_ONE and not 0 <= value < 1:
            raise InputError(f"{option} must be in [0, 1), got {value}.")
        elif name in UP_TO_ONE and not 0 <= value <= 1:
            raise InputError(f"{option} must be in [0, 1], got {value}.")
        elif name in BETWEEN and not 0 < value < 1:
            raise InputError(f"{option} must be between 0 and 1, got {value}.")


def parse_options(option: str, texts: Sequence[str]) -> dict[str, Any]:
    """`name=value` of each text; a value is JSON, or Python's True, False or None, or a word."""
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not (equals and name.isidentifier()):
            raise InputError(f"{option}: expected name=value such as heads=2, got {text!r}.")
        python = {"True": True, "False": False, "None": None}
        try:
            found[name] = python[value] if value in python else json.loads(value)
        except ValueError:
            found[name] = value
    return found


def to_json(kind: str, config: RunConfig) -> str:
    """The settings of a run that learns a task of this kind, as JSON."""
    return json.dumps({"kind": kind} | dataclasses.asdict(config), indent=2, default=str)


def from_json(text: str, kinds: Mapping[str, type[RunConfig]]) -> tuple[str, RunConfig]:
    """`(kind, settings)` as written by `to_json`."""
    values = json.loads(text)
    return values["kind"], _build(kinds[values["kind"]], values)


def _build(kind: Any, value: Any) -> Any:
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        kinds = typing.get_type_hints(kind)
        known = {name: _build(kinds[name], item) for name, item in value.items() if name in kinds}
        return kind(**known)
    if isinstance(kind, types.UnionType):
        inner = next(arg for arg in typing.get_args(kind) if arg is not type(None))
        return None if value is None else _build(inner, value)
    if kind is Path:
        return Path(value)
    if typing.get_origin(kind) is tuple:
        return tuple(_build(typing.get_args(kind)[0], item) for item in value)
    return value


def differences(saved: RunConfig, asked: RunConfig) -> list[str]:
    """The settings that would change the course of a run, as `--name: old, not new`."""
    # How many devices share the work changes no more than rounding.
    free = {"out", "resume", "sample", "log_every", "devices"}
    found = []

    def compare(old: Any, new: Any) -> None:
        for field in dataclasses.fields(old):
            before, after = getattr(old, field.name), getattr(new, field.name)
            if dataclasses.is_dataclass(before):
                compare(before, after)
            elif before != after and field.name not in free:
                found.append(f"--{field.name.replace('_', '-')} {before}, not {after}")

    compare(saved, asked)
    return found
