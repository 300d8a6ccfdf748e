"""Padding of sequences to a common length, and truncation."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

Encoded = Mapping[str, np.ndarray]
"""One example as arrays; its sequences have a leading time axis."""

INPUTS = ("inputs",)


def steps_of(example: Encoded, sequences: Sequence[str] = INPUTS) -> int:
    """The number of time steps of an example, 0 if it has no sequences.

    Raises:
      ValueError: if its sequences differ in length or one of them is missing.
    """
    missing = [name for name in sequences if name not in example]
    if missing:
        raise ValueError(f"An example has no {missing[0]!r}; it has {', '.join(example)}.")
    lengths = {name: len(example[name]) for name in sequences}
    if not lengths:
        return 0
    if len(set(lengths.values())) != 1:
        raise ValueError(f"The sequences of an example must be equally long, got {lengths}.")
    return lengths[sequences[0]]


def pad(
    examples: Sequence[Encoded],
    length: int | None = None,
    *,
    batch_size: int | None = None,
    sequences: Sequence[str] = INPUTS,
    targets: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Stacks examples of different lengths, padded with zeros.

    Args:
      examples: at least one.
      length: time steps of the result; by default those of the longest example.
      batch_size: sequences in the result; by default one for each example.
      sequences: the entries with a leading time axis.
      targets: target sequences, entries with a time axis of their own, and the length that each is
        padded to.

    Returns:
      Every entry stacked: `(batch, length, ...)` for sequences, `(batch, ...)` for the rest. In
      addition `lengths` `(batch,)` int32, and `weights` `(batch,)` float32, 1 for examples and 0
      for padding of the batch, whose length is 0. The lengths of a target sequence are under its
      name with the suffix `_lengths`.

    Raises:
      ValueError: if there are more examples than `batch_size`, a sequence is longer than `length`,
        or the examples do not have the same entries with the same shapes per step.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.padding import pad
      >>> batch = pad([{"inputs": np.array([5, 6])}, {"inputs": np.array([7])}], batch_size=3)
      >>> batch["inputs"].tolist(), batch["lengths"].tolist(), batch["weights"].tolist()
      ([[5, 6], [7, 0], [0, 0]], [2, 1, 0], [1.0, 1.0, 0.0])
    """
    if not examples:
        raise ValueError("There must be at least one example to pad.")
    steps = [steps_of(example, sequences) for example in examples]
    length = max(steps) if length is None else length
    batch_size = len(examples) if batch_size is None else batch_size
    if len(examples) > batch_size:
        raise ValueError(f"{len(examples)} examples do not fit into a batch of {batch_size}.")
    if max(steps) > length:
        raise ValueError(
            f"An example has {max(steps)} steps and the longest length is {length}: cut it with "
            "truncate, or allow longer ones."
        )
    first = {name: np.asarray(value) for name, value in examples[0].items()}
    to = {**dict.fromkeys(sequences, length), **(targets or {})}
    batch: dict[str, np.ndarray] = {}
    for name, value in first.items():
        shape = (to[name], *value.shape[1:]) if name in to else value.shape
        batch[name] = np.zeros((batch_size, *shape), value.dtype)
    for name in targets or {}:
        batch[f"{name}_lengths"] = np.zeros(batch_size, np.int32)
    for row, (example, count) in enumerate(zip(examples, steps, strict=True)):
        if example.keys() != first.keys():
            raise ValueError(
                f"All examples must have the entries {', '.join(first)}; one has "
                f"{', '.join(example)}."
            )
        for name, value in example.items():
            index: tuple = (row, slice(count)) if name in sequences else (row,)
            if name in (targets or {}):
                index = (row, slice(len(value)))
                batch[f"{name}_lengths"][row] = len(value)
            if np.shape(value) != batch[name][index].shape:
                raise ValueError(
                    f"The entry {name!r} of an example has shape {np.shape(value)}, where the "
                    f"first example has {batch[name][index].shape}."
                )
            batch[name][index] = value
    batch["lengths"] = np.zeros(batch_size, np.int32)
    batch["lengths"][: len(steps)] = steps
    batch["weights"] = (np.arange(batch_size) < len(steps)).astype(np.float32)
    return batch


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How many examples were truncated, and how many of their steps were lost."""

    max_length: int
    examples: int
    of_examples: int
    steps: int
    of_steps: int

    def summary(self) -> str:
        """One line; empty if nothing was cut."""
        if not self.examples:
            return ""
        return (
            f"{self.examples:,} of {self.of_examples:,} sequences were cut to {self.max_length} "
            f"steps; they lost {self.steps:,} of {self.of_steps:,} steps in all."
        )


def truncate(
    examples: Iterable[Encoded],
    max_length: int,
    side: Literal["head", "tail"] = "head",
    *,
    sequences: Sequence[str] = INPUTS,
) -> tuple[list[dict[str, np.ndarray]], Truncation]:
    """Examples truncated to at most `max_length` steps.

    Args:
      examples: encoded.
      max_length: maximum number of steps, at least 1.
      side: which end of a longer example is kept: `"head"`, the first steps, or `"tail"`, the
        last ones.
      sequences: the entries with a leading time axis.

    Returns:
      `(examples, truncation)`; `truncation.summary()` says how much was cut.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.padding import truncate
      >>> (example,), truncation = truncate([{"inputs": np.arange(5)}], 3, "tail")
      >>> example["inputs"].tolist()
      [2, 3, 4]
      >>> truncation.summary()
      '1 of 1 sequences were cut to 3 steps; they lost 2 of 5 steps in all.'
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1, got {max_length}.")
    if side not in ("head", "tail"):
        raise ValueError(f"side must be 'head' or 'tail', got {side!r}.")
    part = slice(max_length) if side == "head" else slice(-max_length, None)
    kept, cut, lost, total = [], 0, 0, 0
    for example in examples:
        steps = steps_of(example, sequences)
        total += steps
        if steps > max_length:
            cut, lost = cut + 1, lost + steps - max_length
        kept.append(
            {name: value[part] if name in sequences else value for name, value in example.items()}
        )
    return kept, Truncation(max_length, cut, len(kept), lost, total)
