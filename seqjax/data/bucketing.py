"""Bucketing: the few lengths to which sequences of many lengths are padded."""

import bisect
from collections.abc import Sequence

import numpy as np

CANDIDATES = 1000
"""The search considers at most this many lengths."""


def bucket_lengths(
    lengths: Sequence[int] | np.ndarray, buckets: int, batch_size: int = 1
) -> list[int]:
    """The at most `buckets` bucket lengths with the least padding.

        cost(i, j)     = steps of all batches when lengths above d[i] up to d[j] share d[j]
                       = ceil((number of such sequences) / batch_size) * batch_size * d[j]
        least(k, j)    = min over i < j of least(k - 1, i) + cost(i, j)

    over the distinct lengths d, by dynamic programming: exact for up to `CANDIDATES` distinct
    lengths; of more, that many evenly spaced ones are considered.

    Args:
      lengths: of all sequences, at least one.
      buckets: maximum number of lengths, at least 1. Each compiles a program of its own. With 1,
        everything is padded to the longest.
      batch_size: sequences in a batch. Above 1, the empty sequences that fill the last batch of
        each length count as padding too, so small data sets get few lengths.

    Returns:
      The lengths, ascending; the last is that of the longest sequence, and none is below 1.

    Example:
      >>> from seqjax.data.bucketing import bucket_lengths
      >>> bucket_lengths([3, 3, 4, 20, 21, 21], buckets=2)
      [4, 21]
    """
    found = np.maximum(np.asarray(lengths, np.int64), 1)
    if not found.size or found.ndim != 1:
        raise ValueError(f"lengths must be a list of at least one, got shape {found.shape}.")
    if buckets < 1 or batch_size < 1:
        raise ValueError(
            f"buckets and batch_size must be at least 1, got {buckets} and {batch_size}."
        )
    distinct = np.unique(found)
    if len(distinct) > CANDIDATES:
        distinct = distinct[np.linspace(0, len(distinct) - 1, CANDIDATES).round().astype(int)]
    # below[j]: number of sequences at most as long as the j-th candidate.
    below = np.concatenate([[0], np.searchsorted(np.sort(found), distinct, side="right")])

    def costs(j: int) -> np.ndarray:
        return -(-(below[j] - below[:j]) // batch_size) * batch_size * distinct[j - 1]

    count = len(distinct)
    unreached = np.iinfo(np.int64).max // 2
    least = np.full(count + 1, unreached)
    least[0] = 0
    best, chosen = unreached, []
    before: list[np.ndarray] = []
    for k in range(min(buckets, count)):
        reached, from_where = np.full(count + 1, unreached), np.zeros(count + 1, int)
        for j in range(1, count + 1):
            sums = least[:j] + costs(j)
            from_where[j] = sums.argmin()
            reached[j] = min(sums[from_where[j]], unreached)
        before.append(from_where)
        least = reached
        if least[count] < best:
            best, chosen, last = least[count], [], count
            for step in range(k, -1, -1):
                chosen.append(int(distinct[last - 1]))
                last = before[step][last]
    return chosen[::-1]


def bucket_of(length: int, lengths: Sequence[int]) -> int:
    """The index of the first of the ascending `lengths` that is at least `length`.

    Raises:
      ValueError: if all are shorter.
    """
    bucket = bisect.bisect_left(lengths, length)
    if bucket == len(lengths):
        raise ValueError(
            f"A sequence has {length} steps and the longest length is {lengths[-1]}: cut it with "
            "truncate, or allow longer ones."
        )
    return bucket
