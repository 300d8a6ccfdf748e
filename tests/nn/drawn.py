"""Models whose parameters NumPy draws: building them compiles nothing."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx


def drawn(build, seed=0, scale=0.5):
    """What `build` makes, a module, with all of its parameters drawn anew.

    Args:
      build: `rngs -> module`. It is only traced.
      seed: of the generator.
      scale: standard deviation of the parameters.
    """
    random = np.random.default_rng(seed)

    def leaf(like):
        return jnp.asarray((scale * random.standard_normal(like.shape)).astype(like.dtype))

    return jax.tree.map(leaf, nnx.eval_shape(lambda: build(nnx.Rngs(0))))
