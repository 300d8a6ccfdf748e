"""What a TPU can run as a kernel."""

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from seqjax.core.types import Carry


def suits_kernels(carry: Carry) -> bool:
    """Whether the state is of numbers that kernels take, on one device.

    A kernel is for one device, so the program must be for one or each device have its share.
    """
    mesh = jax.sharding.get_abstract_mesh()
    of_one_device = set(mesh.axis_types) == {AxisType.Manual} or jax.device_count() == 1
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(carry)}
    return of_one_device and dtypes <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}
