"""A bound for gradients on their way back, which is no derivative of anything."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive, jaxprs_in_params
from jax.interpreters import ad, batching, mlir

from seqjax.core.types import Array, PyTree


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def bounded_gradient(x: Array, bound: float) -> Array:
    """`x`, whose gradient is clipped to `[-bound, bound]`, each number by itself.

    Forward-mode derivatives are those of `x`: they and gradients are of two functions then.

    Example:
      >>> import jax
      >>> jax.grad(lambda x: 3 * bounded_gradient(x, 1.0))(2.0)
      Array(1., dtype=float32, weak_type=True)
    """
    return x


@bounded_gradient.defjvp
def _jvp(bound: float, primals: tuple, tangents: tuple) -> tuple:
    return primals[0], _tangent.bind(tangents[0], bound=bound)


def _batch(arguments: tuple, dimensions: tuple, **options: Any) -> tuple[Array, Any]:
    return _tangent.bind(*arguments, **options), dimensions[0]


# The identity, with a transpose that is not its own. It is a primitive, as engines transpose a
# step by itself, and in kernels.
_tangent = Primitive("bounded_gradient")
_tangent.def_impl(lambda d, bound: d)
_tangent.def_abstract_eval(lambda d, bound: d)
mlir.register_lowering(_tangent, lambda context, d, bound: [d])
batching.primitive_batchers[_tangent] = _batch
ad.deflinear2(_tangent, lambda ct, _, bound: [jnp.clip(ct, -bound, bound)])


def bounds_gradient(function: Callable[..., PyTree], x: PyTree, *others: PyTree) -> bool:
    """Whether what comes back to `x` through `function(x, *others)` is clipped on its way.

    Args:
      function: any function of arrays.
      x: floating-point numbers; shapes are enough.
      *others: what else it is called with; likewise.
    """

    def tangent(x: PyTree, *others: PyTree) -> PyTree:
        return jax.jvp(lambda x: function(x, *others), (x,), (x,))[1]

    return _bounds(jax.make_jaxpr(tangent)(x, *others).jaxpr)


def _bounds(jaxpr: Any) -> bool:
    return any(
        eqn.primitive is _tangent or any(map(_bounds, jaxprs_in_params(eqn.params)))
        for eqn in jaxpr.eqns
    )
