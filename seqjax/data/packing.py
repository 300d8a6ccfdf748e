"""Packing: several short sequences in one row of a batch."""

from collections.abc import Sequence

import numpy as np

from seqjax.core.extras import extra_module
from seqjax.data.padding import INPUTS, Encoded, steps_of


def pack(
    examples: Sequence[Encoded], length: int, *, sequences: Sequence[str] = INPUTS
) -> dict[str, np.ndarray]:
    """Packs sequences into rows of equal length by best fit.

    `sj.segment_starts(packed["segment_ids"])` are the resets that keep the state of one sequence
    out of the next, and `packed["segment_ids"] > 0` is the mask.

    Args:
      examples: at least one, none with more than `length` steps; empty ones are dropped.
      length: steps of a row.
      sequences: the entries with a leading time axis. Other entries are dropped; `example_ids`
        identifies the example of each step.

    Returns:
      The sequences `(rows, length, ...)`, zeros at padding; and, all `(rows, length)` int32,
      `segment_ids`, 1, 2, ... along each row and 0 at padding, `positions`, the step within the
      sequence, and `example_ids`, the index in `examples`, -1 at padding.

    Raises:
      ValueError: if a sequence is longer than a row.
      ImportError: if grain is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.packing import pack
      >>> packed = pack([{"inputs": np.full(n, n)} for n in (3, 4, 2)], length=5)
      >>> packed["inputs"].tolist()
      [[3, 3, 3, 2, 2], [4, 4, 4, 4, 0]]
      >>> packed["segment_ids"].tolist()
      [[1, 1, 1, 2, 2], [1, 1, 1, 1, 0]]
    """
    steps = [steps_of(example, sequences) for example in examples]
    if max(steps, default=0) < 1:
        raise ValueError("There must be at least one example with at least one step to pack.")
    if max(steps) > length:
        raise ValueError(
            f"An example has {max(steps)} steps and a row {length}: cut it with truncate, or "
            "choose longer rows."
        )
    grain = extra_module("grain", "train")
    elements = [
        {name: np.asarray(example[name]) for name in sequences}
        | {"example_ids": np.full(count, index, np.int32)}
        for index, (example, count) in enumerate(zip(examples, steps, strict=True))
        if count
    ]
    names = (*sequences, "example_ids")
    packer = grain.experimental.BestFitPackIterDataset(
        grain.MapDataset.source(elements).to_iter_dataset(),
        length_struct=dict.fromkeys(names, length),
        # By best fit no two rows fit into one, which bounds their number.
        num_packing_bins=min(len(elements), 2 * sum(steps) // length + 1),
        shuffle_bins=False,
        padding_struct=dict.fromkeys(sequences, 0) | {"example_ids": -1},
    )
    rows = list(packer)
    packed = {name: np.stack([row[name] for row in rows]) for name in names}
    packed["segment_ids"] = np.stack([row["example_ids_segment_ids"] for row in rows])
    packed["positions"] = np.stack([row["example_ids_positions"] for row in rows])
    return packed
