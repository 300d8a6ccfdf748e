"""The cores of Haiku."""

from seqjax.interop.families.recurrent_layers import cell_family, columns, rows
from seqjax.interop.operations import Negate, Plus, Reorder, Split, Sum
from seqjax.interop.table import Rule

# ReLU throughout; with `double_bias=False` the state has no bias of its own.
VANILLA = cell_family(
    "haiku_vanilla_rnn",
    "elman",
    lambda config: (
        Rule("vanilla_rnn/linear.w", "input", columns(1)),
        Rule("vanilla_rnn/linear_1.w", "recurrent", columns(1)),
        {
            True: Rule(
                ("vanilla_rnn/linear.b", "vanilla_rnn/linear_1.b"),
                "bias",
                (Sum(2), rows(1)),
            ),
            False: Rule("vanilla_rnn/linear.b", "bias", rows(1)),
        }[config["bias"]],
    ),
    inputs=("vanilla_rnn/linear.w", 0),
    states=("vanilla_rnn/linear_1.w", 1),
    bias="vanilla_rnn/linear_1.b",
    activation="relu",
)

# Gates z, r, a, with `h = (1 - z) * h + z * a`; the reset gate acts before the product.
GRU = cell_family(
    "haiku_gru",
    "gru",
    lambda config: (
        Rule("gru.w_i", "input", (columns(3), Reorder(1, (1, 0, 2)), Negate(1, 1))),
        Rule("gru.w_h", "recurrent", (columns(3), Reorder(1, (1, 0, 2)), Negate(1, 1))),
        Rule("gru.b", "bias", (rows(3), Reorder(0, (1, 0, 2)), Negate(0, 1))),
    ),
    inputs=("gru.w_i", 0),
    states=("gru.w_h", 3),
    reset="before",
)

# Gates i, g, f, o, and 1 is added to the forget gate.
LSTM = cell_family(
    "haiku_lstm",
    "lstm",
    lambda config: (
        Rule(
            "lstm/linear.w",
            ("input", "recurrent"),
            (
                Split(0, (config.get("inputs", 0), config.get("features", 0))),
                columns(4),
                Reorder(1, (0, 2, 1, 3)),
            ),
        ),
        Rule("lstm/linear.b", "bias", (rows(4), Reorder(0, (0, 2, 1, 3)), Plus(1.0, at=1))),
    ),
    inputs=("lstm/linear.w", 0),
    states=("lstm/linear.w", 4),
    joined=4,
)

HAIKU = (VANILLA, GRU, LSTM)
