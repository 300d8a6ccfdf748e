"""Parameters that NumPy draws: making a model of them compiles nothing."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def drawn(build, seed=0):
    """What `build` `rngs -> module` makes, all of its parameters drawn anew."""
    return _drawn(nnx.eval_shape(lambda: build(nnx.Rngs(0))), seed)


def drawn_params(cell, in_features, seed=0):
    """Parameters of a cell, in the precision of `cell.init`."""
    return _drawn(jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features)), seed)


def _drawn(shapes, seed):
    random = np.random.default_rng(seed)

    def draw(like):
        return jnp.asarray((0.5 * random.standard_normal(like.shape)).astype(like.dtype))

    return jax.tree.map(draw, shapes)


def normal(*shape, seed=0, dtype=np.float32):
    """Standard normal numbers as a JAX array."""
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape).astype(dtype))
