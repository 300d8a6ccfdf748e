"""Parameters drawn in NumPy: the many small programs of a cell's `init` take long to compile."""

import jax
import numpy as np

import seqjax as sj


def drawn(cell: sj.Cell, in_features: int, *, scale: float = 0.5, dtype=None):
    """Normal numbers in the place of all numbers, and the first flag alone False.

    In the default dtype, unless another is named.
    """
    dtype = dtype or (np.float64 if jax.config.jax_enable_x64 else np.float32)
    random = np.random.default_rng(0)

    def draw(leaf):
        if leaf.dtype == bool:
            return (np.arange(leaf.size) > 0).reshape(leaf.shape)
        return (scale * random.standard_normal(leaf.shape)).astype(dtype)

    with jax.enable_x64(dtype == np.float64):
        shapes = jax.eval_shape(lambda: cell.init(jax.random.key(0), in_features))
    return jax.tree.map(draw, shapes)
