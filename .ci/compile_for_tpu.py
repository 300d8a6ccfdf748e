"""Compiles a train step for a TPU v5e: libtpu fits JAX. No TPU is needed."""

import jax
import jax.numpy as jnp
from jax.experimental import topologies

import seqjax as sj

cell = sj.gru(128)
devices = topologies.get_topology_desc(platform="tpu", topology_name="v5e:2x2").devices
place = jax.sharding.SingleDeviceSharding(devices[0])
params = jax.eval_shape(lambda: cell.init(jax.random.key(0), 128))
xs = jax.ShapeDtypeStruct((8, 256, 128), jnp.float32)


def loss(params, xs):
    """Of all outputs."""
    return jnp.square(sj.scan(cell, params, xs)[1]).mean()


step = jax.jit(jax.grad(loss), in_shardings=place, out_shardings=place)
memory = step.lower(params, xs).compile().memory_analysis()
print(f"A train step for a TPU v5e: {memory.temp_size_in_bytes / 1e6:.1f} MB of temporaries")
