"""What the tables of all recurrent layers share."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from seqjax.cells.elman import elman
from seqjax.cells.gru import gru
from seqjax.cells.lstm import lstm
from seqjax.core.bidirectional import bidirectional
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.core.stack import stack
from seqjax.core.types import Activation
from seqjax.interop.live import nested
from seqjax.interop.operations import SplitAxis
from seqjax.interop.table import Family, Rule, Shapes
from seqjax.nn.rnn import RNN

GATES = {"elman": 1, "gru": 3, "lstm": 4}

ACTIVATIONS: Mapping[str, Activation] = {
    "tanh": jnp.tanh,
    "relu": jax.nn.relu,
    "sigmoid": jax.nn.sigmoid,
}


def cell_of(kind: str, config: Mapping[str, Any]) -> Cell:
    """The cell of a config with `features` and what the kind has options for."""
    features = config["features"]
    if kind == "lstm":
        return lstm(features, projection=config.get("projection"))
    if kind == "gru":
        return gru(features, reset=config.get("reset", "after"))
    activation = config.get("activation", "tanh")
    if activation not in ACTIVATIONS:
        raise InputError(
            f"Of a simple recurrent layer, the activation can be {', '.join(ACTIVATIONS)} here; "
            f"this one has {activation!r}."
        )
    return elman(features, activation=ACTIVATIONS[activation])


def layer_builder(
    kind: str, translate: Callable[[Mapping[str, Any]], Mapping[str, Any]]
) -> Callable[..., nnx.Module]:
    """`(config, shapes, rngs) -> sj.nn.RNN` for configs with `inputs`, `layers`, `directions`.

    `translate` says in our words what the library's config does.
    """

    def build(config: Mapping[str, Any], shapes: Any, rngs: nnx.Rngs) -> nnx.Module:
        config = {**config, **translate(config)}
        cell = cell_of(kind, config)
        if config.get("directions") == 2:
            cell = bidirectional(cell, merge=config.get("merge", "concatenate"))
        layers = config.get("layers", 1)
        return RNN(stack(*[cell] * layers) if layers > 1 else cell, config["inputs"], rngs=rngs)

    return build


def columns(gates: int) -> SplitAxis:
    """Of weights `(inputs, gates * features)`."""
    return SplitAxis(1, (gates, -1))


def rows(gates: int) -> SplitAxis:
    """Of weights `(gates * features, inputs)`, or of a bias."""
    return SplitAxis(0, (gates, -1))


def each(pattern: str, gates: str) -> tuple[str, ...]:
    """The names of all gates."""
    return tuple(pattern.format(gate) for gate in gates)


def cell_family(
    name: str,
    kind: str,
    rules: Callable[[Mapping[str, Any]], Sequence[Rule]],
    *,
    inputs: tuple[str, int],
    states: tuple[str, int],
    joined: int = 0,
    bias: str = "",
    arrange: Callable[[dict[str, Any]], Any] = nested,
    **options: Any,
) -> Family:
    """The table of a cell of a JAX library.

    Args:
      name, rules, arrange: as for `Family`.
      kind: `"elman"`, `"gru"` or `"lstm"`.
      inputs: the weights of the inputs and their axis for these.
      states: the weights of the state, and how many gates they have side by side.
      joined: how many gates the weights have side by side if those of both are one array.
      bias: a name by which to tell that there is a bias.
      **options: what `cell_of` is to know.
    """

    def describe(shapes: Shapes) -> dict[str, Any]:
        wide = shapes[inputs[0]][inputs[1]]
        features = shapes[states[0]][1] // joined if joined else min(shapes[states[0]])
        return {
            "inputs": wide - features * bool(joined),
            "features": features,
            "bias": bias in shapes,
        }

    def matches(config: Mapping[str, Any], shapes: Shapes) -> bool:
        if inputs[0] not in shapes or states[0] not in shapes:
            return False
        return bool(joined) or max(shapes[states[0]]) == states[1] * min(shapes[states[0]])

    def translate(config: Mapping[str, Any]) -> Mapping[str, Any]:
        own = {"activation": config["activation_fn"]} if "activation_fn" in config else {}
        return {**options, **own}

    gated = {"activation_fn": "tanh", "gate_fn": "sigmoid"}
    return Family(
        name,
        matches=matches,
        describe=describe,
        build=layer_builder(kind, translate),
        rules=rules,
        defaults={"bias": True},
        requires={"residual": False, **({} if kind == "elman" else gated)},
        arrange=arrange,
    )
