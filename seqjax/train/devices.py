"""Which devices share the work, and how arrays come onto them and back."""

import contextlib
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, Sharding

from seqjax.core.errors import InputError
from seqjax.core.types import PyTree

AXIS = "data"
"""Name of the mesh axis over which the batch is split."""

TIME_AXIS, MODEL_AXIS = "time", "model"
"""Names of a second mesh axis, over which time or the parameters are split."""


def use_cpu_cores() -> None:
    """Makes every CPU core a device of its own. Must run before JAX touches a device.

    XLA runs the elementwise work inside a loop on one thread, so on a CPU splitting the
    batch over devices is what makes a recurrent model use all cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Too late where JAX already runs, as in a notebook: then its devices are used as they are.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores or 1)


def make_mesh(batch: int, devices: int | None, *, time: int = 1, model: int = 1) -> Mesh:
    """A mesh over the devices of all processes, each with the same number of its own.

    Args:
      batch: number of sequences to split.
      devices: how many share the batch, or None for as many as possible.
      time: how many share the time of a sequence; above 1, the mesh has the axis `"time"`, too.
      model: how many share the parameters; above 1, the mesh has the axis `"model"`, too.

    Raises:
      InputError: if there are fewer devices, or they do not divide the batch.
    """
    if time > 1 and model > 1:
        raise InputError(
            f"--time-devices {time} and --model-devices {model}: a mesh has one axis besides the "
            "one of the batch; leave one of them out."
        )
    second, processes = time * model, jax.process_count()
    most = min(map(len, _by_process(jax.devices())))
    where = f"{processes} processes have" if processes > 1 else "this machine has"
    if second > most * processes:
        option = "--time-devices" if time > 1 else "--model-devices"
        raise InputError(f"{option} {second}: {where} {most * processes}.")
    if devices is None:
        fitting = (
            n
            for n in range(most * processes // second, 0, -1)
            if batch % n == 0 and n * second % processes == 0
        )
        devices = next(fitting, 0)
    if devices * second > most * processes:
        raise InputError(f"--devices {devices}: {where} {most * processes // second} to share it.")
    fit = processes // math.gcd(processes, second)
    if devices % fit:
        raise InputError(
            f"--devices {devices}: {processes} processes take the same number of devices each; "
            f"choose a multiple of {fit}."
        )
    if not devices:
        raise InputError(
            f"--batch {batch}: {processes} processes take the same number of sequences each; "
            f"choose a multiple of {fit}."
        )
    if batch % devices:
        raise InputError(
            f"--devices {devices} does not divide --batch {batch}; every device takes the same "
            "number of sequences."
        )
    own = devices * second // processes
    chosen = [device for mine in _by_process(jax.devices()) for device in mine[:own]]
    sizes = {AXIS: devices}
    sizes |= {TIME_AXIS: time} if time > 1 else {MODEL_AXIS: model} if model > 1 else {}
    kinds = (AxisType.Auto,) * len(sizes)
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=kinds, devices=chosen)


def own_mesh(batch: int) -> Mesh:
    """A mesh over devices of this process alone, as many as share a batch."""
    own = jax.local_devices()
    count = next(n for n in range(len(own), 0, -1) if batch % n == 0)
    return jax.make_mesh((count,), (AXIS,), axis_types=(AxisType.Auto,), devices=own[:count])


def multiple_of_processes(batch: int) -> int:
    """The batch, made larger where that is needed for all processes to take the same share."""
    processes = jax.process_count()
    return -(-batch // processes) * processes


def _by_process(devices: Sequence[Any]) -> list[list[Any]]:
    """The devices of each process, in the order of the processes."""
    processes = sorted({device.process_index for device in devices})
    return [[device for device in devices if device.process_index == one] for one in processes]


def put_whole(tree: PyTree, sharding: Sharding) -> PyTree:
    """A tree that every process holds whole, on the devices; each process fills its own."""
    if sharding.is_fully_addressable:
        return jax.device_put(tree, sharding)

    def put(leaf):
        if jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            numbers = put(jax.random.key_data(leaf))
            return jax.random.wrap_key_data(numbers, impl=jax.random.key_impl(leaf))
        host = np.asarray(leaf)
        return jax.make_array_from_callback(host.shape, sharding, lambda index: host[index])

    return jax.tree.map(put, tree)


def own_rows(mesh: Mesh, count: int) -> np.ndarray:
    """Which of the `count` rows of a batch are on devices of this process, ascending."""
    places = NamedSharding(mesh, jax.P(AXIS)).addressable_devices_indices_map((count,))
    return np.unique(np.concatenate([np.arange(count)[index] for index in places.values()]))


def put_rows(tree: PyTree, mesh: Mesh, count: int) -> PyTree:
    """A batch of `count` rows, of which each process holds its `own_rows`, on the devices."""
    by_row = NamedSharding(mesh, jax.P(AXIS))
    if by_row.is_fully_addressable:
        return jax.device_put(tree, by_row)
    rows = own_rows(mesh, count)

    def put(leaf):
        def part(index):
            start, stop, _ = index[0].indices(count)
            first = np.searchsorted(rows, start)
            return leaf[first : first + stop - start]

        return jax.make_array_from_callback((count, *leaf.shape[1:]), by_row, part)

    return jax.tree.map(put, tree)


def replicated(tree: PyTree) -> PyTree:
    """Arrays that are split over the devices of several processes, whole on every device.

    All processes must call it together. What one process can read is returned as it is.
    """
    split = [leaf for leaf in jax.tree.leaves(tree) if not _readable(leaf)]
    if not split:
        return tree
    return jax.jit(_same, out_shardings=NamedSharding(split[0].sharding.mesh, jax.P()))(tree)


def on_one_device(tree: PyTree) -> PyTree:
    """The arrays on the first device of this process; all processes must call it together."""
    device = jax.local_devices()[0]

    def put(leaf):
        own = leaf if leaf.is_fully_addressable else leaf.addressable_data(0)
        return jax.device_put(own, device)

    return jax.tree.map(put, replicated(tree))


def _same(tree: PyTree) -> PyTree:
    return tree


def _readable(leaf: jax.Array) -> bool:
    return jax.process_count() == 1 or leaf.is_fully_addressable or leaf.is_fully_replicated
