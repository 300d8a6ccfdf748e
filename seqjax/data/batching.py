"""Batches of few shapes: shuffled for training, in order for prediction."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.bucketing import bucket_lengths, bucket_of
from seqjax.data.packing import pack
from seqjax.data.padding import INPUTS, Encoded, Truncation, pad, steps_of, truncate

__all__ = [
    "Batches",
    "Truncation",
    "bucket_lengths",
    "in_order",
    "pack",
    "pad",
    "restore_order",
    "truncate",
]

Item = TypeVar("Item")
Batch = dict[str, np.ndarray]

SHORTEST = 16
"""Steps of the smallest batch in prediction where no lengths are given."""


class Batches:
    """Shuffled batches of few shapes, an endless sequence with random access.

    Examples of about the same length share a batch. Each epoch has every example exactly
    once, in an order of its own. `batches[step]` depends on the seed and the step alone, so
    a run that stopped after any step, in mid-epoch too, goes on exactly by asking for the
    next one: the step is all there is to store.

    Args:
      examples: encoded, each a dict of arrays.
      rows: examples in a batch.
      seed: of the order.
      bucket_lengths: the lengths to pad to, rising; None pads everything to the longest.
      shuffle: False keeps the order, bucket after bucket.
      sequences: the entries with a leading time axis.
      answers: entries with a time axis of their own, such as what is to be written. A batch is
        as long as the longest of all, and each is padded to what its bucket needs.

    Attributes:
      per_epoch: batches in an epoch.
      shapes: `(rows, time)` of the batches, at most one for each bucket.

    Raises:
      InputError: if there is no example.
      ValueError: if an example is longer than every bucket.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.batching import Batches
      >>> examples = [{"inputs": np.full(n, n), "label": n % 2} for n in (1, 2, 5, 6)]
      >>> batches = Batches(examples, rows=2, seed=0, bucket_lengths=[2, 6])
      >>> batches.per_epoch, batches.shapes
      (2, ((2, 2), (2, 6)))
      >>> sorted(batches[0])
      ['inputs', 'label', 'lengths', 'weights']
    """

    def __init__(
        self,
        examples: Sequence[Encoded],
        *,
        rows: int,
        seed: int,
        bucket_lengths: Sequence[int] | None,
        shuffle: bool = True,
        sequences: Sequence[str] = INPUTS,
        answers: Sequence[str] = (),
    ):
        if not len(examples):
            raise InputError("There is no example to make batches of.")
        if rows < 1:
            raise ValueError(f"rows must be at least 1, got {rows}.")
        if sequences or answers:
            steps = [longest_of(example, sequences, answers) for example in examples]
        else:
            steps = [0] * len(examples)
        lengths = _check_lengths(bucket_lengths or [max(1, *steps)])
        members: list[list[int]] = [[] for _ in lengths]
        for place, count in enumerate(steps):
            members[bucket_of(count, lengths)].append(place)
        filled = [
            (length, places) for length, places in zip(lengths, members, strict=True) if places
        ]

        grain = extra_module("grain", "train")
        last_seed, *seeds = np.random.SeedSequence(seed).generate_state(len(filled) + 1).tolist()

        def dataset(length: int, places: list[int], seed: int) -> Any:
            to = {name: max(len(examples[place][name]) for place in places) for name in answers}
            if answers:
                length = max(1, *(steps_of(examples[place], sequences) for place in places))

            def together(chosen: Sequence[int]) -> Batch:
                found = [examples[place] for place in chosen]
                return pad(found, length, rows=rows, sequences=sequences, answers=to)

            ordered = grain.MapDataset.source(places)
            shuffled = ordered.shuffle(seed) if shuffle else ordered
            return shuffled.batch(rows, batch_fn=together)

        parts = [
            dataset(length, places, seed)
            for (length, places), seed in zip(filled, seeds, strict=True)
        ]
        epoch = grain.MapDataset.concatenate(parts)
        self.per_epoch = len(epoch)
        self.shapes = tuple((rows, length) for length, _ in filled)
        self._dataset = (epoch.shuffle(last_seed) if shuffle else epoch).repeat()
        self._grain = grain

    def __getitem__(self, step: int) -> Batch:
        """The batch of a step, counted from 0 over all epochs."""
        return self._dataset[step]

    def iterate(self, start_step: int = 0, threads: int = 2, ahead: int = 8) -> Iterator[Batch]:
        """The batches from a step on, without end, made ahead of time by threads.

        Args:
          start_step: the first one to yield.
          threads: that make batches.
          ahead: how many batches may wait to be used.
        """
        options = self._grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(self._dataset[start_step:].to_iter_dataset(options))


def longest_of(example: Encoded, sequences: Sequence[str], answers: Sequence[str]) -> int:
    """The steps of an example, or those of an answer if it has more."""
    return max(steps_of(example, sequences), *(len(example[name]) for name in answers), 0)


def in_order(
    examples: Iterable[Encoded],
    rows: int,
    bucket_lengths: Sequence[int] | None = None,
    *,
    window: int = 16,
    sequences: Sequence[str] = INPUTS,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Batches of few shapes from a stream of examples, in bounded memory.

    Of every `window * rows` examples read, those of about the same length share a batch;
    what is left over of a length goes into a batch of the next longer one, so that at most
    one batch in a window has empty rows. `restore_order` brings results back into order.

    Args:
      examples: encoded; read only as far ahead as one window.
      rows: of a batch.
      bucket_lengths: the lengths to pad to, rising. An example that is longer than all of
        them gets the last one doubled as often as needed. Without any, the lengths are
        powers of two.
      window: how many batches are made of the examples at hand.
      sequences: the entries with a leading time axis.

    Yields:
      `(positions, batch)`: `(n,)` int64, which examples of the stream the first n rows of
      the batch hold, and the batch as `pad` makes it.
    """
    lengths = _check_lengths(bucket_lengths or [SHORTEST])
    stream = enumerate(examples)
    while taken := list(itertools.islice(stream, rows * window)):
        groups: dict[int, list[tuple[int, Encoded]]] = {}
        for place, example in taken:
            groups.setdefault(_rounded(steps_of(example, sequences), lengths), []).append(
                (place, example)
            )
        left: list[tuple[int, Encoded]] = []
        for length in sorted(groups):
            # What was left over comes first, so that nothing is left over again and again.
            left += groups[length]
            last = length == max(groups)
            while len(left) >= rows or (last and left):
                chosen, left = left[:rows], left[rows:]
                batch = pad([e for _, e in chosen], length, rows=rows, sequences=sequences)
                yield np.array([place for place, _ in chosen], np.int64), batch


def restore_order(results: Iterable[tuple[int, Item]]) -> Iterator[Item]:
    """Results in the order of their positions 0, 1, 2, ..., each as soon as it can be.

    Args:
      results: `(position, result)` in any order, each position once. What came too early
        is kept until its turn: at most a window, for positions of `in_order`.

    Example:
      >>> from seqjax.data.batching import restore_order
      >>> list(restore_order([(1, "b"), (0, "a"), (2, "c")]))
      ['a', 'b', 'c']
    """
    waiting: dict[int, Item] = {}
    turn = 0
    for position, result in results:
        waiting[position] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1
    if waiting:
        raise ValueError(f"No result came for position {turn}.")


def _check_lengths(lengths: Sequence[int]) -> list[int]:
    found = [int(length) for length in lengths]
    if found[0] < 1 or any(a >= b for a, b in itertools.pairwise(found)):
        raise ValueError(f"Lengths to pad to must be above 0 and rise, got {found}.")
    return found


def _rounded(length: int, lengths: Sequence[int]) -> int:
    """The first of the lengths that is enough, or else the last, doubled until it is."""
    if length <= lengths[-1]:
        return lengths[bucket_of(length, lengths)]
    enough = lengths[-1]
    while enough < length:
        enough *= 2
    return enough
