"""Permutation groups: elements, multiplication table and generators.

A permutation is a tuple: item `i` goes to position `order[i]`. Elements are numbered in
lexicographic order, the identity first.
"""

import functools
import itertools

import numpy as np

from seqjax.core.cell import positive_int


@functools.cache
def members(items: int, *, even: bool) -> tuple[tuple[int, ...], ...]:
    """All permutations of `items` items, or only the even ones.

    Raises:
      ValueError: if there are fewer than 2 items or more than 6.

    Example:
      >>> members(3, even=True)
      ((0, 1, 2), (1, 2, 0), (2, 0, 1))
    """
    if not 2 <= positive_int("members", "items", items) <= 6:
        raise ValueError(f"members: `items` must be between 2 and 6, got {items}.")
    return tuple(
        order
        for order in itertools.permutations(range(items))
        if not even or sum(a > b for a, b in itertools.combinations(order, 2)) % 2 == 0
    )


@functools.cache
def products(items: int, *, even: bool) -> np.ndarray:
    """The multiplication table `[first, second]`, `first` applied first; int32, read-only.

    Raises:
      ValueError: as `members`.

    Example:
      >>> products(3, even=True)[1]
      array([1, 2, 0], dtype=int32)
    """
    every = members(items, even=even)
    numbers = {order: number for number, order in enumerate(every)}
    table = np.array(
        [[numbers[tuple(second[i] for i in first)] for second in every] for first in every],
        np.int32,
    )
    table.setflags(write=False)
    return table


def generators(items: int, *, even: bool) -> np.ndarray:
    """Two generators of the group: a short and a long cycle.

    The short one cycles the first two items, or three if `even`; the long one all items, or all
    but the first where a cycle of all would be odd and `even` is set.

    Raises:
      ValueError: if there are fewer than four items, or fewer than three if not `even`.

    Example:
      >>> [members(5, even=True)[number] for number in generators(5, even=True)]
      [(1, 2, 0, 3, 4), (1, 2, 3, 4, 0)]

    Source: the alphabet of two for A5 and S5 in Liu et al. 2022, arXiv:2210.10749.
    """
    if items < (least := 4 if even else 3):
        raise ValueError(f"generators: `items` must be at least {least}, got {items}.")
    short, first = (3, 1 - items % 2) if even else (2, 0)
    fixed = tuple(range(items))
    cycles = (
        (*fixed[1:short], 0, *fixed[short:]),
        (*fixed[:first], *fixed[first + 1 :], first),
    )
    every = members(items, even=even)
    return np.array([every.index(cycle) for cycle in cycles])
