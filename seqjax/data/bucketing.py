"""The few lengths to which sequences of many lengths are padded."""

import bisect
from collections.abc import Sequence

import numpy as np

CANDIDATES = 1000
"""Among how many lengths the search chooses, at most."""


def bucket_lengths(lengths: Sequence[int] | np.ndarray, buckets: int, rows: int = 1) -> list[int]:
    """The at most `buckets` lengths that waste the least padding.

        cost(i, j)     = steps of all batches when lengths above d[i] up to d[j] share d[j]
                       = ceil((number of such sequences) / rows) * rows * d[j]
        least(k, j)    = min over i < j of least(k - 1, i) + cost(i, j)

    over the distinct lengths d, by dynamic programming: exact for up to `CANDIDATES`
    distinct lengths; of more, that many evenly spaced ones are looked at.

    Args:
      lengths: of all sequences, at least one.
      buckets: how many lengths there may be, at least 1. A run over batches of so many
        lengths compiles so many programs. With 1, everything is padded to the longest.
      rows: of a batch. Above 1, the rows that only fill up the last batch of each length
        count as padding too, so small sets get few lengths.

    Returns:
      The lengths, rising; the last is that of the longest sequence, and none is below 1.

    Example:
      >>> from seqjax.data.bucketing import bucket_lengths
      >>> bucket_lengths([3, 3, 4, 20, 21, 21], buckets=2)
      [4, 21]
    """
    found = np.maximum(np.asarray(lengths, np.int64), 1)
    if not found.size or found.ndim != 1:
        raise ValueError(f"lengths must be a list of at least one, got shape {found.shape}.")
    if buckets < 1 or rows < 1:
        raise ValueError(f"buckets and rows must be at least 1, got {buckets} and {rows}.")
    distinct = np.unique(found)
    if len(distinct) > CANDIDATES:
        places = np.linspace(0, len(distinct) - 1, CANDIDATES).round().astype(int)
        distinct = distinct[places]
    # below[j]: how many sequences are at most as long as the first j candidates.
    below = np.concatenate([[0], np.searchsorted(np.sort(found), distinct, side="right")])

    def costs(j: int) -> np.ndarray:
        return -(-(below[j] - below[:j]) // rows) * rows * distinct[j - 1]

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
            best, chosen, place = least[count], [], count
            for step in range(k, -1, -1):
                chosen.append(int(distinct[place - 1]))
                place = before[step][place]
    return chosen[::-1]


def bucket_of(length: int, lengths: Sequence[int]) -> int:
    """The place in the rising `lengths` of the first that is not below `length`.

    Raises:
      ValueError: if all are below.
    """
    place = bisect.bisect_left(lengths, length)
    if place == len(lengths):
        raise ValueError(
            f"A sequence has {length} steps and the longest length is {lengths[-1]}: cut it with "
            "truncate, or allow longer ones."
        )
    return place
