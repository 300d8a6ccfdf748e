"""The Legendre memory unit."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core import initializers
from seqjax.core.cell import Cell, expect_inputs, expect_real, factory, positive_int
from seqjax.core.exportable import exportable
from seqjax.core.types import Array, Initializer

GLOROT_NORMAL = jax.nn.initializers.glorot_normal()


@exportable
class LegendreState(NamedTuple):
    """What a Legendre memory unit carries: `hidden` `(*batch, features)`, and `memory`
    `(*batch, memory)`, Legendre coefficients of the last `window` steps of one signal."""

    hidden: Array
    memory: Array


@factory
def lmu(
    features: int,
    *,
    memory: int,
    window: int | float,
    input_init: Initializer = GLOROT_NORMAL,
) -> Cell:
    """The Legendre memory unit.

        u = e_x x + e_h h + e_m m
        m = A m + B u
        h = tanh(W_x x + W_h h + W_m m)

    A and B are fixed: they make m the coefficients of the Legendre polynomials that describe u
    over the last `window` steps (a zero-order hold of `theta dm/dt = A' m + B' u`).

    Args:
      features: width of `h` and of the output.
      memory: number of polynomials.
      window: steps that the memory spans (theta).
      input_init: initializer of W_x, W_h and W_m, by default Glorot normal.

    Returns:
      A cell whose carry is `LegendreState(hidden, memory)`. Parameters: `encode_input`
      `(in_features,)`, `encode_hidden` `(features,)`, `encode_memory` `(memory,)`; `input`
      `(in_features, features)`, `recurrent` `(features, features)`, `read` `(memory, features)`.

    Raises:
      ValueError: if `memory` or `window` is not positive.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.lmu(4, memory=6, window=10)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> carry.memory.shape, ys.shape
      ((6,), (5, 4))

    Source: Voelker et al. 2019 (NeurIPS), with its initialisation; e_m starts at 0. The memory
    goes step by step, also where e_h and e_m are zero: the eigenvectors of A have condition
    number 1e8 at 16 polynomials and 3e15 at 32, so it cannot be made diagonal.
    """
    features = positive_int("lmu", "features", features)
    memory = positive_int("lmu", "memory", memory)
    if not window > 0:
        raise ValueError(f"lmu: `window` must be positive, got {window!r}.")
    transition, drive = (
        tuple(map(tuple, matrix)) for matrix in legendre_matrices(memory, float(window))
    )

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key, 5)
        encoder = lambda key, width: initializers.Uniform((3 / width) ** 0.5)(key, (width,), dtype)  # noqa: E731
        return {
            "encode_input": encoder(keys[0], in_features),
            "encode_hidden": encoder(keys[1], features),
            "encode_memory": jnp.zeros((memory,), dtype),
            "input": input_init(keys[2], (in_features, features), dtype),
            "recurrent": input_init(keys[3], (features, features), dtype),
            "read": input_init(keys[4], (memory, features), dtype),
        }

    def initial_carry(params, batch_shape=()):
        dtype = params["recurrent"].dtype
        wide = jnp.promote_types(dtype, jnp.float32)
        return LegendreState(
            jnp.zeros((*batch_shape, features), dtype), jnp.zeros((*batch_shape, memory), wide)
        )

    def step(params, carry, x):
        h, m = carry
        expect_inputs("lmu", params["input"].shape[0], x)
        expect_real("lmu", x, params)
        u = x @ params["encode_input"] + h @ params["encode_hidden"] + m @ params["encode_memory"]
        a, b = (jnp.asarray(np.array(matrix), m.dtype) for matrix in (transition, drive))
        m = m @ a.T + u[..., None].astype(m.dtype) @ b.T
        made = x @ params["input"] + h @ params["recurrent"] + m @ params["read"]
        h = jnp.tanh(made).astype(h.dtype)
        return LegendreState(h, m), h

    return Cell(init, initial_carry, step, features, output=lambda carry: carry.hidden)


def legendre_matrices(memory: int, window: float) -> tuple[np.ndarray, np.ndarray]:
    """A `(memory, memory)` and B `(memory, 1)` of one step, in float64."""
    row, column = np.arange(memory)[:, None], np.arange(memory)[None]
    scale = (2 * row + 1) / window
    a = scale * np.where(row < column, -1.0, (-1.0) ** (row - column + 1))
    b = scale * (-1.0) ** row
    # exp of [[A, B], [0, 0]] holds both results.
    joined = np.zeros((memory + 1, memory + 1))
    joined[:memory] = np.hstack([a, b])
    stepped = _exponential(joined)
    return stepped[:memory, :memory], stepped[:memory, memory:]


def _exponential(matrix: np.ndarray) -> np.ndarray:
    """The matrix exponential: a Taylor series of a small matrix, squared again and again."""
    halvings = max(0, int(np.ceil(np.log2(np.abs(matrix).sum(1).max() + 1e-300))) + 1)
    small = matrix / 2.0**halvings
    total = term = np.eye(len(matrix))
    for order in range(1, 20):
        term = term @ small / order
        total = total + term
    for _ in range(halvings):
        total = total @ total
    return total
