"""Writes the golden files: PyTorch's values and gradients of its recurrent layers, float64.

    python -m tests.golden.make [--check]

Needs torch (the files were made with 2.13.0, CPU). With `--check` nothing is written: PyTorch must
give what the files hold. The tests compare with the files.
"""

import itertools
import sys
from pathlib import Path

import numpy as np

from tests.golden.make_cells import check

FOLDER = Path(__file__).parent
BATCH, TIME, INPUTS, FEATURES = 3, 5, 3, 4
LENGTHS = np.array([5, 3, 1])

CASES = [
    f"{kind}_{layers}_{'both' if both else 'forward'}"
    for kind, layers, both in itertools.product(
        ("elman", "lstm", "lstm_projection", "gru"), (1, 2), (False, True)
    )
]


def run_torch(case: str) -> dict[str, np.ndarray]:
    """Weights, inputs, outputs and gradients of one case.

    The loss is the inner product of outputs and final states with random weights. Padded
    outputs are zero in PyTorch's packed sequences as in ours.
    """
    import torch

    kind, layers, direction = case.rsplit("_", 2)
    torch.manual_seed(CASES.index(case))
    module = {"elman": torch.nn.RNN, "gru": torch.nn.GRU}.get(kind, torch.nn.LSTM)
    options = {"proj_size": 2} if kind == "lstm_projection" else {}
    net = module(
        INPUTS,
        FEATURES,
        num_layers=int(layers),
        bidirectional=direction == "both",
        batch_first=True,
        dtype=torch.float64,
        **options,
    )
    states = int(layers) * (2 if direction == "both" else 1)
    width = options.get("proj_size", FEATURES)
    xs = torch.randn(BATCH, TIME, INPUTS, dtype=torch.float64, requires_grad=True)
    start = [torch.randn(states, BATCH, width, dtype=torch.float64, requires_grad=True)]
    if kind.startswith("lstm"):
        start.append(torch.randn(states, BATCH, FEATURES, dtype=torch.float64, requires_grad=True))
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, torch.tensor(LENGTHS), batch_first=True)
    out, end = net(packed, tuple(start) if len(start) > 1 else start[0])
    ys, _ = torch.nn.utils.rnn.pad_packed_sequence(out, batch_first=True)
    end = list(end) if isinstance(end, tuple) else [end]
    weights = [torch.randn_like(part) for part in (ys, *end)]
    loss = sum((w * part).sum() for w, part in zip(weights, (ys, *end), strict=True))
    loss.backward()

    found = {"xs": xs, "ys": ys, "d_xs": xs.grad, "weight_ys": weights[0]}
    for name, first, last, weight in zip(("h", "c"), start, end, weights[1:], strict=False):
        found |= {
            f"start_{name}": first,
            f"end_{name}": last,
            f"d_start_{name}": first.grad,
            f"weight_{name}": weight,
        }
    for name, parameter in net.named_parameters():
        found |= {name: parameter, f"d_{name}": parameter.grad}
    return {name: tensor.detach().numpy() for name, tensor in found.items()}


if __name__ == "__main__":
    for case in CASES:
        path, found = FOLDER / f"{case}.npz", run_torch(case)
        if sys.argv[1:] == ["--check"]:
            check(case, path, found)
        else:
            np.savez_compressed(path, **found)
        print(case)
