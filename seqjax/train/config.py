"""The options of a run that all tasks share, as frozen records."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
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
    """Name of a cell: elman, gru, lstm, minimal_gru, mlstm, delta_net, ... (an unknown name lists
    them all); or module:function, where function(features) returns a cell of your own."""
    cell_options: tuple[str, ...] = ()
    """Keyword arguments of the cell, or of each block, as name=value, such as heads=2."""
    block: str | None = None
    """Layers are blocks of this architecture instead of cells, with a norm after the last:
    attention, comba, gated_delta_net, gated_delta_net2, gated_delta_product, hawk (Griffin without
    its local attention), m2rnn, mamba, mamba2, mamba3, minimal_gru, retnet, rwkv4, rwkv6, rwkv7,
    xlstm or xlstm_7b; or several blocks in turn, such as griffin,griffin,attention."""
    features: PositiveInt = 256
    """Width of each layer's state."""
    layers: PositiveInt = 1
    """Number of layers; all but the first are residual."""
    dropout: ProbabilityBelowOne = 0.1
    """Dropout probability of each layer's outputs."""
    variational: bool = False
    """One dropout mask for all steps of a sequence, instead of one for each step."""
    wide_carry: bool = False
    """Keep the states of gated cells in float32, where the model computes in bfloat16. Those of
    linear and matrix-state cells always are."""


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """The update rule, from optax; adamw without weight decay is adam."""
    learning_rate: PositiveFloat = 1e-2
    """Peak of the learning rate."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Learning rate after the warm-up: cosine or linear decay to 2 percent of its peak, or
    constant."""
    warmup: NonNegativeInt = 100
    """Steps over which the learning rate rises from zero."""
    clip: PositiveFloat = 1.0
    """Gradients are clipped to this global norm."""
    weight_decay: NonNegativeFloat = 0.1
    """Weight decay, decoupled: times the learning rate, the share by which weights and embeddings
    shrink in a step."""
    decay_biases: bool = False
    """Let biases, gains and the decays of states shrink too."""


@dataclasses.dataclass(frozen=True)
class RunConfig:
    """The options of every run."""

    optimization: OptimizerConfig = OptimizerConfig()
    batch: PositiveInt = 64
    """Sequences of a batch."""
    accumulate: PositiveInt = 1
    """Micro-batches of a step: the batch is taken in this many parts, one after the other, whose
    gradients are summed. That needs less memory and learns the same."""
    steps: PositiveInt = 1000
    """Training steps: updates of the parameters."""
    seed: int = 0
    """Seed of the parameters, the noise and the order of the data."""
    repeat: PositiveInt = 1
    """Train this many runs, with seed, seed + 1, ..., and report mean and standard deviation."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Dtype of the computation: of products and activations. Parameters and what the optimizer
    knows, decays and step sizes, and sums stay in float32; so do states, see --wide-carry."""
    out: Path | None = None
    """Folder of the run; by default a new one below runs/."""
    resume: Path | None = None
    """Folder of a run to continue, with the options that it was started with."""
    log_every: PositiveInt = 50
    """Steps between entries of the log."""
    validate_every: PositiveInt = 500
    """Steps between validations and checkpoints."""
    patience: NonNegativeInt = 0
    """Early stopping: end after this many validations in a row without improvement; 0 for
    never."""
    diagnose: NonNegativeInt = 0
    """Steps between records of gradient flow and gate saturation, for TensorBoard and
    `seqjax inspect`; 0 for none."""
    devices: PositiveInt | None = None
    """Devices that share the batch, on a CPU its cores, of all processes together; by default as
    many as divide it."""
    time_devices: PositiveInt = 1
    """Devices that share the time of each sequence, for language models whose cells are linear in
    their state."""
    model_devices: PositiveInt = 1
    """Devices that share the parameters: each has some of the heads of matrix memories, of the
    blocks of gated cells, and of the tokens of a vocabulary."""
    sharded: bool = False
    """Split parameters and the state of the optimizer over the devices that share the batch; they
    are gathered once a step."""

    def __post_init__(self):
        check_bounds(self)


def option(name: str) -> Any:
    """The mark of an option with a name that no field can have, in a type that is spelt out."""
    return extra_module("tyro", "train").conf.arg(name=name)


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
