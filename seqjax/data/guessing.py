"""What guessing scores: the share of the likeliest class where classes are not equally likely."""

import functools

import numpy as np

from seqjax.data import groups


@functools.cache
def likeliest_result(modulus: int, digits: int) -> float:
    """The share of the likeliest result of `modular_arithmetic` at so many digits."""
    values = np.arange(modulus)
    # Sums and differences are equally likely to be anything; products with 0 make 0 likelier.
    step = np.full((modulus, modulus), 2 / 3 / modulus)
    for digit in values:
        step[values, values * digit % modulus] += 1 / 3 / modulus
    shares = (now := np.full(modulus, 1 / modulus)) / digits
    for _ in range(digits - 1):
        now = now @ step
        shares += now / digits
    return float(shares.max())


@functools.cache
def likeliest_product(items: int, even: bool, time: int) -> float:
    """The share of the likeliest target of `permutations` from generators."""
    following = groups.products(items, even=even)[:, groups.generators(items, even=even)]
    now = np.eye(len(following))[0]
    shares = np.zeros_like(now)
    for _ in range(time):
        now = np.bincount(following.ravel(), np.repeat(now / 2, 2), len(following))
        shares += now / time
    return float(shares.max())


@functools.cache
def likeliest_bracket(kinds: int, depth: int, time: int) -> float:
    """The share of the likeliest target of `dyck`: no open bracket, or any one kind of them."""
    now, closed = np.eye(depth + 1)[0], 0.0
    for _ in range(time):
        up, down = now / 2, now / 2
        up[0], down[0] = now[0], 0
        up[-1], down[-1] = 0, now[-1]
        now = np.append(0, up[:-1]) + np.append(down[1:], 0)
        closed += now[0] / time
    return float(max(closed, (1 - closed) / kinds))
