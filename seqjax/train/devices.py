"""Which devices share the work."""

import contextlib
import os

import jax
from jax.sharding import AxisType

from seqjax.core.errors import InputError

AXIS = "data"
"""Name of the mesh axis over which the batch is split."""


def use_cpu_cores() -> None:
    """Makes every CPU core a device of its own. Must run before JAX touches a device.

    XLA runs the elementwise work inside a loop on one thread, so on a CPU splitting the
    batch over devices is what makes a recurrent model use all cores.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    # Too late where JAX already runs, as in a notebook: then its devices are used as they are.
    with contextlib.suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", cores or 1)


def make_mesh(batch: int, devices: int | None) -> jax.sharding.Mesh:
    """A mesh with one axis, over as many local devices as divide the batch.

    Args:
      batch: number of sequences to split.
      devices: how many to use, or None for as many as possible.

    Raises:
      InputError: if there are fewer devices, or they do not divide the batch.
    """
    local = jax.local_devices()
    if devices is None:
        devices = max(n for n in range(1, len(local) + 1) if batch % n == 0)
    if devices > len(local):
        raise InputError(f"--devices {devices}: this machine has {len(local)}.")
    if batch % devices:
        raise InputError(
            f"--devices {devices} does not divide --batch {batch}; every device takes the same "
            "number of sequences."
        )
    return jax.make_mesh((devices,), (AXIS,), axis_types=(AxisType.Auto,), devices=local[:devices])
