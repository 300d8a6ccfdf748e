"""One of two processes that save a checkpoint together, and read one that a single process saved.

python -m tests.train.checkpoint_process PORT INDEX FOLDER
"""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType

from seqjax.core.errors import InputError
from seqjax.train.checkpoints import Checkpoints

VALUES = {
    "rows": np.arange(24, dtype=np.float32).reshape(8, 3) / 7,
    "whole": np.linspace(-1, 1, 10).astype(jax.numpy.bfloat16).reshape(5, 2),
    "keys": np.arange(8, dtype=np.uint32).reshape(4, 2),
    "step": np.int32(7),
}


def state_on(devices):
    """The same state on any devices: rows and keys are split over them, the rest is copied."""
    auto = (AxisType.Auto,)
    mesh = jax.make_mesh((len(devices),), ("data",), auto, devices=devices)

    def put(name, value):
        spec = jax.P("data") if name in ("rows", "keys") else jax.P()
        sharding = jax.NamedSharding(mesh, spec)
        array = jax.make_array_from_callback(value.shape, sharding, lambda part: value[part])
        return jax.random.wrap_key_data(array) if name == "keys" else array

    return {name: put(name, value) for name, value in VALUES.items()}


def same(state):
    """Whether every process has its part of the values."""
    numbers = state | {"keys": jax.random.key_data(state["keys"])}
    return all(
        np.array_equal(np.asarray(shard.data), VALUES[name][shard.index])
        for name, array in numbers.items()
        for shard in array.addressable_shards
    )


def main(port, index, folder):
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 2)
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, int(index), initialization_timeout=60)
    state, folder = state_on(jax.devices()), Path(folder)
    together = Checkpoints(folder / "together")
    together.save(7, state, 0.5, {"seen": 3})
    alone = Checkpoints(folder / "alone", read_only=True)
    for checkpoints in (together, alone):
        loaded = checkpoints.load(7, state)
        assert same(loaded) and loaded["rows"].sharding == state["rows"].sharding
    # Only the shards of one of the two are damaged, and both must hear of it.
    try:
        Checkpoints(folder / "damaged", read_only=True).load(7, state)
    except InputError as error:
        print(f"damaged: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
