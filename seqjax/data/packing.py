"""Several short sequences in a row."""

from collections.abc import Sequence

import numpy as np

from seqjax.core.extras import extra_module
from seqjax.data.padding import INPUTS, Encoded, steps_of


def pack(
    examples: Sequence[Encoded], length: int, *, sequences: Sequence[str] = INPUTS
) -> dict[str, np.ndarray]:
    """Puts sequences one after the other into rows, where they leave the least space.

    `sj.segment_starts(rows["segment_ids"])` are the resets with which no state flows from
    one sequence into the next, and `rows["segment_ids"] > 0` is the mask.

    Args:
      examples: at least one, none with more than `length` steps; those of no steps appear
        nowhere.
      length: steps of a row.
      sequences: the entries with a leading time axis. The other entries are left out:
        `example_ids` says whose they are.

    Returns:
      The sequences `(rows, length, ...)`, zeros where nothing is; and, all `(rows,
      length)` int32, `segment_ids`, 1, 2, ... along each row and 0 at padding, `positions`,
      the step within the sequence, and `example_ids`, the place in `examples`, -1 at padding.

    Raises:
      ValueError: if a sequence is longer than a row.
      ImportError: if grain is not installed.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.packing import pack
      >>> rows = pack([{"inputs": np.full(n, n)} for n in (3, 4, 2)], length=5)
      >>> rows["inputs"].tolist()
      [[3, 3, 3, 2, 2], [4, 4, 4, 4, 0]]
      >>> rows["segment_ids"].tolist()
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
        | {"example_ids": np.full(count, place, np.int32)}
        for place, (example, count) in enumerate(zip(examples, steps, strict=True))
        if count
    ]
    names = (*sequences, "example_ids")
    packer = grain.experimental.BestFitPackIterDataset(
        grain.MapDataset.source(elements).to_iter_dataset(),
        length_struct=dict.fromkeys(names, length),
        # No two rows together would fit into one, so there cannot be more rows than this.
        num_packing_bins=min(len(elements), 2 * sum(steps) // length + 1),
        shuffle_bins=False,
        padding_struct=dict.fromkeys(sequences, 0) | {"example_ids": -1},
    )
    packed = list(packer)
    rows = {name: np.stack([row[name] for row in packed]) for name in names}
    rows["segment_ids"] = np.stack([row["example_ids_segment_ids"] for row in packed])
    rows["positions"] = np.stack([row["example_ids_positions"] for row in packed])
    return rows
