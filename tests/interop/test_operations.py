"""Operations on arrays, forth and back."""

import numpy as np
import pytest

from seqjax.interop.operations import (
    DEPTHWISE,
    Plus,
    Reorder,
    Split,
    SplitAxis,
    Squeeze,
    Stack,
    Sum,
    T,
    Transpose,
    concatenate,
    merge_axes,
)
from seqjax.interop.table import Rule

TABLE = np.arange(12.0).reshape(2, 6)
CUBE = np.arange(24.0).reshape(2, 3, 4)
KERNEL = CUBE[:, :1]

CASES = {
    "transposed": (T, [TABLE], [TABLE.T]),
    "axes": (Transpose((2, 0, 1)), [CUBE], [np.moveaxis(CUBE, 2, 0)]),
    "squeezed": (Squeeze(1), [KERNEL], [KERNEL[:, 0]]),
    "depthwise": (DEPTHWISE, [KERNEL], [KERNEL[:, 0].T]),
    "heads": (SplitAxis(1, (3, -1)), [TABLE], [TABLE.reshape(2, 3, 2)]),
    "flat": (merge_axes(1, (3, -1)), [CUBE], [CUBE.reshape(2, 12)]),
    "cut": (Split(1, (1, 5)), [TABLE], [TABLE[:, :1], TABLE[:, 1:]]),
    "halves": (
        Split(1, 2),
        [TABLE, -TABLE],
        [TABLE[:, :3], TABLE[:, 3:], -TABLE[:, :3], -TABLE[:, 3:]],
    ),
    "joined": (concatenate(0, (2, 1)), [TABLE, TABLE[:1]], [TABLE[[0, 1, 0]]]),
    "stacked": (Stack(1), [TABLE, -TABLE], [np.stack([TABLE, -TABLE], 1)]),
    "reordered": (Reorder(1, (2, 0, 1)), [TABLE], [TABLE[:, [4, 5, 0, 1, 2, 3]]]),
    "sections": (Reorder(1, (2, 0, 1), (1, 2, 3)), [TABLE], [TABLE[:, [3, 4, 5, 0, 1, 2]]]),
    "gain": (Plus(1.0), [TABLE], [TABLE + 1]),
    "sum": (Sum(2), [TABLE, 0 * TABLE], [TABLE]),
    "grouped": (
        (SplitAxis(1, (2, -1)), Split(2, (1, 2)), merge_axes(1, (2, -1))),
        [TABLE],
        [TABLE[:, [0, 3]], TABLE[:, [1, 2, 4, 5]]],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_forth_and_back(name):
    operations, theirs, ours = CASES[name]
    rule = Rule("theirs", "ours", operations)
    for found, wanted in ((rule.load(tuple(theirs)), ours), (rule.save(tuple(ours)), theirs)):
        assert len(found) == len(wanted)
        for got, array in zip(found, wanted, strict=True):
            np.testing.assert_array_equal(got, array)


def test_a_sum_goes_back_to_the_first():
    first, second = Sum(2).save(Sum(2).load((TABLE, CUBE[0, :2, :1] + TABLE)))
    assert second.max() == 0 and (first >= 2 * TABLE).all()


@pytest.mark.parametrize(
    ("operation", "shape"), [(Split(0, (2, 3)), (4,)), (SplitAxis(0, (3, -1)), (4,))], ids=str
)
def test_what_does_not_fit(operation, shape):
    with pytest.raises(ValueError):
        operation.load((np.zeros(shape),))
