"""Synthetic benchmark tasks: seeded generators, each with its chance level.

Each function draws a `Batch` from a NumPy generator; equal seeds give equal batches. `targets` and
`mask` say what to predict and where. `chance` is the expected score of the best constant
prediction; it depends on the task and the length, not on the batch.
"""

from typing import Any, NamedTuple

import numpy as np

from seqjax.core.cell import positive_int
from seqjax.data import groups
from seqjax.data.chance import likeliest_bracket, likeliest_product, likeliest_result


class Batch(NamedTuple):
    """A batch of a task.

    Attributes:
      inputs: `(batch, time)` int32 tokens, or `(batch, time, width)` float32.
      targets: `(batch, time)` int32 classes, or float32 for regression.
      mask: `(batch, time)` bool, the steps at which predictions are scored.
      tokens: size of the input vocabulary, 0 for real-valued inputs.
      classes: number of classes, 0 for regression.
      chance: the expected accuracy of always predicting the most frequent class of the task at
        this length; for regression the mean squared error of the best constant.
    """

    inputs: np.ndarray
    targets: np.ndarray
    mask: np.ndarray
    tokens: int
    classes: int
    chance: float


def adding(random: np.random.Generator, batch_size: int, time: int) -> Batch:
    """The adding problem: the sum of the two marked numbers of a sequence.

    Inputs are pairs `(number, mark)`, numbers uniform in [0, 1], with one mark in each half. The
    target is due at the last step. The best constant, 1, has a mean squared error of 1/6.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps, at least 2.

    Example:
      >>> import numpy as np
      >>> batch = adding(np.random.default_rng(0), batch_size=2, time=10)
      >>> batch.inputs.shape, batch.mask.sum(1)
      ((2, 10, 2), array([1, 1]))

    Source: Hochreiter and Schmidhuber 1997; this form: Le et al. 2015, arXiv:1504.00941.
    """
    batch_size, time = _sizes("adding", batch_size, time, 2)
    numbers = random.random((batch_size, time))
    marks = np.zeros((batch_size, time))
    half = time // 2
    row = np.arange(batch_size)
    marks[row, random.integers(0, half, batch_size)] = 1
    marks[row, random.integers(half, time, batch_size)] = 1
    total = (numbers * marks).sum(1)
    targets = np.zeros((batch_size, time), np.float32)
    targets[:, -1] = total
    mask = np.zeros((batch_size, time), bool)
    mask[:, -1] = True
    inputs = np.stack([numbers, marks], -1).astype(np.float32)
    return Batch(inputs, targets, mask, tokens=0, classes=0, chance=1 / 6)


def copying(
    random: np.random.Generator, batch_size: int, delay: int, *, length: int = 10, symbols: int = 8
) -> Batch:
    """The copy task: reproduce a string of symbols after a delay.

    Tokens are the symbols, then the blank, then the recall signal. A sequence is `length` symbols,
    `delay` steps of which the last is the signal and the others are blanks, and `length` blanks at
    which the symbols are due.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      delay: steps between the symbols and their recall, at least 1.
      length: symbols to remember.
      symbols: size of the alphabet.

    Example:
      >>> import numpy as np
      >>> batch = copying(np.random.default_rng(0), batch_size=1, delay=2, length=3)
      >>> batch.inputs
      array([[6, 5, 4, 8, 9, 8, 8, 8]], dtype=int32)
      >>> batch.targets[batch.mask]
      array([6, 5, 4], dtype=int32)

    Source: Hochreiter and Schmidhuber 1997; this form: Arjovsky et al. 2016, arXiv:1511.06464.
    """
    batch_size, delay = _sizes("copying", batch_size, delay, 1, "delay")
    length = positive_int("copying", "length", length)
    symbols = positive_int("copying", "symbols", symbols)
    blank, signal = symbols, symbols + 1
    string = random.integers(0, symbols, (batch_size, length))
    inputs = np.full((batch_size, 2 * length + delay), blank, np.int32)
    inputs[:, :length] = string
    inputs[:, length + delay - 1] = signal
    return _at_the_end(inputs, string, tokens=symbols + 2, classes=symbols)


def selective_copying(
    random: np.random.Generator, batch_size: int, time: int, *, length: int = 16, symbols: int = 14
) -> Batch:
    """Selective copying: reproduce, in order, symbols scattered among blanks.

    Tokens are the symbols, then the blank, then the recall signal. `length` of the first `time`
    steps, at random positions, hold symbols; then come `length` signals at which they are due.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps before the recall, at least `length`.
      length: symbols to remember.
      symbols: size of the alphabet.

    Example:
      >>> import numpy as np
      >>> batch = selective_copying(np.random.default_rng(0), batch_size=2, time=20, length=4)
      >>> batch.inputs.shape, batch.targets[batch.mask].shape
      ((2, 24), (8,))

    Source: Gu and Dao 2023, arXiv:2312.00752 (4096 steps, 16 symbols of 16 tokens).
    """
    length = positive_int("selective_copying", "length", length)
    symbols = positive_int("selective_copying", "symbols", symbols)
    batch_size, time = _sizes("selective_copying", batch_size, time, length)
    blank, signal = symbols, symbols + 1
    string = random.integers(0, symbols, (batch_size, length))
    positions = np.sort(
        random.permuted(np.tile(np.arange(time), (batch_size, 1)), axis=1)[:, :length]
    )
    inputs = np.full((batch_size, time + length), blank, np.int32)
    np.put_along_axis(inputs, positions, string.astype(np.int32), axis=1)
    inputs[:, time:] = signal
    return _at_the_end(inputs, string, tokens=symbols + 2, classes=symbols)


def associative_recall(
    random: np.random.Generator,
    batch_size: int,
    time: int,
    *,
    pairs: int = 4,
    tokens: int = 64,
) -> Batch:
    """Multi-query associative recall (MQAR): key-value pairs, then queries for their values.

    The first half of the vocabulary are keys and the second half values; the classes are the
    values. The first `2 * pairs` steps are pairs with distinct keys. Each key is queried once, at a
    random even position of the rest, where its value is due. All other steps hold random values.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps, at least `4 * pairs` and even.
      pairs: number of pairs, at most `tokens / 2`.
      tokens: size of the vocabulary, even.

    Example:
      >>> import numpy as np
      >>> batch = associative_recall(np.random.default_rng(0), batch_size=2, time=64)
      >>> batch.mask.sum(1), batch.classes
      (array([4, 4]), 32)

    Source: Arora et al. 2023, arXiv:2312.04927. There, early queries are likelier, the values of a
    sequence are distinct, and the filler is any token; here the positions of queries are uniform,
    values may repeat, and the filler contains no keys.
    """
    pairs = positive_int("associative_recall", "pairs", pairs)
    tokens = positive_int("associative_recall", "tokens", tokens)
    batch_size, time = _sizes("associative_recall", batch_size, time, 4 * pairs)
    if time % 2 or tokens % 2 or pairs > tokens // 2:
        raise ValueError(
            "associative_recall: `time` and `tokens` must be even and `pairs` at most half of "
            f"`tokens`; got time={time}, tokens={tokens}, pairs={pairs}."
        )
    half = tokens // 2
    keys = random.permuted(np.tile(np.arange(half), (batch_size, 1)), axis=1)[:, :pairs]
    values = random.integers(0, half, (batch_size, pairs))
    inputs = random.integers(half, tokens, (batch_size, time)).astype(np.int32)
    inputs[:, 0 : 2 * pairs : 2] = keys
    inputs[:, 1 : 2 * pairs : 2] = half + values
    free = np.arange(2 * pairs, time, 2)
    positions = random.permuted(np.tile(free, (batch_size, 1)), axis=1)[:, :pairs]
    targets = np.zeros((batch_size, time), np.int32)
    mask = np.zeros((batch_size, time), bool)
    np.put_along_axis(inputs, positions, keys.astype(np.int32), axis=1)
    np.put_along_axis(targets, positions, values.astype(np.int32), axis=1)
    np.put_along_axis(mask, positions, True, axis=1)
    return Batch(inputs, targets, mask, tokens=tokens, classes=half, chance=1 / half)


def parity(random: np.random.Generator, batch_size: int, time: int) -> Batch:
    """The parity of the bits so far, at every step.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps.

    Example:
      >>> import numpy as np
      >>> batch = parity(np.random.default_rng(0), batch_size=1, time=6)
      >>> batch.inputs, batch.targets
      (array([[1, 1, 1, 0, 0, 0]], dtype=int32), array([[1, 0, 1, 1, 1, 1]], dtype=int32))

    Source: Grazzi et al. 2024, arXiv:2411.12537.
    """
    batch_size, time = _sizes("parity", batch_size, time, 1)
    inputs = random.integers(0, 2, (batch_size, time)).astype(np.int32)
    targets = np.cumsum(inputs, axis=1, dtype=np.int32) % 2
    return Batch(inputs, targets, np.ones(inputs.shape, bool), tokens=2, classes=2, chance=1 / 2)


def modular_arithmetic(
    random: np.random.Generator, batch_size: int, time: int, *, modulus: int = 5
) -> Batch:
    """Modular arithmetic, evaluated from left to right: the value of the expression so far.

    Tokens are the digits 0 to `modulus - 1`, then plus, minus and times. Even steps hold digits,
    odd ones operators; the value modulo `modulus` is due at the digits.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps.
      modulus: at least 2.

    Example:
      >>> import numpy as np
      >>> batch = modular_arithmetic(np.random.default_rng(0), batch_size=1, time=5)
      >>> batch.inputs, batch.targets[batch.mask]
      (array([[4, 5, 2, 5, 1]], dtype=int32), array([4, 1, 2], dtype=int32))

    Source: Deletang et al. 2022, arXiv:2207.02098 (modular arithmetic without brackets); there
    multiplication has precedence, here no operator has.
    """
    batch_size, time = _sizes("modular_arithmetic", batch_size, time, 1)
    if (modulus := positive_int("modular_arithmetic", "modulus", modulus)) < 2:
        raise ValueError(f"modular_arithmetic: `modulus` must be at least 2, got {modulus}.")
    digits = random.integers(0, modulus, (batch_size, time))
    operators = random.integers(0, 3, (batch_size, time))
    at_digit = np.arange(time) % 2 == 0
    inputs = np.where(at_digit, digits, modulus + operators).astype(np.int32)
    targets = np.zeros((batch_size, time), np.int32)
    value = digits[:, 0]
    targets[:, 0] = value
    for t in range(2, time, 2):
        results = np.stack([value + digits[:, t], value - digits[:, t], value * digits[:, t]])
        value = results[operators[:, t - 1], np.arange(batch_size)] % modulus
        targets[:, t] = value
    mask = np.broadcast_to(at_digit, (batch_size, time)).copy()
    chance = likeliest_result(modulus, -(-time // 2))
    return Batch(inputs, targets, mask, modulus + 3, modulus, chance)


def dyck(
    random: np.random.Generator, batch_size: int, time: int, *, kinds: int = 2, depth: int = 8
) -> Batch:
    """Bounded Dyck language: the kind of the innermost open bracket, at every step.

    Tokens `0 .. kinds - 1` open a bracket, `kinds .. 2 * kinds - 1` close one. The target is
    `kinds` where no bracket is open.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps.
      kinds: number of bracket types.
      depth: maximum nesting depth.

    Example:
      >>> import numpy as np
      >>> batch = dyck(np.random.default_rng(0), batch_size=1, time=6)
      >>> batch.inputs, batch.targets
      (array([[1, 3, 0, 1, 1, 1]], dtype=int32), array([[1, 2, 0, 1, 1, 1]], dtype=int32))

    Source: Hewitt et al. 2020, arXiv:2010.07515 (Dyck-(k, m)).
    """
    batch_size, time = _sizes("dyck", batch_size, time, 1)
    kinds, depth = positive_int("dyck", "kinds", kinds), positive_int("dyck", "depth", depth)
    inputs = np.zeros((batch_size, time), np.int32)
    targets = np.zeros((batch_size, time), np.int32)
    opened = np.zeros((batch_size, depth + 1), np.int32)
    opened[:, 0] = kinds
    height, row = np.zeros(batch_size, np.int64), np.arange(batch_size)
    for t in range(time):
        closes = (height == depth) | ((height > 0) & (random.random(batch_size) < 0.5))
        kind = random.integers(0, kinds, batch_size)
        inputs[:, t] = np.where(closes, kinds + opened[row, height], kind)
        height += np.where(closes, -1, 1)
        opened[row, height] = np.where(closes, opened[row, height], kind)
        targets[:, t] = opened[row, height]
    chance, mask = likeliest_bracket(kinds, depth, time), np.ones_like(targets, bool)
    return Batch(inputs, targets, mask, 2 * kinds, kinds + 1, chance)


def permutations(
    random: np.random.Generator,
    batch_size: int,
    time: int,
    *,
    items: int = 5,
    even: bool = True,
    generators: bool = False,
) -> Batch:
    """The word problem of a permutation group: the product of all permutations so far.

    Classes number the permutations in lexicographic order, the identity first. Tokens are the same
    numbers, or stand for two generators of the group: a short and a long cycle.

    Args:
      random: from `numpy.random.default_rng(seed)`.
      batch_size: number of sequences.
      time: steps.
      items: number of permuted items, 2 to 6.
      even: only even permutations: for five items the alternating group A5 with 60 elements; if
        False, the symmetric group S5 with 120.
      generators: draw only the two generators: token 0 cycles three items (two unless `even`),
        token 1 all of them (all but the first where that would be odd). The state space is the
        same, but a vocabulary of 2 is learned far faster than one of 60 or 120.

    Example:
      >>> import numpy as np
      >>> batch = permutations(np.random.default_rng(0), batch_size=2, time=8)
      >>> batch.classes, bool((batch.inputs[:, 0] == batch.targets[:, 0]).all())
      (60, True)

    Source: Merrill et al. 2024, arXiv:2404.08819; from generators: Liu et al. 2022,
    arXiv:2210.10749.
    """
    batch_size, time = _sizes("permutations", batch_size, time, 1)
    items = positive_int("permutations", "items", items)
    for name, value in (("even", even), ("generators", generators)):
        if not isinstance(value, bool):
            raise ValueError(f"permutations: `{name}` must be True or False, got {value!r}.")
    table = groups.products(items, even=even)
    drawn = groups.generators(items, even=even) if generators else np.arange(len(table))
    inputs = random.integers(0, len(drawn), (batch_size, time)).astype(np.int32)
    targets = np.empty_like(inputs)
    state = np.zeros(batch_size, np.int32)
    for t in range(time):
        state = targets[:, t] = table[state, drawn[inputs[:, t]]]
    chance = likeliest_product(items, even, time) if generators else 1 / len(table)
    mask = np.ones(inputs.shape, bool)
    return Batch(inputs, targets, mask, len(drawn), len(table), chance)


def _sizes(
    owner: str, batch_size: Any, time: Any, least: int, name: str = "time"
) -> tuple[int, int]:
    batch_size, time = (
        positive_int(owner, "batch_size", batch_size),
        positive_int(owner, name, time),
    )
    if time < least:
        raise ValueError(f"{owner}: `{name}` must be at least {least}, got {time}.")
    return batch_size, time


def _at_the_end(inputs: np.ndarray, string: np.ndarray, *, tokens: int, classes: int) -> Batch:
    length = string.shape[1]
    targets = np.zeros_like(inputs)
    targets[:, -length:] = string
    mask = np.zeros(inputs.shape, bool)
    mask[:, -length:] = True
    return Batch(inputs, targets, mask, tokens, classes, 1 / classes)
