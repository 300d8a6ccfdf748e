"""Affine recurrences of blocks of numbers, all steps at once, and their transpose."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from seqjax.core.types import Array
from seqjax.engines import sizes

Row = list[Array]
Rows = list[Row]


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
    if matrices.shape[-1] > sizes.ENTRIES_APART.here:
        return jax.lax.associative_scan(_join, (matrices, added), reverse=reverse)[1]
    rows = [_numbers(matrices[..., row, :]) for row in range(matrices.shape[-2])]
    apart = rows, _numbers(added)
    solved = jax.lax.associative_scan(_join_entries, apart, reverse=reverse)[1]
    return jnp.stack(solved, axis=-1)


def _join(first: tuple[Array, Array], second: tuple[Array, Array]) -> tuple[Array, Array]:
    """Two stretches in a row."""
    (a, r), (b, s) = first, second
    return jnp.matmul(b, a, precision="highest"), multiply_blocks(b, r) + s


def _join_entries(first: tuple[Rows, Row], second: tuple[Rows, Row]) -> tuple[Rows, Row]:
    """The same of matrices and vectors whose entries are arrays of their own."""
    (a, r), (b, s) = first, second
    columns = [_times(b, column) for column in zip(*a, strict=True)]
    value = [made + own for made, own in zip(_times(b, r), s, strict=True)]
    return list(map(list, zip(*columns, strict=True))), value


def _times(matrix: Rows, vector: Sequence[Array]) -> Row:
    return [jnp.asarray(sum(e * v for e, v in zip(row, vector, strict=True))) for row in matrix]


def _numbers(vectors: Array) -> Row:
    return [vectors[..., n] for n in range(vectors.shape[-1])]
