"""Invertible operations between the arrays of two layouts.

`load` goes from their arrays to ours, `save` back: each takes and returns a tuple of arrays. What
is said of one array holds for every array of the tuple. Arrays are those of NumPy.
"""

import dataclasses
import math
from typing import Protocol, runtime_checkable

import numpy as np

Arrays = tuple[np.ndarray, ...]
Sizes = tuple[int, ...]


@runtime_checkable
class Operation(Protocol):
    """What takes arrays of one layout to another, and back."""

    def load(self, arrays: Arrays) -> Arrays: ...

    def save(self, arrays: Arrays) -> Arrays: ...


@dataclasses.dataclass(frozen=True)
class Inverse:
    """An operation in the other direction."""

    operation: Operation

    def load(self, arrays: Arrays) -> Arrays:
        return self.operation.save(arrays)

    def save(self, arrays: Arrays) -> Arrays:
        return self.operation.load(arrays)


@dataclasses.dataclass(frozen=True)
class Transpose:
    """The axes in another order, by default in reverse.

    Weights `(outputs, inputs)` of PyTorch are `(inputs, outputs)` here.
    """

    axes: Sizes | None = None

    def load(self, arrays: Arrays) -> Arrays:
        return tuple(array.transpose(self.axes) for array in arrays)

    def save(self, arrays: Arrays) -> Arrays:
        back = None if self.axes is None else _inverse(self.axes)
        return tuple(array.transpose(back) for array in arrays)


@dataclasses.dataclass(frozen=True)
class Squeeze:
    """Drops an axis of size 1."""

    axis: int

    def load(self, arrays: Arrays) -> Arrays:
        return tuple(array.squeeze(self.axis) for array in arrays)

    def save(self, arrays: Arrays) -> Arrays:
        return tuple(np.expand_dims(array, self.axis) for array in arrays)


@dataclasses.dataclass(frozen=True)
class SplitAxis:
    """Makes several axes of one: of `heads * width` features `(heads, width)`.

    One of the sizes may be -1. The axis is counted from the front.
    """

    axis: int
    sizes: Sizes

    def load(self, arrays: Arrays) -> Arrays:
        at, after = self.axis, self.axis + 1
        return tuple(
            array.reshape(*array.shape[:at], *self.sizes, *array.shape[after:]) for array in arrays
        )

    def save(self, arrays: Arrays) -> Arrays:
        return tuple(map(self._merge, arrays))

    def _merge(self, array: np.ndarray) -> np.ndarray:
        at, after = self.axis, self.axis + len(self.sizes)
        merged = array.shape[at:after]
        if any(size not in (-1, got) for size, got in zip(self.sizes, merged, strict=True)):
            raise ValueError(f"expected axes {self.sizes} from axis {at} on, not {merged}")
        return array.reshape(*array.shape[:at], math.prod(merged), *array.shape[after:])


def merge_axes(axis: int, sizes: Sizes) -> Operation:
    """Makes one axis of several next to each other, the first of them `axis`."""
    return Inverse(SplitAxis(axis, sizes))


@dataclasses.dataclass(frozen=True)
class Split:
    """Cuts each array in two or more along an axis; `sizes` of them, or a number of equal parts."""

    axis: int
    sizes: Sizes | int

    def load(self, arrays: Arrays) -> Arrays:
        return tuple(part for array in arrays for part in self._cut(array))

    def _cut(self, array: np.ndarray) -> list[np.ndarray]:
        if isinstance(self.sizes, int):
            return np.split(array, self.sizes, self.axis)
        if array.shape[self.axis] != sum(self.sizes):
            raise ValueError(f"{self.sizes} along axis {self.axis} of {array.shape}")
        return np.split(array, np.cumsum(self.sizes)[:-1], self.axis)

    def save(self, arrays: Arrays) -> Arrays:
        count = self.sizes if isinstance(self.sizes, int) else len(self.sizes)
        groups = [arrays[start : start + count] for start in range(0, len(arrays), count)]
        return tuple(np.concatenate(group, self.axis) for group in groups)


def concatenate(axis: int, sizes: Sizes | int) -> Operation:
    """Joins arrays along an axis; `sizes` of them, or how many equal ones there are."""
    return Inverse(Split(axis, sizes))


@dataclasses.dataclass(frozen=True)
class Stack:
    """Stacks all arrays along a new axis."""

    axis: int

    def load(self, arrays: Arrays) -> Arrays:
        return (np.stack(arrays, self.axis),)

    def save(self, arrays: Arrays) -> Arrays:
        (array,) = arrays
        return tuple(np.moveaxis(array, self.axis, 0))


@dataclasses.dataclass(frozen=True)
class Reorder:
    """The sections of an axis in another order: section `order[i]` of theirs is our i-th.

    The sections have `sizes`, or are as many as the order has and equal.
    """

    axis: int
    order: Sizes
    sizes: Sizes | None = None

    def load(self, arrays: Arrays) -> Arrays:
        return self._ordered(arrays, self.order, self.sizes)

    def save(self, arrays: Arrays) -> Arrays:
        sizes = self.sizes and tuple(self.sizes[section] for section in self.order)
        return self._ordered(arrays, _inverse(self.order), sizes)

    def _ordered(self, arrays: Arrays, order: Sizes, sizes: Sizes | None) -> Arrays:
        cut = Split(self.axis, len(order) if sizes is None else sizes)
        parts = [cut.load((array,)) for array in arrays]
        return tuple(np.concatenate([own[i] for i in order], self.axis) for own in parts)


@dataclasses.dataclass(frozen=True)
class Plus:
    """Adds a number, in float32 at least: to a gain that is stored as its distance from 1.

    With `at`, to that part of the first axis alone: the forget gate of a bias by gates.
    """

    number: float
    at: int | None = None

    def load(self, arrays: Arrays) -> Arrays:
        return tuple(self._moved(array, self.number) for array in arrays)

    def save(self, arrays: Arrays) -> Arrays:
        return tuple(self._moved(array, -self.number) for array in arrays)

    def _moved(self, array: np.ndarray, number: float) -> np.ndarray:
        moved = array.astype(np.promote_types(array.dtype, np.float32))
        moved[... if self.at is None else self.at] += moved.dtype.type(number)
        return moved


@dataclasses.dataclass(frozen=True)
class Sum:
    """The sum of all arrays, such as of two biases; on the way back the first has all of it."""

    count: int

    def load(self, arrays: Arrays) -> Arrays:
        return (np.sum(arrays, 0),)

    def save(self, arrays: Arrays) -> Arrays:
        (array,) = arrays
        return (array, *[np.zeros_like(array)] * (self.count - 1))


@dataclasses.dataclass(frozen=True)
class SumOfGates:
    """Biases of gates that add up with those of the recurrent side, but for the last gate.

    Theirs are one bias of `gates * features`, or with `apart` one for each gate, and the recurrent
    bias of the last gate; ours are two of `(gates, features)`.
    """

    apart: bool = False

    def load(self, arrays: Arrays) -> Arrays:
        *parts, last = arrays
        bias = np.concatenate(parts).reshape(-1, *last.shape)
        recurrent = np.zeros_like(bias)
        recurrent[-1] = last
        return bias, recurrent

    def save(self, arrays: Arrays) -> Arrays:
        bias, recurrent = arrays
        total = bias.copy()
        total[:-1] += recurrent[:-1]
        return (*(total if self.apart else (total.ravel(),)), recurrent[-1])


@dataclasses.dataclass(frozen=True)
class Negate:
    """Another sign for one part of an axis: for a gate `1 - z` in the place of `z`."""

    axis: int
    at: int

    def load(self, arrays: Arrays) -> Arrays:
        return tuple(map(self._turned, arrays))

    save = load

    def _turned(self, array: np.ndarray) -> np.ndarray:
        turned = array.copy()
        turned[(slice(None),) * self.axis + (self.at,)] *= -1
        return turned


def _inverse(order: Sizes) -> Sizes:
    return tuple(np.argsort(order).tolist())


T = Transpose()
"""Weights of a linear layer."""

DEPTHWISE = (Squeeze(1), T)
"""A kernel `(features, 1, width)` of a convolution by feature as `(width, features)`."""
