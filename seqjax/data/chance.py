"""Chance level of the synthetic tasks whose classes are not equally likely."""

import functools

import numpy as np

from seqjax.data import groups


@functools.cache
def likeliest_result(modulus: int, digits: int) -> float:
    """The frequency of the most frequent target of `modular_arithmetic` with that many digits."""
    values = np.arange(modulus)
    # Sums and differences are uniform; products with 0 make 0 more frequent.
    transition = np.full((modulus, modulus), 2 / 3 / modulus)
    for digit in values:
        transition[values, values * digit % modulus] += 1 / 3 / modulus
    frequencies = (now := np.full(modulus, 1 / modulus)) / digits
    for _ in range(digits - 1):
        now = now @ transition
        frequencies += now / digits
    return float(frequencies.max())


@functools.cache
def likeliest_product(items: int, even: bool, time: int) -> float:
    """The frequency of the most frequent target of `permutations` from generators."""
    following = groups.products(items, even=even)[:, groups.generators(items, even=even)]
    now = np.eye(len(following))[0]
    frequencies = np.zeros_like(now)
    for _ in range(time):
        now = np.bincount(following.ravel(), np.repeat(now / 2, 2), len(following))
        frequencies += now / time
    return float(frequencies.max())


@functools.cache
def likeliest_bracket(kinds: int, depth: int, time: int) -> float:
    """The frequency of the most frequent target of `dyck`: no open bracket, or any one kind."""
    now, closed = np.eye(depth + 1)[0], 0.0
    for _ in range(time):
        up, down = now / 2, now / 2
        up[0], down[0] = now[0], 0
        up[-1], down[-1] = 0, now[-1]
        now = np.append(0, up[:-1]) + np.append(down[1:], 0)
        closed += now[0] / time
    return float(max(closed, (1 - closed) / kinds))
