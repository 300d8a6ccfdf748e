"""Linear oscillatory state spaces."""

from typing import Literal

import jax
import jax.numpy as jnp

from seqjax.cells.skip import add_skip, start_skip
from seqjax.core import initializers
from seqjax.core.affine import Coupled, Coupling
from seqjax.core.cell import (
    Cell,
    expect_inputs,
    expect_outputs,
    expect_real,
    factory,
    positive_int,
)
from seqjax.core.gates import like_features
from seqjax.core.linear import diagonal
from seqjax.core.trees import widen
from seqjax.core.types import Array, Params


@factory
def linoss(
    features: int,
    *,
    state: int = 64,
    discretization: Literal["implicit", "mixed"] = "mixed",
    nonnegative: Literal["relu", "square"] = "relu",
) -> Cell:
    """LinOSS: a bank of driven oscillators, `position'' = -A position + B x`.

        A = relu(stiffness),  d = sigmoid(step_size)
        v = v + d * (B x - A * s),  s = s + d * v       s, v, B, C complex
        y = Re(C s) + D * x                             D x if the widths differ

    On the right, `A * s` has the new position if `discretization="implicit"`: the oscillators lose
    energy, the faster, the more. With the old one, `"mixed"`, none is lost.

    Args:
      features: width of the output.
      state: number of oscillators.
      discretization: `"implicit"` (IM in the paper) forgets; `"mixed"` (IMEX), implicit in the
        position and explicit in the velocity, keeps what it has seen, and is stable for `d^2 A`
        below 4.
      nonnegative: how A is made of `stiffness`: `"relu"`, or `"square"`, `stiffness ** 2`, which
        has a gradient on either side of 0.

    Returns:
      A cell whose carry is `sj.Coupled(first, second)`, velocity and position, of `(*batch, 2,
      state)`, real and imaginary parts, in float32 at least. Parameters: `stiffness`, `step_size`
      `(state,)`; `b_real`, `b_imaginary` `(in_features, state)`; `c_real`, `c_imaginary` `(state,
      features)`; `skip` as in `sj.lru`.

    Example:
      >>> import jax, jax.numpy as jnp
      >>> import seqjax as sj
      >>> cell = sj.linoss(4, state=8)
      >>> params = cell.init(jax.random.key(0), 3)
      >>> carry, ys = sj.scan(cell, params, jnp.ones((5, 3)))
      >>> carry.second.shape, ys.shape
      ((2, 8), (5, 4))

    Source: Rusch and Rus 2024, arXiv:2410.03943, with the start of the authors' code: stiffness and
    step_size uniform in [0, 1], B in `±in_features ** -0.5` and C in `±state ** -0.5` in each part.
    A step of two real numbers is a matrix of 2 x 2, which is not diagonalised: without stiffness
    it has one eigenvector. `"square"` is not in that code.
    """
    features = positive_int("linoss", "features", features)
    state = positive_int("linoss", "state", state)
    if discretization not in ("implicit", "mixed"):
        raise ValueError(
            f"linoss: `discretization` must be 'implicit' or 'mixed', got {discretization!r}."
        )
    if nonnegative not in ("relu", "square"):
        raise ValueError(f"linoss: `nonnegative` must be 'relu' or 'square', got {nonnegative!r}.")

    def init(key, in_features):
        in_features = positive_int("init", "in_features", in_features)
        dtype = jnp.result_type(float)
        keys = jax.random.split(key, 7)
        uniform = initializers.Between(0.0, 1.0)
        into, out = (initializers.Uniform(width**-0.5) for width in (in_features, state))
        return {
            "stiffness": uniform(keys[0], (state,), dtype),
            "step_size": uniform(keys[1], (state,), dtype),
            "b_real": into(keys[2], (in_features, state), dtype),
            "b_imaginary": into(keys[3], (in_features, state), dtype),
            "c_real": out(keys[4], (state, features), dtype),
            "c_imaginary": out(keys[5], (state, features), dtype),
            "skip": start_skip(keys[6], in_features, features, dtype),
        }

    def initial_carry(params, batch_shape=()):
        dtype = jnp.promote_types(params["stiffness"].dtype, jnp.float32)
        return Coupled(*(jnp.zeros((*batch_shape, 2, state), dtype) for _ in range(2)))

    def coefficients(params, drive):
        raw, d = widen(params["stiffness"]), jax.nn.sigmoid(widen(params["step_size"]))
        stiffness = jax.nn.relu(raw) if nonnegative == "relu" else jnp.square(raw)
        if discretization == "implicit":
            share = 1 / (1 + jnp.square(d) * stiffness)
            decay = Coupling(share, -d * stiffness * share, d * share, share)
        else:
            share = jnp.ones_like(d)
            decay = Coupling(share, -d * stiffness, d, 1 - jnp.square(d) * stiffness)
        pushed = like_features(d * share, drive) * drive
        return decay, Coupled(pushed, like_features(d, drive) * pushed)

    return diagonal(
        coefficients,
        init=init,
        initial_carry=initial_carry,
        features=features,
        project=_drive,
        read=lambda params, carry, drive: carry.second,
        output=lambda params, position, x: _read_out(params, position, x, features),
    )


def _drive(params: Params, x: Array) -> Array:
    """B x, `(*batch, 2, state)`."""
    expect_inputs("linoss", params["b_real"].shape[0], x)
    expect_real("linoss", x)
    return jnp.stack([widen(x @ params[name]) for name in ("b_real", "b_imaginary")], axis=-2)


def _read_out(params: Params, position: Array, x: Array, features: int) -> Array:
    expect_outputs("linoss", features, params["c_real"].shape)
    c_real, c_imaginary = (widen(params[name]) for name in ("c_real", "c_imaginary"))
    values = position[..., 0, :] @ c_real - position[..., 1, :] @ c_imaginary
    return add_skip(params, values, x)
