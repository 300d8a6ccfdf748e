"""Keras's SimpleRNN, LSTM and GRU, alone or in `Bidirectional`."""

from collections.abc import Mapping
from typing import Any

from seqjax.interop.families.recurrent_layers import GATES, layer_builder
from seqjax.interop.operations import Reorder, Split, SplitAxis, Squeeze
from seqjax.interop.table import Family, Rule, Shapes, under

MERGES = {"concat": "concatenate", "sum": "sum"}
# A GRU has its gates in the order z, r, h there, and r, z, n here.
ORDERS = {"elman": (0,), "lstm": (0, 1, 2, 3), "gru": (1, 0, 2)}


def _cell(kind: str, config: Mapping[str, Any]) -> tuple[Rule, ...]:
    weights = (SplitAxis(1, (GATES[kind], -1)), Reorder(1, ORDERS[kind]))
    bias = (SplitAxis(0, (GATES[kind], -1)), Reorder(0, ORDERS[kind]))
    after = kind == "gru" and config["reset_after"]
    ours = ("bias", "recurrent_bias") if after else ("bias",)
    biases = {
        (False, False): (Rule((), "bias", constant=0.0),),
        (False, True): tuple(Rule((), name, constant=0.0) for name in ours),
        (True, False): (Rule("vars/2", ours, bias),),
        (True, True): (Rule("vars/2", ours, (Split(0, 2), Squeeze(0), *bias)),),
    }
    return (
        Rule("vars/0", "input", weights),
        Rule("vars/1", "recurrent", weights),
        *biases[config["use_bias"], after],
    )


def _rules(kind: str, config: Mapping[str, Any]) -> tuple[Rule, ...]:
    cell = _cell(kind, config)
    return (
        *under("cell/", "", *cell),
        *under("forward_layer/cell/", "forward.", *cell),
        *under("backward_layer/cell/", "backward.", *cell),
    )


def _weights(shapes: Shapes) -> list[tuple[int, ...]]:
    """The shapes of kernel, recurrent kernel and bias, as many as there are."""
    ahead = "forward_layer/cell/vars/" if "forward_layer/cell/vars/1" in shapes else "cell/vars/"
    return [shapes[f"{ahead}{index}"] for index in range(3) if f"{ahead}{index}" in shapes]


def _describe(shapes: Shapes) -> dict[str, Any]:
    kernel, recurrent, *bias = _weights(shapes)
    return {
        "inputs": kernel[0],
        "features": recurrent[0],
        "directions": 2 if "forward_layer/cell/vars/1" in shapes else 1,
        "use_bias": bool(bias),
        "reset_after": not bias or len(bias[0]) == 2,
    }


def _is(kind: str, shapes: Shapes) -> bool:
    found = _weights(shapes)
    return len(found) > 1 and found[1][1] == GATES[kind] * found[1][0]


def _family(name: str, kind: str, **requires: str) -> Family:
    def translate(config: Mapping[str, Any]) -> Mapping[str, Any]:
        merge = MERGES[config.get("merge_mode", "concat")]
        return {"merge": merge, "reset": "after" if config["reset_after"] else "before"}

    return Family(
        name,
        matches=lambda config, shapes: _is(kind, shapes),
        describe=_describe,
        build=layer_builder(kind, translate),
        rules=lambda config: _rules(kind, config),
        defaults={"use_bias": True, "reset_after": True},
        requires={"go_backwards": False, "merge_mode": frozenset(MERGES), **requires},
        arrange=lambda arrays: list(arrays.values()),
    )


GATED = {"activation": "tanh", "recurrent_activation": "sigmoid"}
KERAS = (
    _family("keras_simple_rnn", "elman"),
    _family("keras_lstm", "lstm", **GATED),
    _family("keras_gru", "gru", **GATED),
)
