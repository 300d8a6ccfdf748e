"""Sequences of several lengths as one array, and sequences that are cut."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

Encoded = Mapping[str, np.ndarray]
"""One example as arrays: those that are sequences have a leading time axis."""

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
    rows: int | None = None,
    sequences: Sequence[str] = INPUTS,
    answers: Mapping[str, int] | None = None,
) -> dict[str, np.ndarray]:
    """Stacks examples of several lengths; what is added counts for nothing.

    Args:
      examples: at least one.
      length: steps of the result; by default those of the longest example.
      rows: rows of the result; by default one for each example.
      sequences: the entries with a leading time axis.
      answers: entries with a time axis of their own, and the length they are padded to.

    Returns:
      Every entry stacked, `(rows, length, ...)` for sequences and `(rows, ...)` for the
      rest, with zeros where nothing is; and `lengths` `(rows,)` int32 and `weights`
      `(rows,)` float32, 1 for examples and 0 for rows added at the end, whose length is 0.
      The lengths of an answer are there under its name and `_lengths`.

    Raises:
      ValueError: if there are more examples than rows, a sequence is longer than `length`,
        or the examples do not have the same entries with the same shapes of one step.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.padding import pad
      >>> batch = pad([{"inputs": np.array([5, 6])}, {"inputs": np.array([7])}], rows=3)
      >>> batch["inputs"].tolist(), batch["lengths"].tolist(), batch["weights"].tolist()
      ([[5, 6], [7, 0], [0, 0]], [2, 1, 0], [1.0, 1.0, 0.0])
    """
    if not examples:
        raise ValueError("There must be at least one example to pad.")
    steps = [steps_of(example, sequences) for example in examples]
    length = max(steps) if length is None else length
    rows = len(examples) if rows is None else rows
    if len(examples) > rows:
        raise ValueError(f"{len(examples)} examples do not fit into {rows} rows.")
    if max(steps) > length:
        raise ValueError(
            f"An example has {max(steps)} steps and the longest length is {length}: cut it with "
            "truncate, or allow longer ones."
        )
    first = {name: np.asarray(value) for name, value in examples[0].items()}
    to = {**dict.fromkeys(sequences, length), **(answers or {})}
    batch: dict[str, np.ndarray] = {}
    for name, value in first.items():
        shape = (to[name], *value.shape[1:]) if name in to else value.shape
        batch[name] = np.zeros((rows, *shape), value.dtype)
    for name in answers or {}:
        batch[f"{name}_lengths"] = np.zeros(rows, np.int32)
    for row, (example, count) in enumerate(zip(examples, steps, strict=True)):
        if example.keys() != first.keys():
            raise ValueError(
                f"All examples must have the entries {', '.join(first)}; one has "
                f"{', '.join(example)}."
            )
        for name, value in example.items():
            place: tuple = (row, slice(count)) if name in sequences else (row,)
            if name in (answers or {}):
                place = (row, slice(len(value)))
                batch[f"{name}_lengths"][row] = len(value)
            if np.shape(value) != batch[name][place].shape:
                raise ValueError(
                    f"The entry {name!r} of an example has shape {np.shape(value)}, where the "
                    f"first example asks for {batch[name][place].shape}."
                )
            batch[name][place] = value
    batch["lengths"] = np.zeros(rows, np.int32)
    batch["lengths"][: len(steps)] = steps
    batch["weights"] = (np.arange(rows) < len(steps)).astype(np.float32)
    return batch


@dataclasses.dataclass(frozen=True)
class Truncation:
    """How much was cut: of how many examples, and how many of their steps."""

    longest: int
    examples: int
    of_examples: int
    steps: int
    of_steps: int

    def summary(self) -> str:
        """One line; empty if nothing was cut."""
        if not self.examples:
            return ""
        return (
            f"{self.examples:,} of {self.of_examples:,} sequences were cut to {self.longest} "
            f"steps; they lost {self.steps:,} of {self.of_steps:,} steps in all."
        )


def truncate(
    examples: Iterable[Encoded],
    longest: int,
    side: Literal["head", "tail"] = "head",
    *,
    sequences: Sequence[str] = INPUTS,
) -> tuple[list[dict[str, np.ndarray]], Truncation]:
    """Examples with at most `longest` steps.

    Args:
      examples: encoded.
      longest: steps that an example may have, at least 1.
      side: what is kept of a longer one: its `"head"`, the first steps, or its `"tail"`,
        the last ones.
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
    if longest < 1:
        raise ValueError(f"longest must be at least 1, got {longest}.")
    if side not in ("head", "tail"):
        raise ValueError(f"side must be 'head' or 'tail', got {side!r}.")
    part = slice(longest) if side == "head" else slice(-longest, None)
    kept, cut, lost, total = [], 0, 0, 0
    for example in examples:
        steps = steps_of(example, sequences)
        total += steps
        if steps > longest:
            cut, lost = cut + 1, lost + steps - longest
        kept.append(
            {name: value[part] if name in sequences else value for name, value in example.items()}
        )
    return kept, Truncation(longest, cut, len(kept), lost, total)
