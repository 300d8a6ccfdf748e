"""What a TPU can run as a kernel."""

from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType

from seqjax.core.types import Carry, Inputs, Params


def suits_kernels(params: Params, carry: Carry, xs: Inputs) -> bool:
    """Whether the state is of numbers that kernels take, on one device.

    A kernel is for one device, so the program must be for one or each device have its share. What a
    kernel computes is not typed by the axes that it varies over, as `jax.shard_map` has it unless
    it is called with `check_vma=False`.
    """
    if varies(params, carry, xs):
        return False
    mesh = jax.sharding.get_abstract_mesh()
    of_one_device = set(mesh.axis_types) == {AxisType.Manual} or jax.device_count() == 1
    dtypes = {leaf.dtype for leaf in jax.tree.leaves(carry)}
    return of_one_device and dtypes <= {jnp.dtype(jnp.float32), jnp.dtype(jnp.bfloat16)}


def varies(*trees: Any) -> bool:
    """Whether an array is typed by the axes that it varies over."""
    kinds = [jax.typeof(leaf).manual_axis_type for leaf in jax.tree.leaves(trees)]
    return any(kind is not None and kind.varying for kind in kinds)
