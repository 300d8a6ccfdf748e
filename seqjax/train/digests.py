"""Digests of arrays that add up over shards: on any number of devices they are the same."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jax.experimental import multihost_utils

BASE = 6364136223846793005
"""Where the polynomials are evaluated: 5 modulo 8, so that its powers repeat late."""

MODULUS = 2**64

CHUNK = 2**20
"""Words that are widened to 64 bits at once."""


def digests(arrays: Mapping[str, Any]) -> dict[str, str]:
    """The digest of each array, for finding damage.

    The words of an array, `w_i` at the flat position `i`, are the coefficients of a polynomial:

        digest = sum_i w_i * BASE^i   modulo 2^64

    Every process adds up the shards that it owns, replicas of a shard once, and the sums of all
    processes are added. So the digest depends on values, positions and dtype alone, and whoever
    reads an array in other shards, or whole, arrives at the same.

    Args:
      arrays: of JAX, on the devices of any number of processes, or of NumPy, which are whole in
        every process. If some lie on several processes, all must call this, with the same names.

    Returns:
      16 hexadecimal digits for each name.

    Example:
      >>> import numpy as np
      >>> from seqjax.train.digests import digests
      >>> digests({"x": np.uint8([1, 0]), "y": np.uint8([0, 1])})
      {'x': '0000000000000001', 'y': '5851f42d4c957f2d'}

    Source: polynomial fingerprints, Karp and Rabin 1987.
    """
    sums = {name: _own_sum(array) for name, array in arrays.items()}
    shared = [name for name, array in arrays.items() if not _is_here(array)]
    if shared:
        # Without 64-bit types in JAX, as two halves.
        own = np.array([sums[name] for name in shared], np.uint64).view(np.uint32)
        every = np.ascontiguousarray(multihost_utils.process_allgather(own)).view(np.uint64)
        sums |= zip(shared, map(int, every.sum(0, dtype=np.uint64)), strict=True)
    return {name: f"{total:016x}" for name, total in sums.items()}


def _is_here(array: Any) -> bool:
    """Whether this process has all of an array."""
    return isinstance(array, np.ndarray) or array.is_fully_addressable


def _own_sum(array: Any) -> int:
    """The part of a polynomial that belongs to the shards this process owns."""
    if isinstance(array, np.ndarray):
        return shard_sum(array, [0] * array.ndim, array.shape)
    total = 0
    for shard in array.addressable_shards:
        if shard.replica_id == 0:
            starts = [
                part.indices(size)[0] for part, size in zip(shard.index, array.shape, strict=True)
            ]
            total += shard_sum(np.asarray(shard.data), starts, array.shape)
    return total % MODULUS


def shard_sum(values: np.ndarray, starts: list[int], shape: tuple[int, ...]) -> int:
    """The part of the polynomial of an array that belongs to one shard.

    The power of a position is a product of powers, one for each axis, so that axes are summed one
    after the other.

    Args:
      values: of the shard.
      starts: where it begins, on each axis.
      shape: of the whole array.
    """
    if not values.size:
        return 0
    # At most 32 bits, so that every bit of a word reaches the sum, whatever its power.
    word = np.dtype(f"u{min(4, values.dtype.itemsize)}")
    count = values.dtype.itemsize // word.itemsize
    words = np.ascontiguousarray(values).reshape(values.shape or (1,)).view(word)
    sizes, starts = [*shape] or [1], [*starts] or [0]
    sizes[-1], starts[-1] = sizes[-1] * count, starts[-1] * count
    powers = _powers(1, starts[-1], words.shape[-1])
    rows, stride = words.reshape(-1, powers.size), sizes[-1]
    step = max(1, CHUNK // powers.size)
    parts = [rows[at : at + step] @ powers for at in range(0, len(rows), step)]
    total: np.ndarray = np.concatenate(parts).reshape(words.shape[:-1])
    for axis in reversed(range(len(sizes) - 1)):
        total = total @ _powers(stride, starts[axis], total.shape[-1])
        stride *= sizes[axis]
    return int(total)


def _powers(stride: int, start: int, count: int) -> np.ndarray:
    """`(count,)`: the powers of `BASE` at positions `start`, `start + 1`, ... that lie `stride`
    apart."""
    base = pow(BASE, stride, MODULUS)
    factors = np.full(count, base, np.uint64)
    factors[0] = pow(base, start, MODULUS)
    return factors.cumprod()
