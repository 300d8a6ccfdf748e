"""Batches of few distinct shapes: shuffled for training, in order for prediction."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.data.bucketing import bucket_lengths, bucket_of
from seqjax.data.on_demand import Lengths, OnDemand
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
"""Time steps of the shortest batch in prediction if no lengths are given."""


class Batches:
    """Shuffled, bucketed batches of few distinct shapes: an infinite sequence with random access.

    Examples of similar length share a batch. Each epoch has every example exactly once, in its own
    order. `batches[step]` is a function of the seed and the step alone, so a run resumes exactly,
    in mid-epoch too, by asking for the next step; there is no other state to checkpoint.

    Args:
      examples: encoded, each a dict of arrays; of an `OnDemand`, a batch encodes those in its rows.
      batch_size: examples in a batch.
      seed: of the shuffling.
      bucket_lengths: the lengths to pad to, ascending; None pads everything to the longest.
      shuffle: False keeps the order of the examples, bucket by bucket.
      sequences: the entries with a leading time axis.
      targets: target sequences: entries with a time axis of their own. The bucket of an example is
        that of the longer of input and target; within a bucket, inputs and each target are padded
        to the longest of their own.
      rows: of every batch, those to make, ascending; all by default. Processes that share a batch
        make the rows on their own devices.

    Attributes:
      per_epoch: batches in an epoch.
      shapes: `(batch_size, time)` of the batches, at most one per bucket.

    Raises:
      InputError: if there is no example.
      ValueError: if an example is longer than every bucket.

    Example:
      >>> import numpy as np
      >>> from seqjax.data.batching import Batches
      >>> examples = [{"inputs": np.full(n, n), "label": n % 2} for n in (1, 2, 5, 6)]
      >>> batches = Batches(examples, batch_size=2, seed=0, bucket_lengths=[2, 6])
      >>> batches.per_epoch, batches.shapes
      (2, ((2, 2), (2, 6)))
      >>> sorted(batches[0])
      ['inputs', 'label', 'lengths', 'weights']
    """

    def __init__(
        self,
        examples: Sequence[Encoded],
        *,
        batch_size: int,
        seed: int,
        bucket_lengths: Sequence[int] | None,
        shuffle: bool = True,
        sequences: Sequence[str] = INPUTS,
        targets: Sequence[str] = (),
        rows: Sequence[int] | None = None,
    ):
        if not len(examples):
            raise InputError("There is no example to make batches of.")
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        sizes = Lengths.of(examples, sequences, targets)
        steps = sizes.longest
        lengths = _check_lengths(bucket_lengths or [max(1, steps.max())])
        members: list[list[int]] = [[] for _ in lengths]
        for index, count in enumerate(steps.tolist()):
            members[bucket_of(count, lengths)].append(index)
        filled = [(length, own) for length, own in zip(lengths, members, strict=True) if own]

        own = range(batch_size) if rows is None else rows
        grain = extra_module("grain", "train")
        last_seed, *seeds = np.random.SeedSequence(seed).generate_state(len(filled) + 1).tolist()

        def dataset(length: int, indices: list[int], seed: int) -> Any:
            to = {name: int(sizes.targets[name][indices].max()) for name in targets}
            if targets:
                length = max(1, int(sizes.steps[indices].max()))

            def collate(chosen: Sequence[int]) -> Batch:
                return _pad_rows(examples, chosen, own, length, sequences=sequences, targets=to)

            ordered = grain.MapDataset.source(indices)
            shuffled = ordered.shuffle(seed) if shuffle else ordered
            return shuffled.batch(batch_size, batch_fn=collate)

        parts = [
            dataset(length, indices, seed)
            for (length, indices), seed in zip(filled, seeds, strict=True)
        ]
        epoch = grain.MapDataset.concatenate(parts)
        self.per_epoch = len(epoch)
        self.shapes = tuple((batch_size, length) for length, _ in filled)
        self._dataset = (epoch.shuffle(last_seed) if shuffle else epoch).repeat()
        self._grain = grain

    def __getitem__(self, step: int) -> Batch:
        """The batch of a training step, counted from 0 across epochs."""
        return self._dataset[step]

    def iterate(self, start_step: int = 0, threads: int = 2, ahead: int = 8) -> Iterator[Batch]:
        """The batches from a step on, without end, prefetched by threads.

        Args:
          start_step: the first step to yield.
          threads: number of worker threads.
          ahead: size of the prefetch buffer, in batches.
        """
        options = self._grain.ReadOptions(num_threads=threads, prefetch_buffer_size=ahead)
        return iter(self._dataset[start_step:].to_iter_dataset(options))


def _pad_rows(
    examples: Sequence[Encoded] | Mapping[int, Encoded],
    chosen: Sequence[int],
    rows: Sequence[int],
    length: int,
    **options: Any,
) -> Batch:
    """These rows, ascending, of a batch that begins with the chosen examples; no others are asked
    for. Arguments as for `pad`."""
    own = [examples[chosen[row]] for row in rows if row < len(chosen)]
    batch = pad(own or [examples[chosen[0]]], length, batch_size=len(rows), **options)
    return batch if own else {name: np.zeros_like(value) for name, value in batch.items()}


def in_order(
    examples: Iterable[Encoded],
    batch_size: int,
    bucket_lengths: Sequence[int] | None = None,
    *,
    window: int = 16,
    sequences: Sequence[str] = INPUTS,
    rows: Sequence[int] | None = None,
) -> Iterator[tuple[np.ndarray, Batch]]:
    """Batches of few distinct shapes from a stream of examples, in bounded memory.

    Of every `window * batch_size` examples read, those of similar length share a batch; the
    remainder of a length joins a batch of the next longer one, so that at most one batch per
    window is padded with empty sequences. `restore_order` brings results back into order.

    Args:
      examples: encoded; read at most one window ahead. Of an `OnDemand`, a batch encodes those in
        its rows.
      batch_size: sequences in a batch.
      bucket_lengths: the lengths to pad to, ascending. An example longer than all of them gets
        the last one doubled as often as needed. By default, powers of two.
      window: batches formed from the examples at hand.
      sequences: the entries with a leading time axis.
      rows: of every batch, those to make, ascending; all by default.

    Yields:
      `(positions, batch)`: `(n,)` int64, the positions in the stream of the first n sequences of
      the batch, and the rows of the batch from `pad`.
    """
    lengths = _check_lengths(bucket_lengths or [SHORTEST])
    own = range(batch_size) if rows is None else rows
    for found, steps in _windows(examples, batch_size * window, sequences):
        groups: dict[int, list[int]] = {}
        for position, count in steps.items():
            groups.setdefault(_rounded(count, lengths), []).append(position)
        left: list[int] = []
        for length in sorted(groups):
            # The remainder comes first, so that no example is postponed again and again.
            left += groups[length]
            last = length == max(groups)
            while len(left) >= batch_size or (last and left):
                chosen, left = left[:batch_size], left[batch_size:]
                batch = _pad_rows(found, chosen, own, length, sequences=sequences)
                yield np.array(chosen, np.int64), batch


def _windows(
    examples: Iterable[Encoded], size: int, sequences: Sequence[str]
) -> Iterator[tuple[Sequence[Encoded] | Mapping[int, Encoded], dict[int, int]]]:
    """Examples by their positions, and the steps of those that are next, by position."""
    if isinstance(examples, OnDemand):
        for start in range(0, len(examples), size):
            steps = examples.lengths.steps[start : start + size].tolist()
            yield examples, dict(enumerate(steps, start))
        return
    stream = enumerate(examples)
    while taken := dict(itertools.islice(stream, size)):
        yield taken, {place: steps_of(example, sequences) for place, example in taken.items()}


def restore_order(results: Iterable[tuple[int, Item]]) -> Iterator[Item]:
    """Results in the order of their positions 0, 1, 2, ..., each as early as possible.

    Args:
      results: `(position, result)` in any order, each position once. Early results are buffered:
        at most one window for positions from `in_order`.

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
        raise ValueError(f"Lengths to pad to must be positive and ascending, got {found}.")
    return found


def _rounded(length: int, lengths: Sequence[int]) -> int:
    """The first of the lengths that suffices, or else the last, doubled until it does."""
    if length <= lengths[-1]:
        return lengths[bucket_of(length, lengths)]
    enough = lengths[-1]
    while enough < length:
        enough *= 2
    return enough
