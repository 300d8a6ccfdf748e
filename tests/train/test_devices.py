"""Meshes over devices, and which rows of a batch are whose."""

import jax
import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.train.devices import make_mesh, own_rows, put_rows


@pytest.mark.parametrize(
    ("batch", "options", "shape"),
    [
        (8, {}, {"data": 4}),
        (6, {}, {"data": 3}),
        (6, {"devices": 2}, {"data": 2}),
        (8, {"time": 2}, {"data": 2, "time": 2}),
        (3, {"model": 4}, {"data": 1, "model": 4}),
    ],
)
def test_sizes(batch, options, shape):
    mesh = make_mesh(batch, options.pop("devices", None), **options)
    assert dict(mesh.shape) == shape
    assert own_rows(mesh, batch).tolist() == list(range(batch))


@pytest.mark.parametrize(
    ("batch", "devices", "options", "message"),
    [
        (8, 8, {}, "--devices 8: this machine has 4"),
        (8, 3, {}, "does not divide --batch 8"),
        (8, 4, {"time": 2}, "--devices 4: this machine has 2 to share it"),
        (8, None, {"time": 2, "model": 2}, "leave one of them out"),
        (8, None, {"model": 8}, "--model-devices 8: this machine has 4"),
    ],
)
def test_what_cannot_be(batch, devices, options, message):
    with pytest.raises(InputError, match=message):
        make_mesh(batch, devices, **options)


def test_rows_come_where_they_belong():
    mesh = make_mesh(4, 4)
    placed = put_rows({"x": np.arange(8).reshape(4, 2)}, mesh, 4)["x"]
    assert placed.sharding.spec == jax.P("data")
    assert [shard.data.tolist() for shard in placed.addressable_shards] == [
        [[0, 1]], [[2, 3]], [[4, 5]], [[6, 7]]
    ]  # fmt: skip
