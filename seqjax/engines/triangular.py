"""Inverses of many small unit lower triangular matrices, made of matrix products."""

import jax
import jax.numpy as jnp

from seqjax.core.types import Array
from seqjax.engines import sizes


def solve(strict: Array, *sides: Array) -> list[Array]:
    """The solutions X of `(I + strict) X = side`.

    Args:
      strict: `(..., C, C)`, strictly lower triangular.
      *sides: `(..., C, any)`.
    """
    widths = [side.shape[-1] for side in sides]
    solved = inverse(strict) @ jnp.concatenate(sides, axis=-1)
    return jnp.split(solved, [sum(widths[:n]) for n in range(1, len(widths))], axis=-1)


@jax.custom_jvp
def inverse(strict: Array) -> Array:
    """The inverse of `I + strict`, by halves.

        [A 0]^-1   [    A^-1       0  ]
        [B D]    = [-D^-1 B A^-1  D^-1]

    Small blocks are done row by row, so no power of the matrix is formed, which could be far
    larger than its inverse. All of it is products over the whole batch: on two CPU cores half the
    time of `lax.linalg.triangular_solve`, which calls a solver for each matrix and in jax 0.10.2
    did not return from loops that called it often.

    Args:
      strict: `(..., C, C)`, strictly lower triangular; C is a power of two, or at most
        `sizes.INVERSE_ROWS`.
    """
    size = strict.shape[-1]
    block = min(sizes.INVERSE_ROWS, size)
    lead = strict.shape[:-2]
    # All matrices along one axis: XLA for CPUs (jaxlib 0.10.2) crashes in sums of products that
    # have seven axes.
    strict = strict.reshape(-1, size, size)
    # Blocks on the diagonal, `(n, count, block, block)`, as slices: an Explicit mesh takes no
    # reshape that splits two axes.
    starts = range(0, size, block)
    diagonal = jnp.stack([strict[:, n : n + block, n : n + block] for n in starts], axis=-3)
    # Made of the first row, which is zero, so that under `vmap` it lies where the others lie.
    rows = [diagonal[..., 0, :].at[..., 0].set(1.0)]
    for row in range(1, block):
        known = jnp.stack(rows, axis=-2)
        unit = jnp.zeros((block,), strict.dtype).at[row].set(1.0)
        found = (diagonal[..., row, :row, None] * known).sum(-2)
        rows.append(unit.reshape((1,) * (found.ndim - 1) + (block,)) - found)
    inverses = jnp.stack(rows, axis=-2)
    while block < size:
        above, below = inverses[..., 0::2, :, :], inverses[..., 1::2, :, :]
        starts = range(0, size, 2 * block)
        left = [strict[:, n + block : n + 2 * block, n : n + block] for n in starts]
        left = jnp.stack(left, axis=-3)
        corner = -below @ left @ above
        top = jnp.concatenate([above, jnp.zeros_like(above)], axis=-1)
        inverses = jnp.concatenate([top, jnp.concatenate([corner, below], axis=-1)], axis=-2)
        block *= 2
    return inverses.squeeze(-3).reshape(*lead, size, size)  # One axis is split, for such a mesh.


@inverse.defjvp
def _inverse_jvp(primals, tangents):
    found = inverse(*primals)
    return found, -found @ tangents[0] @ found
