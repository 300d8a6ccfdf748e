"""Rotary positions: pairs of channels turned by an angle that grows with the position."""

import jax.numpy as jnp
import numpy as np

from seqjax.core.gates import like_features
from seqjax.core.types import Array

TURN = 2**32
"""Parts of a full turn, so that a product of 32-bit integers wraps where an angle does."""


def rotate(x: Array, position: Array, *, base: float) -> Array:
    """Channels j and j + W/2 as one complex number, turned.

        y_j + i y_{j + W/2} = (x_j + i x_{j + W/2}) e^(i n theta_j),   j = 0 .. W/2 - 1
        theta_j = base^(-2 j / W)

    Angles are as exact after 2^31 steps, the most that are counted, as after one.

    Args:
      x: `(*batch, heads, W)`, W even.
      position: n, `(*batch,)` int32.
      base: the larger, the slower the slowest rotation; at least 1.

    Source: Su et al. 2021, arXiv:2104.09864.
    """
    width = x.shape[-1]
    theta = base ** (-np.arange(0, width, 2) / width) * TURN / (2 * np.pi)
    # No angle is above one radian, so its parts of a turn fit in 32 bits.
    whole = np.round(theta)
    rest = theta - whole
    wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    n = position[..., None, None]
    # Full turns fall out of the product of integers, whatever n is; what is left of theta
    # behind the rounding adds less than half a part for each step.
    turned = (n * like_features(jnp.asarray(whole, jnp.int32), n)).astype(wide.dtype)
    turned = turned + n.astype(wide.dtype) * like_features(jnp.asarray(rest, wide.dtype), n)
    angle = turned * (2 * np.pi / TURN)
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    a, b = jnp.split(wide, 2, axis=-1)
    y = jnp.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)
    return y.astype(x.dtype)
