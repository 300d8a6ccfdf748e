"""Writes the golden file of the CRF: values, gradients and decoded tags of pytorch-crf, float64.

    python -m tests.golden.make_crf

Needs torch and pytorch-crf (the file was made with 2.13.0, CPU, and 0.7.2).
"""

from pathlib import Path

import numpy as np

FILE = Path(__file__).parent / "crf.npz"
LENGTHS = np.array([6, 4, 1])
TAGS = 4


def main() -> None:
    import torch
    from torchcrf import CRF

    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    crf = CRF(TAGS, batch_first=True)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_(0, 2)
    mask = torch.arange(int(LENGTHS.max())) < torch.tensor(LENGTHS)[:, None]
    emissions = (2 * torch.randn(*mask.shape, TAGS)).requires_grad_()
    tags = torch.randint(TAGS, mask.shape)
    likelihood = crf(emissions, tags, mask, reduction="none")
    likelihood.sum().backward()
    decoded = np.zeros(mask.shape, int)
    for row, path in zip(decoded, crf.decode(emissions, mask), strict=True):
        row[: len(path)] = path
    parameters = {
        "between": crf.transitions,
        "start": crf.start_transitions,
        "end": crf.end_transitions,
    }
    np.savez(
        FILE,
        emissions=emissions.detach().numpy(),
        emissions_gradient=emissions.grad.numpy(),
        mask=mask.numpy(),
        tags=tags.numpy(),
        likelihood=likelihood.detach().numpy(),
        decoded=decoded,
        **{name: value.detach().numpy() for name, value in parameters.items()},
        **{f"{name}_gradient": value.grad.numpy() for name, value in parameters.items()},
    )


if __name__ == "__main__":
    main()
