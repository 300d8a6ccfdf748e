"""Every setting of a run, as frozen records."""

import dataclasses
import json
import types
import typing
from pathlib import Path
from typing import Any, Literal

from seqjax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The language model."""

    cell: str = "gru"
    """elman, lstm, gru, minimal_gated; or module:function, where function(features) makes a
    cell."""
    features: int = 256
    """Width of each layer's state."""
    layers: int = 1
    """Number of layers; from the second on they are residual."""
    embedding: int = 64
    """Width of the character embedding."""
    tied: bool = False
    """Use the embedding as the head's weights; needs embedding equal to features."""
    dropout: float = 0.1
    """Probability that an output of a layer is dropped."""
    variational: bool = False
    """One dropout mask for a whole document instead of one for every step."""


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
class DataConfig:
    """What is read, and how."""

    text: tuple[Path, ...] = ()
    """Files, or folders of .txt and .md files. Without it: the plays of Shakespeare."""
    held_out: float = 0.1
    """Share of your own text to validate on, in whole files where there are three or more."""
    batch: int = 64
    """Parallel streams: each reads its own part of the text."""
    time: int = 64
    """Characters of each stream in a step; gradients stop there, the state flows on."""


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Trains a character language model by truncated backpropagation through time."""

    model: ModelConfig = ModelConfig()
    optimization: OptimizerConfig = OptimizerConfig()
    data: DataConfig = DataConfig()
    steps: int = 3600
    """Updates of the parameters."""
    seed: int = 0
    """For parameters and dropout."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters are kept in float32."""
    out: Path | None = None
    """Folder of the run; by default a new one below runs/."""
    resume: Path | None = None
    """Folder of a run to continue, with the settings that it was started with."""
    log_every: int = 50
    """Steps between lines in the logs."""
    validate_every: int = 500
    """Steps between validations, samples and checkpoints."""
    sample: int = 300
    """Characters to write at every validation; 0 for none."""
    devices: int | None = None
    """How many devices share the batch; by default as many as divide it. On a CPU, cores."""

    def __post_init__(self):
        positive = {
            "steps": self.steps,
            "log-every": self.log_every,
            "validate-every": self.validate_every,
            "features": self.model.features,
            "layers": self.model.layers,
            "embedding": self.model.embedding,
            "batch": self.data.batch,
            "time": self.data.time,
            "learning-rate": self.optimization.learning_rate,
            "clip": self.optimization.clip,
        }
        if self.devices is not None:
            positive["devices"] = self.devices
        for name, value in positive.items():
            if not value > 0:
                raise InputError(f"--{name} must be above 0, got {value}.")
        not_negative = {
            "warmup": self.optimization.warmup,
            "weight-decay": self.optimization.weight_decay,
            "sample": self.sample,
        }
        for name, value in not_negative.items():
            if value < 0:
                raise InputError(f"--{name} must be 0 or more, got {value}.")
        if not 0 <= self.model.dropout < 1:
            raise InputError(f"--dropout must be in [0, 1), got {self.model.dropout}.")
        if not 0 < self.data.held_out < 1:
            raise InputError(f"--held-out must be between 0 and 1, got {self.data.held_out}.")


def to_json(config: Any) -> str:
    """The settings as JSON."""
    return json.dumps(dataclasses.asdict(config), indent=2, default=str)


def from_json(text: str) -> TrainConfig:
    """The settings written by `to_json`."""
    return _build(TrainConfig, json.loads(text))


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


def differences(saved: TrainConfig, asked: TrainConfig) -> list[str]:
    """The settings that would change the course of a run, as `--name: old, not new`."""
    free = {"out", "resume", "sample", "log_every"}
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
