"""PyTorch's `nn.RNN`, `nn.LSTM` and `nn.GRU`, from their `state_dict`."""

from collections.abc import Mapping
from typing import Any

from seqjax.interop.families.recurrent_layers import GATES, layer_builder
from seqjax.interop.operations import SplitAxis, Sum, T, Transpose
from seqjax.interop.table import Family, Rule, Shapes


def _layer(kind: str, bias: bool, end: str, at: str) -> tuple[Rule, ...]:
    """The rules for names that end in `end`, for a cell at the path `at`."""
    gates = SplitAxis(0, (GATES[kind], -1))
    weights = (gates, Transpose((2, 0, 1)))
    own = (
        Rule(f"weight_ih_l{end}", f"{at}input", weights),
        Rule(f"weight_hh_l{end}", f"{at}recurrent", weights),
        Rule(f"weight_hr_l{end}", f"{at}projection", T),
    )
    input_bias, recurrent_bias = f"bias_ih_l{end}", f"bias_hh_l{end}"
    biases = {
        (kind, False): (Rule((), f"{at}bias", constant=0.0),),
        ("gru", True): (
            Rule(input_bias, f"{at}bias", gates),
            Rule(recurrent_bias, f"{at}recurrent_bias", gates),
        ),
        ("gru", False): (
            Rule((), f"{at}bias", constant=0.0),
            Rule((), f"{at}recurrent_bias", constant=0.0),
        ),
    }
    summed = Rule((input_bias, recurrent_bias), f"{at}bias", (Sum(2), gates))
    return own + biases.get((kind, bias), (summed,))


def _rules(kind: str, config: Mapping[str, Any]) -> tuple[Rule, ...]:
    """Wherever a layer can be: alone, in a stack, and in two directions."""
    places = (
        ("0", ""),
        ("{layer}", f"{kind}_{{layer}}."),
        ("0", "forward."),
        ("0_reverse", "backward."),
        ("{layer}", "bidirectional_{layer}.forward."),
        ("{layer}_reverse", "bidirectional_{layer}.backward."),
    )
    return tuple(rule for end, at in places for rule in _layer(kind, config["bias"], end, at))


def _describe(kind: str, shapes: Shapes) -> dict[str, Any]:
    rows, width = shapes["weight_hh_l0"]
    return {
        "inputs": shapes["weight_ih_l0"][1],
        "features": rows // GATES[kind],
        "projection": width if "weight_hr_l0" in shapes else None,
        "layers": sum(f"weight_hh_l{layer}" in shapes for layer in range(len(shapes))),
        "directions": 2 if "weight_hh_l0_reverse" in shapes else 1,
        "bias": "bias_ih_l0" in shapes,
    }


def _is(kind: str, shapes: Shapes) -> bool:
    if "weight_hh_l0" not in shapes:
        return False
    rows, width = shapes["weight_hh_l0"]
    features = shapes.get("weight_hr_l0", (0, width))[1]
    return rows == GATES[kind] * features


def _family(name: str, kind: str) -> Family:
    return Family(
        name,
        matches=lambda config, shapes: _is(kind, shapes),
        describe=lambda shapes: _describe(kind, shapes),
        build=layer_builder(kind, lambda config: {"activation": config["nonlinearity"]}),
        rules=lambda config: _rules(kind, config),
        defaults={"nonlinearity": "tanh", "bias": True},
    )


TORCH = (_family("torch_rnn", "elman"), _family("torch_lstm", "lstm"), _family("torch_gru", "gru"))
