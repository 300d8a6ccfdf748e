"""Affine recurrences of blocks of numbers, all steps at once, and their transpose."""

import jax
import jax.numpy as jnp

from seqjax.core.types import Array


def multiply_blocks(matrices: Array, vectors: Array) -> Array:
    """Each block's matrix `(..., blocks, n, n)` times its vector `(..., blocks, n)`."""
    if matrices.shape[-1] == 1:
        return matrices[..., 0] * vectors
    highest = jax.lax.Precision.HIGHEST
    return jnp.einsum("...ij,...j->...i", matrices, vectors, precision=highest)


def solve_blocks(jacobians: Array, added: Array) -> Array:
    """The solution of an affine recurrence that starts at zero.

        d_t = J_t d_{t-1} + r_t,   d_{-1} = 0

    A linear map of r, by one associative scan; so is its transpose,

        l_t = g_t + J_{t+1}' l_{t+1}

    Args:
      jacobians: J `(time, *batch, blocks, n, n)`; that of the first step counts for nothing.
      added: r `(time, *batch, blocks, n)`.

    Returns:
      d, `(time, *batch, blocks, n)`.

    Source: the bidiagonal system of Lim et al. 2023, arXiv:2309.12252.
    """
    later = jacobians[1:]

    def residual(d: Array) -> Array:
        """r of some d: what the solution is solved for, and so differentiated by."""
        return d.at[1:].add(-multiply_blocks(later, d[:-1]))

    def forward(_, r: Array) -> Array:
        return _all_steps(jacobians, r, reverse=False)

    def backward(_, g: Array) -> Array:
        turned = jnp.concatenate([later, jnp.zeros_like(jacobians[:1])]).swapaxes(-1, -2)
        return _all_steps(turned, g, reverse=True)

    return jax.lax.custom_linear_solve(residual, added, forward, backward)


def _all_steps(matrices: Array, added: Array, *, reverse: bool) -> Array:
    def join(first, second):
        (a, r), (b, s) = first, second
        product = b * a if a.shape[-1] == 1 else jnp.matmul(b, a, precision="highest")
        return product, multiply_blocks(b, r) + s

    return jax.lax.associative_scan(join, (matrices, added), reverse=reverse)[1]
