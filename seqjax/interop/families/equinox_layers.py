"""The cells of Equinox."""

from seqjax.interop.families.recurrent_layers import cell_family, rows
from seqjax.interop.operations import SumOfGates, Transpose
from seqjax.interop.table import Rule


def _weights(gates: int) -> tuple[Rule, ...]:
    steps = (rows(gates), Transpose((2, 0, 1)))
    return (Rule("weight_ih", "input", steps), Rule("weight_hh", "recurrent", steps))


GRU = cell_family(
    "equinox_gru",
    "gru",
    lambda config: (
        *_weights(3),
        *{
            True: (Rule(("bias", "bias_n"), ("bias", "recurrent_bias"), SumOfGates()),),
            False: (
                Rule((), "bias", constant=0.0),
                Rule((), "recurrent_bias", constant=0.0),
            ),
        }[config["bias"]],
    ),
    inputs=("weight_ih", 1),
    states=("weight_hh", 3),
    bias="bias",
    arrange=dict,
)

LSTM = cell_family(
    "equinox_lstm",
    "lstm",
    lambda config: (
        *_weights(4),
        {True: Rule("bias", "bias", rows(4)), False: Rule((), "bias", constant=0.0)}[
            config["bias"]
        ],
    ),
    inputs=("weight_ih", 1),
    states=("weight_hh", 4),
    bias="bias",
    arrange=dict,
)

EQUINOX = (GRU, LSTM)
