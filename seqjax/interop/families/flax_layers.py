"""The cells of Flax, NNX and Linen.

Both sum the biases of inputs and state where they can. The GRU of NNX has no bias inside the
product with the reset gate, that of Linen has.
"""

from seqjax.interop.families.recurrent_layers import cell_family, columns, each, rows
from seqjax.interop.operations import Stack, SumOfGates
from seqjax.interop.table import Rule

NNX_SIMPLE = cell_family(
    "nnx_simple",
    "elman",
    lambda config: (
        Rule("dense_i.kernel", "input", columns(1)),
        Rule("dense_h.kernel", "recurrent", columns(1)),
        Rule("dense_i.bias", "bias", rows(1)),
    ),
    inputs=("dense_i.kernel", 0),
    states=("dense_h.kernel", 1),
)

NNX_GRU = cell_family(
    "nnx_gru",
    "gru",
    lambda config: (
        Rule("dense_i.kernel", "input", columns(3)),
        Rule("dense_h.kernel", "recurrent", columns(3)),
        Rule("dense_i.bias", "bias", rows(3)),
        Rule((), "recurrent_bias", constant=0.0),
    ),
    inputs=("dense_i.kernel", 0),
    states=("dense_h.kernel", 3),
)

NNX_OPTIMIZED_LSTM = cell_family(
    "nnx_optimized_lstm",
    "lstm",
    lambda config: (
        Rule("dense_i.kernel", "input", columns(4)),
        Rule("dense_h.kernel", "recurrent", columns(4)),
        Rule("dense_h.bias", "bias", rows(4)),
    ),
    inputs=("dense_i.kernel", 0),
    states=("dense_h.kernel", 4),
)

NNX_LSTM = cell_family(
    "nnx_lstm",
    "lstm",
    lambda config: (
        Rule(("ii.kernel", "if_.kernel", "ig.kernel", "io.kernel"), "input", Stack(1)),
        Rule(each("h{}.kernel", "ifgo"), "recurrent", Stack(1)),
        Rule(each("h{}.bias", "ifgo"), "bias", Stack(0)),
    ),
    inputs=("if_.kernel", 0),
    states=("hf.kernel", 1),
)

LINEN_SIMPLE = cell_family(
    "linen_simple",
    "elman",
    lambda config: (
        Rule("i.kernel", "input", columns(1)),
        Rule("h.kernel", "recurrent", columns(1)),
        Rule("i.bias", "bias", rows(1)),
    ),
    inputs=("i.kernel", 0),
    states=("h.kernel", 1),
)

LINEN_GRU = cell_family(
    "linen_gru",
    "gru",
    lambda config: (
        Rule(each("i{}.kernel", "rzn"), "input", Stack(1)),
        Rule(each("h{}.kernel", "rzn"), "recurrent", Stack(1)),
        Rule(
            (*each("i{}.bias", "rzn"), "hn.bias"),
            ("bias", "recurrent_bias"),
            SumOfGates(apart=True),
        ),
    ),
    inputs=("in.kernel", 0),
    states=("hn.kernel", 1),
)

LINEN_LSTM = cell_family(
    "linen_lstm",
    "lstm",
    lambda config: (
        Rule(each("i{}.kernel", "ifgo"), "input", Stack(1)),
        Rule(each("h{}.kernel", "ifgo"), "recurrent", Stack(1)),
        Rule(each("h{}.bias", "ifgo"), "bias", Stack(0)),
    ),
    inputs=("if.kernel", 0),
    states=("hf.kernel", 1),
)

FLAX = (NNX_SIMPLE, NNX_GRU, NNX_OPTIMIZED_LSTM, NNX_LSTM, LINEN_SIMPLE, LINEN_GRU, LINEN_LSTM)
