"""Every setting of a run, as frozen records."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from seqjax.core.errors import InputError
from seqjax.train.bounds import (
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ProbabilityBelowOne,
    check_bounds,
)


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
    features: PositiveInt = 256
    """Width of each layer's state."""
    layers: PositiveInt = 1
    """Number of layers; from the second on they are residual."""
    dropout: ProbabilityBelowOne = 0.1
    """Probability that an output of a layer is dropped."""
    variational: bool = False
    """One dropout mask for a whole sequence instead of one for every step."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """How parameters are updated."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """The update rule, from optax; adamw without weight decay is adam."""
    learning_rate: PositiveFloat = 1e-2
    """Peak of the learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What the learning rate does after the warm-up: fall to 2 percent, or stay."""
    warmup: NonNegativeInt = 100
    """Steps over which the learning rate rises from zero."""
    clip: PositiveFloat = 1.0
    """Largest norm of the gradient over all parameters; larger ones are scaled down."""
    weight_decay: NonNegativeFloat = 0.1
    """Share of the learning rate by which parameters shrink in a step."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """What every run can be told, whatever it learns."""

    optimization: OptimizerConfig = OptimizerConfig()
    batch: PositiveInt = 64
    """Rows of a batch."""
    steps: PositiveInt = 1000
    """Updates of the parameters."""
    seed: int = 0
    """For parameters, noise and the order of the data."""
    repeat: PositiveInt = 1
    """Train so many times, with seed, seed + 1, ..., and report the mean and the spread."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """What the model computes in; parameters are kept in float32."""
    out: Path | None = None
    """Folder of the run; by default a new one below runs/."""
    resume: Path | None = None
    """Folder of a run to continue, with the settings that it was started with."""
    log_every: PositiveInt = 50
    """Steps between lines in the logs."""
    validate_every: PositiveInt = 500
    """Steps between validations and checkpoints."""
    patience: NonNegativeInt = 0
    """Stop after so many validations in a row without a better one; 0 never stops early."""
    diagnose: NonNegativeInt = 0
    """Steps between looks at gradients and gates, for TensorBoard and `seqjax inspect`; 0 for
    none."""
    devices: PositiveInt | None = None
    """How many devices share the batch; by default as many as divide it. On a CPU, cores."""

    def __post_init__(self):
        check_bounds(self)


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
