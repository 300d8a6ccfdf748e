"""Blocks against published packages, like the cells in `test_published.py`."""

import numpy as np
import pytest

import seqjax as sj
from seqjax.core.shift import ConvolutionParameters
from tests.golden import make_blocks
from tests.golden.compare import agree

F, H = make_blocks.FEATURES, make_blocks.HEADS


def weights(p, name):
    bias = {"bias": p[f"{name}.bias"]} if f"{name}.bias" in p else {}
    return {"weights": p[f"{name}.weight"].T, **bias}


def both(norms, time, channel):
    """The two halves of a block, each a cell behind a norm."""
    return {
        "time": {"norm": norms[0], "cell": time},
        "channel": {"norm": norms[1], "cell": channel},
    }


def griffin_block(p):
    inside = {name.removeprefix("temporal_block."): value for name, value in p.items()}
    lru = {name.removeprefix("rg_lru."): value for name, value in inside.items()}
    gates = ("recurrent_gate", "input_gate")
    recurrence = {
        "input": np.stack([lru[f"{gate}_weight"] for gate in gates], 2),
        "bias": np.stack([lru[f"{gate}_bias"].ravel() for gate in gates]),
        "decay": lru["recurrent_param"],
    }
    convolution = ConvolutionParameters(inside["conv_1d.weight"][:, 0].T, inside["conv_1d.bias"])
    branch = {
        "project": weights(inside, "linear_x"),
        "convolve": convolution,
        "begun": {"one": (), "before": ()},
        "memory": recurrence,
    }
    branches = {"gate": weights(inside, "linear_y"), "recurrent": branch}
    mix = {"branches": branches, "output": weights(inside, "linear_out")}
    names = ("gate", "up", "down")
    after = {name: p[f"mlp_block.{name}_proj.weight"].T for name in names}
    after |= {f"{name}_bias": p[f"mlp_block.{name}_proj.bias"] for name in names}
    norms = [{"gain": 1 + p[f"{part}_pre_norm.weight"]} for part in ("temporal", "channel")]
    cell = sj.griffin_block(F, inner=6, blocks=H, bias=True, first_step="plain")
    return cell, both(norms, mix, after)


def rwkv4_block(p):
    def mixes(part, *names):
        return np.stack([p[f"{part}.time_mix_{name}"].ravel() for name in names])

    names = ("receptance", "key", "value")
    mixed = {
        "mu": mixes("attention", *names),
        "weights": np.stack([p[f"attention.{name}.weight"].T for name in names]),
    }
    memory = {
        "decay": p["attention.time_decay"],
        "bonus": p["attention.time_first"],
        "output": p["attention.output.weight"].T,
    }
    channel = {"mu": mixes("feed_forward", *names[:2])}
    channel |= {name: p[f"feed_forward.{name}.weight"].T for name in names}
    norms = [{"gain": p[f"ln{n}.weight"], "bias": p[f"ln{n}.bias"]} for n in (1, 2)]
    return sj.rwkv4_block(F), both(norms, {"mix": mixed, "memory": memory}, channel)


def slstm_block(p):
    # What is called fgate there makes the first gate of the cell, which is the input gate.
    gates = [p[f"xlstm.{name}gate.weight"].swapaxes(1, 2) for name in "fizo"]
    kernel = p["xlstm.slstm_cell._recurrent_kernel_"].reshape(H, 4, F // H, F // H)
    convolution = (p["xlstm.conv1d.conv.weight"][:, 0].T, p["xlstm.conv1d.conv.bias"])
    memory = {
        "gates": {
            "convolution": ConvolutionParameters(*convolution),
            "weights": np.stack(gates, 2),
        },
        "memory": {
            "recurrent": kernel.transpose(0, 3, 1, 2),
            "bias": p["xlstm.slstm_cell._bias_"].reshape(4, F),
        },
        "norm": 1 + p["xlstm.group_norm.weight"],
    }
    gate, up = np.split(p["ffn.proj_up.weight"].T, 2, axis=1)
    after = {"gate": gate, "up": up, "down": p["ffn.proj_down.weight"].T}
    norm = lambda name: {"gain": 1 + p[f"{name}.weight"], "bias": np.zeros(F)}  # noqa: E731
    norms = (norm("xlstm_norm"), norm("ffn_norm"))
    return sj.slstm_block(F, heads=H), both(norms, memory, after)


@pytest.mark.parametrize("case", make_blocks.CASES)
def test_golden(case, x64):
    agree(case, globals()[case])
