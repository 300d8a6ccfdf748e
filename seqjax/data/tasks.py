"""Synthetic tasks of the field: seeded generators, each with the score of guessing.

Each function draws a batch from a NumPy generator and returns a `Batch`. Equal seeds give equal
batches. What a model has to predict, and where, is in `targets` and `mask`; `chance` is the
score to be expected of the best answer that is the same for all rows and steps: it depends on the
task and the length, not on the batch.
"""

from typing import Any, NamedTuple

import numpy as np

from seqjax.core.cell import positive_int
from seqjax.data import groups, guessing


class Batch(NamedTuple):
    """A batch of a task.

    `inputs`: `(rows, time)` int32 tokens, or `(rows, time, width)` float32 numbers. `targets`:
    `(rows, time)` int32 classes, or float32 numbers. `mask`: `(rows, time)` bool, where a
    prediction counts. `classes`: how many there are, 0 for numbers. `tokens`: how many input
    tokens there are, 0 for numbers. `chance`: the expected accuracy of guessing, which is to give
    the likeliest class of the task at this length everywhere; for numbers its mean squared error.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray
    tokens: int
    classes: int
    chance: float


def adding(random: np.random.Generator, rows: int, time: int) -> Batch:
    """Two of many numbers are marked: what is their sum?

    Inputs are `(number, mark)`, numbers uniform in [0, 1]; one mark in each half. The target is
    at the last step. Always saying 1 has a squared error of 1/6.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps, at least 2.

    Example:
      >>> import numpy as np
      >>> batch = adding(np.random.default_rng(0), rows=2, time=10)
      >>> batch.inputs.shape, batch.mask.sum(1)
      ((2, 10, 2), array([1, 1]))

    Source: Hochreiter and Schmidhuber 1997; this form: Le et al. 2015, arXiv:1504.00941.
    """
    rows, time = _sizes("adding", rows, time, 2)
    numbers = random.random((rows, time))
    marks = np.zeros((rows, time))
    half = time // 2
    row = np.arange(rows)
    marks[row, random.integers(0, half, rows)] = 1
    marks[row, random.integers(half, time, rows)] = 1
    total = (numbers * marks).sum(1)
    targets = np.zeros((rows, time), np.float32)
    targets[:, -1] = total
    mask = np.zeros((rows, time), bool)
    mask[:, -1] = True
    inputs = np.stack([numbers, marks], -1).astype(np.float32)
    return Batch(inputs, targets, mask, tokens=0, classes=0, chance=1 / 6)


def copying(
    random: np.random.Generator, rows: int, delay: int, *, length: int = 10, symbols: int = 8
) -> Batch:
    """Some symbols, a long wait, a signal: say the symbols again.

    Tokens are the symbols, then blank, then the signal. `length` symbols, `delay` steps of which
    the last is the signal and the others are blank, `length` blanks, where the symbols are due.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      delay: steps between the symbols and the first that is due, at least 1.
      length: number of symbols.
      symbols: how many different ones there are.

    Example:
      >>> import numpy as np
      >>> batch = copying(np.random.default_rng(0), rows=1, delay=2, length=3)
      >>> batch.inputs
      array([[6, 5, 4, 8, 9, 8, 8, 8]], dtype=int32)
      >>> batch.targets[batch.mask]
      array([6, 5, 4], dtype=int32)

    Source: Hochreiter and Schmidhuber 1997; this form: Arjovsky et al. 2016, arXiv:1511.06464.
    """
    rows, delay = _sizes("copying", rows, delay, 1, "delay")
    length = positive_int("copying", "length", length)
    symbols = positive_int("copying", "symbols", symbols)
    blank, signal = symbols, symbols + 1
    told = random.integers(0, symbols, (rows, length))
    inputs = np.full((rows, 2 * length + delay), blank, np.int32)
    inputs[:, :length] = told
    inputs[:, length + delay - 1] = signal
    return _at_the_end(inputs, told, tokens=symbols + 2, classes=symbols)


def selective_copying(
    random: np.random.Generator, rows: int, time: int, *, length: int = 16, symbols: int = 14
) -> Batch:
    """Symbols at random places among blanks: say them again in their order.

    Tokens are the symbols, then blank, then the signal. `length` of the first `time` steps hold
    symbols; then come `length` signals, at which the symbols are due.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps before the first that is due, at least `length`.
      length: number of symbols.
      symbols: how many different ones there are.

    Example:
      >>> import numpy as np
      >>> batch = selective_copying(np.random.default_rng(0), rows=2, time=20, length=4)
      >>> batch.inputs.shape, batch.targets[batch.mask].shape
      ((2, 24), (8,))

    Source: Gu and Dao 2023, arXiv:2312.00752 (4096 steps, 16 symbols of 16 tokens).
    """
    length = positive_int("selective_copying", "length", length)
    symbols = positive_int("selective_copying", "symbols", symbols)
    rows, time = _sizes("selective_copying", rows, time, length)
    blank, signal = symbols, symbols + 1
    told = random.integers(0, symbols, (rows, length))
    places = np.sort(random.permuted(np.tile(np.arange(time), (rows, 1)), axis=1)[:, :length])
    inputs = np.full((rows, time + length), blank, np.int32)
    np.put_along_axis(inputs, places, told.astype(np.int32), axis=1)
    inputs[:, time:] = signal
    return _at_the_end(inputs, told, tokens=symbols + 2, classes=symbols)


def associative_recall(
    random: np.random.Generator,
    rows: int,
    time: int,
    *,
    pairs: int = 4,
    tokens: int = 64,
) -> Batch:
    """Pairs of a key and a value; keys come again later: which value belongs to them?

    The first half of the tokens are keys and the second half values; the targets are numbers
    of values. The first `2 * pairs` steps are pairs with different keys. Each key comes once
    more, at a random even place of the rest; there its value is due. Elsewhere in the rest are
    random values.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps, at least `4 * pairs` and even.
      pairs: number of pairs, at most `tokens / 2`.
      tokens: size of the vocabulary, even.

    Example:
      >>> import numpy as np
      >>> batch = associative_recall(np.random.default_rng(0), rows=2, time=64)
      >>> batch.mask.sum(1), batch.classes
      (array([4, 4]), 32)

    Source: Arora et al. 2023, arXiv:2312.04927 (MQAR). There queries come sooner rather than
    later, the values of a row all differ, and the rest is of any tokens; here every place is as
    likely, values may come twice, and no key is in the rest but those that are asked for.
    """
    pairs = positive_int("associative_recall", "pairs", pairs)
    tokens = positive_int("associative_recall", "tokens", tokens)
    rows, time = _sizes("associative_recall", rows, time, 4 * pairs)
    if time % 2 or tokens % 2 or pairs > tokens // 2:
        raise ValueError(
            "associative_recall: `time` and `tokens` must be even and `pairs` at most half of "
            f"`tokens`; got time={time}, tokens={tokens}, pairs={pairs}."
        )
    half = tokens // 2
    keys = random.permuted(np.tile(np.arange(half), (rows, 1)), axis=1)[:, :pairs]
    values = random.integers(0, half, (rows, pairs))
    inputs = random.integers(half, tokens, (rows, time)).astype(np.int32)
    inputs[:, 0 : 2 * pairs : 2] = keys
    inputs[:, 1 : 2 * pairs : 2] = half + values
    free = np.arange(2 * pairs, time, 2)
    places = random.permuted(np.tile(free, (rows, 1)), axis=1)[:, :pairs]
    targets = np.zeros((rows, time), np.int32)
    mask = np.zeros((rows, time), bool)
    np.put_along_axis(inputs, places, keys.astype(np.int32), axis=1)
    np.put_along_axis(targets, places, values.astype(np.int32), axis=1)
    np.put_along_axis(mask, places, True, axis=1)
    return Batch(inputs, targets, mask, tokens=tokens, classes=half, chance=1 / half)


def parity(random: np.random.Generator, rows: int, time: int) -> Batch:
    """Is the number of ones so far odd? At every step.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps.

    Example:
      >>> import numpy as np
      >>> batch = parity(np.random.default_rng(0), rows=1, time=6)
      >>> batch.inputs, batch.targets
      (array([[1, 1, 1, 0, 0, 0]], dtype=int32), array([[1, 0, 1, 1, 1, 1]], dtype=int32))

    Source: Grazzi et al. 2024, arXiv:2411.12537.
    """
    rows, time = _sizes("parity", rows, time, 1)
    inputs = random.integers(0, 2, (rows, time)).astype(np.int32)
    targets = np.cumsum(inputs, axis=1, dtype=np.int32) % 2
    return Batch(inputs, targets, np.ones(inputs.shape, bool), tokens=2, classes=2, chance=1 / 2)


def modular_arithmetic(
    random: np.random.Generator, rows: int, time: int, *, modulus: int = 5
) -> Batch:
    """Digits with operators between, worked out from left to right: what is the result so far?

    Tokens are the digits 0 to `modulus - 1`, then plus, minus and times. Even steps hold digits,
    odd ones operators; the result modulo `modulus` is due at the digits.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps.
      modulus: at least 2.

    Example:
      >>> import numpy as np
      >>> batch = modular_arithmetic(np.random.default_rng(0), rows=1, time=5)
      >>> batch.inputs, batch.targets[batch.mask]
      (array([[4, 5, 2, 5, 1]], dtype=int32), array([4, 1, 2], dtype=int32))

    Source: Deletang et al. 2022, arXiv:2207.02098 (modular arithmetic without brackets); they
    give products precedence, here there is none.
    """
    rows, time = _sizes("modular_arithmetic", rows, time, 1)
    if (modulus := positive_int("modular_arithmetic", "modulus", modulus)) < 2:
        raise ValueError(f"modular_arithmetic: `modulus` must be at least 2, got {modulus}.")
    digits = random.integers(0, modulus, (rows, time))
    operators = random.integers(0, 3, (rows, time))
    at_digit = np.arange(time) % 2 == 0
    inputs = np.where(at_digit, digits, modulus + operators).astype(np.int32)
    targets = np.zeros((rows, time), np.int32)
    value = digits[:, 0]
    targets[:, 0] = value
    for t in range(2, time, 2):
        results = np.stack([value + digits[:, t], value - digits[:, t], value * digits[:, t]])
        value = results[operators[:, t - 1], np.arange(rows)] % modulus
        targets[:, t] = value
    mask = np.broadcast_to(at_digit, (rows, time)).copy()
    chance = guessing.likeliest_result(modulus, -(-time // 2))
    return Batch(inputs, targets, mask, modulus + 3, modulus, chance)


def dyck(
    random: np.random.Generator, rows: int, time: int, *, kinds: int = 2, depth: int = 8
) -> Batch:
    """Nested brackets: which closing bracket is due?

    Tokens `0 .. kinds - 1` open, `kinds .. 2 * kinds - 1` close. The target is the kind of the
    innermost open bracket, `kinds` if none is open, at every step.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps.
      kinds: of brackets.
      depth: how deep they nest at most.

    Example:
      >>> import numpy as np
      >>> batch = dyck(np.random.default_rng(0), rows=1, time=6)
      >>> batch.inputs, batch.targets
      (array([[1, 3, 0, 1, 1, 1]], dtype=int32), array([[1, 2, 0, 1, 1, 1]], dtype=int32))

    Source: Hewitt et al. 2020, arXiv:2010.07515 (Dyck-(k, m)).
    """
    rows, time = _sizes("dyck", rows, time, 1)
    kinds, depth = positive_int("dyck", "kinds", kinds), positive_int("dyck", "depth", depth)
    inputs = np.zeros((rows, time), np.int32)
    targets = np.zeros((rows, time), np.int32)
    opened = np.zeros((rows, depth + 1), np.int32)
    opened[:, 0] = kinds
    height, row = np.zeros(rows, np.int64), np.arange(rows)
    for t in range(time):
        closes = (height == depth) | ((height > 0) & (random.random(rows) < 0.5))
        kind = random.integers(0, kinds, rows)
        inputs[:, t] = np.where(closes, kinds + opened[row, height], kind)
        height += np.where(closes, -1, 1)
        opened[row, height] = np.where(closes, opened[row, height], kind)
        targets[:, t] = opened[row, height]
    chance, mask = guessing.likeliest_bracket(kinds, depth, time), np.ones_like(targets, bool)
    return Batch(inputs, targets, mask, 2 * kinds, kinds + 1, chance)


def permutations(
    random: np.random.Generator,
    rows: int,
    time: int,
    *,
    items: int = 5,
    even: bool = True,
    generators: bool = False,
) -> Batch:
    """Permutations one after the other: what have they done so far?

    Classes number the permutations of some items in lexicographic order, the identity first. The
    target at each step is the product of all so far. Tokens are the same numbers, or stand for two
    generators: a short and a long cycle, of which every other permutation is a product.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      rows: of the batch.
      time: steps.
      items: that are permuted, 2 to 6.
      even: only even permutations: the group A5 with 60 elements for five items; without, S5
        with 120.
      generators: draw only token 0, which moves three items round (two unless `even`), and token
        1, which moves all (all but the first where that would be odd). The state to be kept is the
        same, but 2 tokens instead of 60 or 120 are far sooner learned.

    Example:
      >>> import numpy as np
      >>> batch = permutations(np.random.default_rng(0), rows=2, time=8)
      >>> batch.classes, bool((batch.inputs[:, 0] == batch.targets[:, 0]).all())
      (60, True)

    Source: Merrill et al. 2024, arXiv:2404.08819; from generators: Liu et al. 2022,
    arXiv:2210.10749.
    """
    rows, time = _sizes("permutations", rows, time, 1)
    items = positive_int("permutations", "items", items)
    for name, value in (("even", even), ("generators", generators)):
        if not isinstance(value, bool):
            raise ValueError(f"permutations: `{name}` must be True or False, got {value!r}.")
    table = groups.products(items, even=even)
    drawn = groups.generators(items, even=even) if generators else np.arange(len(table))
    inputs = random.integers(0, len(drawn), (rows, time)).astype(np.int32)
    targets = np.empty_like(inputs)
    state = np.zeros(rows, np.int32)
    for t in range(time):
        state = targets[:, t] = table[state, drawn[inputs[:, t]]]
    chance = guessing.likeliest_product(items, even, time) if generators else 1 / len(table)
    mask = np.ones(inputs.shape, bool)
    return Batch(inputs, targets, mask, len(drawn), len(table), chance)


def _sizes(owner: str, rows: Any, time: Any, least: int, name: str = "time") -> tuple[int, int]:
    rows, time = positive_int(owner, "rows", rows), positive_int(owner, name, time)
    if time < least:
        raise ValueError(f"{owner}: `{name}` must be at least {least}, got {time}.")
    return rows, time


def _at_the_end(inputs: np.ndarray, told: np.ndarray, *, tokens: int, classes: int) -> Batch:
    length = told.shape[1]
    targets = np.zeros_like(inputs)
    targets[:, -length:] = told
    mask = np.zeros(inputs.shape, bool)
    mask[:, -length:] = True
    return Batch(inputs, targets, mask, tokens, classes, 1 / classes)
