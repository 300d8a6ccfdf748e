"""Jacobians of the state over a few steps, and their spectra."""

from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp

from seqjax.core.cell import Cell
from seqjax.core.trees import floats, put_floats
from seqjax.core.types import Array, Carry, Float, Inputs, Params, PRNGKeyArray
from seqjax.engines.scan import scan


def carry_map(cell: Cell, params: Params, xs: Inputs, carry: Carry, **options: Any) -> Any:
    """`(f, point)`: the state after all steps as a function of the one before, as vectors."""
    point, restore = jax.flatten_util.ravel_pytree(floats(carry))

    def after(vector: Array) -> Array:
        end, _ = scan(cell, params, xs, put_floats(carry, restore(vector)), **options)
        return jax.flatten_util.ravel_pytree(floats(end))[0]

    return after, point


def carry_jacobian(
    cell: Cell, params: Params, xs: Inputs, carry: Carry, **options: Any
) -> Float[Array, "state state"]:
    """The derivative of the state after k steps with respect to the state before them.

        J = d carry_k / d carry_0 = J_k ... J_2 J_1

    Args:
      cell: any cell.
      params: of the cell.
      xs: `(k, in_features)`, without batch dimensions.
      carry: the state before the first step; its floating-point leaves, concatenated, are the rows
        and columns.
      **options: of `sj.scan`.

    Returns:
      `(n, n)` for a state of n numbers, column by column in forward mode: for a state of a few
      thousand numbers at most; see `largest_singular_value` for more.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import carry_jacobian, singular_values
      >>> cell = sj.lstm(4)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> J = carry_jacobian(cell, params, jnp.ones((10, 3)), cell.initial_carry(params))
      >>> J.shape, singular_values(J).shape
      ((8, 8), (8,))
    """
    after, point = carry_map(cell, params, xs, carry, **options)
    return jax.jacfwd(after)(point)


def singular_values(jacobian: Array) -> Float[Array, "state"]:
    """The singular values, by which directions of the state grow or shrink, in descending order.

    Args:
      jacobian: `(n, n)`, from `carry_jacobian`.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.gradients import singular_values
      >>> singular_values(jnp.diag(jnp.array([0.5, -2.0])))
      Array([2. , 0.5], dtype=float32)
    """
    return jnp.linalg.svd(jacobian, compute_uv=False)


def spectral_radius(jacobian: Array) -> Array:
    """The spectral radius, the largest modulus of an eigenvalue: asymptotic growth per application.

    Computed on the CPU, the only backend on which JAX has nonsymmetric eigenvalue problems.

    Args:
      jacobian: `(n, n)`, from `carry_jacobian`.

    Example:
      >>> import jax.numpy as jnp
      >>> from seqjax.gradients import spectral_radius
      >>> spectral_radius(jnp.array([[0.0, 4.0], [-1.0, 0.0]])).round(3)     # eigenvalues +-2i
      Array(2., dtype=float32)
    """
    values = jnp.linalg.eigvals(jax.device_put(jacobian, jax.devices("cpu")[0]))
    return jnp.abs(values).max()


def largest_singular_value(
    cell: Cell,
    params: Params,
    xs: Inputs,
    carry: Carry,
    key: PRNGKeyArray,
    *,
    iterations: int = 30,
    **options: Any,
) -> Array:
    """The largest singular value of `carry_jacobian` without the matrix, by power iteration.

        v = J' J v / || J' J v ||,        the value is || J v ||

    Args:
      cell, params, xs, carry: as for `carry_jacobian`.
      key: for the first direction.
      iterations: products with J and with its transpose. The result is a lower bound, and tight
        unless the two largest values are close.
      **options: as for `carry_jacobian`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> from seqjax.gradients import largest_singular_value
      >>> cell = sj.elman(300, recurrent_init=sj.initializers.Orthogonal(0.5))
      >>> params = cell.init(jax.random.key(0), 2)
      >>> start = cell.initial_carry(params)
      >>> found = largest_singular_value(
      ...     cell, params, jnp.zeros((3, 2)), start, jax.random.key(1)
      ... )
      >>> round(float(found), 3)                                           # 0.5 ** 3
      0.125
    """
    after, point = carry_map(cell, params, xs, carry, **options)
    _, forward = jax.linearize(after, point)
    backward = jax.linear_transpose(forward, point)

    def body(_, v):
        (w,) = backward(forward(v))
        return w / jnp.maximum(jnp.linalg.norm(w), jnp.finfo(w.dtype).tiny)

    v = jax.random.normal(key, point.shape, point.dtype)
    v = jax.lax.fori_loop(0, iterations, body, v / jnp.linalg.norm(v))
    return jnp.linalg.norm(forward(v))
