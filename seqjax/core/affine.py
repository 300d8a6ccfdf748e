"""States of recurrences that are linear in them: real, complex, in pairs, and with a scale apart.

One step is `state = decay * state + value`, where `*` and `+` depend on the kind of state:

| state                        | decay            | `decay * state`    | `state + value`       |
|------------------------------|------------------|--------------------|-----------------------|
| an array                     | an array         | product            | sum                   |
| `Complex(real, imaginary)`   | a `Complex`      | product            | sum                   |
| `Coupled(first, second)`     | a `Coupling`     | product            | sum                   |
| `LogScaled(values, maximum)` | log of the decay | added to `maximum` | sum at the larger one |

Two steps in a row are one step again, so all of them can be combined in any order:
`(d1, v1)` then `(d2, v2)` is `(d1 d2, d2 * v1 + v2)`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from seqjax.core.exportable import exportable
from seqjax.core.types import Array

NOTHING = -1e30
"""The `maximum` of a state without content: finite, so that no difference of two is NaN."""


@exportable
class Complex(NamedTuple):
    """A complex state as two real arrays of the same shape."""

    real: Array
    imaginary: Array


@exportable
class Coupled(NamedTuple):
    """Two real arrays of the same shape, of which a step mixes what stands at the same place."""

    first: Array
    second: Array


class Coupling(NamedTuple):
    """The decay of a `Coupled` state, a matrix of 2 x 2 for each unit.

        first, second = a * first + b * second, c * first + d * second

    Unlike a complex number, it can be any matrix: one with a single eigenvector too.
    """

    a: Array
    b: Array
    c: Array
    d: Array


@exportable
class LogScaled(NamedTuple):
    """The numbers `values * exp(maximum)`, all with one exponent for each unit.

    `values` is a tuple of arrays, `maximum` an array that broadcasts against them: the largest
    exponent met so far. It is a gauge: quotients of values do not depend on it, so no gradient
    flows through it. Whoever makes a value with exponent `k` writes `log_scaled(values, k)`.
    """

    values: tuple[Array, ...]
    maximum: Array

    # Values without their exponent mean nothing, so nobody may set them.
    settable = ()
    exponent = "maximum"
    scaled = ("values",)


def log_scaled(values: tuple[Array, ...], exponent: Array) -> LogScaled:
    """The numbers `values * exp(exponent)`.

    The gradient with respect to the exponent flows through the values.

    Args:
      values: arrays that broadcast against `exponent`.
      exponent: any size: nothing overflows.

    Example:
      >>> import jax.numpy as jnp
      >>> import seqjax as sj
      >>> sj.log_scaled((jnp.array(2.0),), jnp.array(1000.0)).maximum
      Array(1000., dtype=float32, weak_type=True)
    """
    maximum = jax.lax.stop_gradient(exponent)
    return LogScaled(tuple(value * jnp.exp(exponent - maximum) for value in values), maximum)


class Update(NamedTuple):
    """One step, or several in a row: `state = decay * state + value`."""

    decay: Any
    value: Any


def apply(update: Update, state: Any) -> Any:
    """The state after a step."""
    return _add(_scale(update.decay, state), update.value)


def combine(first: Update, second: Update) -> Update:
    """The step that does what two do, one after the other."""
    logarithmic = isinstance(first.value, LogScaled)
    decay = chain(first.decay, second.decay, logarithmic=logarithmic)
    return Update(decay, apply(second, first.value))


def chain(first: Any, second: Any, *, logarithmic: bool) -> Any:
    """The decay of two steps in a row."""
    return first + second if logarithmic else _scale(second, first)


def no_update(like: Update) -> Update:
    """The identity: the step that leaves a state unchanged."""
    if isinstance(like.value, LogScaled):
        decay = jnp.zeros_like(like.decay)
    elif isinstance(like.value, Complex):
        decay = Complex(jnp.ones_like(like.decay.real), jnp.zeros_like(like.decay.imaginary))
    elif isinstance(like.decay, Coupling):
        one, zero = jnp.ones_like(like.decay.a), jnp.zeros_like(like.decay.a)
        decay = Coupling(one, zero, zero, one)
    else:
        decay = jnp.ones_like(like.decay)
    return Update(decay, empty(like.value))


def empty(like: Any) -> Any:
    """The state of zeros."""
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), like)
    if isinstance(like, LogScaled):
        return zeros._replace(maximum=jnp.full_like(zeros.maximum, NOTHING))
    return zeros


def _scale(decay: Any, state: Any) -> Any:
    if isinstance(state, LogScaled):
        # With the gradient of the decay in the values: that of the maximum is cut.
        return log_scaled(state.values, jax.lax.stop_gradient(state.maximum) + decay)
    if isinstance(state, Complex):
        return Complex(
            decay.real * state.real - decay.imaginary * state.imaginary,
            decay.real * state.imaginary + decay.imaginary * state.real,
        )
    if isinstance(state, Coupled):
        return Coupled(
            decay.a * state.first + decay.b * state.second,
            decay.c * state.first + decay.d * state.second,
        )
    if isinstance(state, Coupling):
        left, right = Coupled(state.a, state.c), Coupled(state.b, state.d)
        (a, c), (b, d) = _scale(decay, left), _scale(decay, right)
        return Coupling(a, b, c, d)
    return decay * state


def _add(state: Any, value: Any) -> Any:
    if not isinstance(state, LogScaled):
        return jax.tree.map(jnp.add, state, value)
    exponents = [jax.lax.stop_gradient(part.maximum) for part in (state, value)]
    maximum = jnp.maximum(*exponents)
    weights = [jnp.exp(exponent - maximum) for exponent in exponents]
    return LogScaled(
        tuple(
            weights[0] * old + weights[1] * new
            for old, new in zip(state.values, value.values, strict=True)
        ),
        maximum,
    )
