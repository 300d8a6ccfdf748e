"""A linear function whose transpose is given, not derived."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from seqjax.core.trees import is_float
from seqjax.core.types import Array

Linear = Callable[[Sequence[Array], Sequence[Array]], list[Array]]
"""`(known, x) -> y`, linear in the list of arrays `x`. It closes over no arrays."""


def linear_pair(
    function: Linear, transpose: Linear, known: Sequence[Array], x: Sequence[Array]
) -> list[Array]:
    """`function(known, x)`, which a backward pass goes through by `transpose`.

    Forward-mode derivatives are those of `function`, so that `transpose` may be one that has none,
    such as a kernel. It can be vectorised as often as the two functions can.

    Args:
      function: linear in `x`.
      transpose: `(known, cotangents of y) -> cotangents of x`.
      known: what `function` uses beside `x`.
      x: floating-point arrays.
    """
    pair = {"function": function, "transpose": transpose, "count": len(known)}
    return _pair.bind(*known, *x, **pair, backward=False)


_pair = Primitive("linear_pair")
_pair.multiple_results = True


def _apply(
    *operands: Array, function: Linear, transpose: Linear, count: int, backward: bool
) -> list[Array]:
    return (transpose if backward else function)(operands[:count], operands[count:])


def _derivable(
    *operands: Array, function: Linear, transpose: Linear, count: int, backward: bool
) -> list[Array]:
    """The same by `function` alone, which JAX can differentiate."""
    known, x = operands[:count], operands[count:]
    if not backward:
        return function(known, x)
    like = jax.eval_shape(transpose, known, x)
    return list(jax.linear_transpose(lambda *x: function(known, x), *like)(list(x)))


def _shapes(*avals: Any, **pair: Any) -> list[Any]:
    return jax.make_jaxpr(lambda *operands: _apply(*operands, **pair))(*avals).out_avals


def _derivative(primals: Sequence[Array], tangents: Sequence[Any], **pair: Any) -> tuple:
    count = pair["count"]
    known, x = primals[:count], primals[count:]
    out = _pair.bind(*primals, **pair)
    moving = [i for i, d in enumerate(tangents[:count]) if not isinstance(d, ad.Zero)]
    moving = [i for i in moving if is_float(known[i])]
    change = None
    if any(not isinstance(d, ad.Zero) for d in tangents[count:]):
        d_x = map(ad.instantiate_zeros, tangents[count:])
        change = _pair.bind(*known, *d_x, **pair)
    if moving:

        def by_known(*some: Array) -> list[Array]:
            now = list(known)
            for i, value in zip(moving, some, strict=True):
                now[i] = value
            return _derivable(*now, *x, **pair)

        _, more = jax.jvp(by_known, [known[i] for i in moving], [tangents[i] for i in moving])
        change = more if change is None else [a + b for a, b in zip(change, more, strict=True)]
    if change is None:
        change = [ad.Zero(jax.typeof(value).to_tangent_aval()) for value in out]
    return out, change


def _transposed(cotangents: Sequence[Any], *operands: Any, **pair: Any) -> list:
    count = pair["count"]
    given = map(ad.instantiate_zeros, cotangents)
    swapped = {**pair, "backward": not pair["backward"]}
    return [None] * count + _pair.bind(*operands[:count], *given, **swapped)


def _vectorized(operands: Sequence[Array], dimensions: Sequence[Any], **pair: Any) -> tuple:
    count = pair["count"]
    size = next(
        x.shape[axis] for x, axis in zip(operands, dimensions, strict=True) if axis is not None
    )

    def in_front(x: Array, axis: int | None) -> Array:
        return jnp.broadcast_to(x, (size, *x.shape)) if axis is None else jnp.moveaxis(x, axis, 0)

    known = [
        x if axis is None else jnp.moveaxis(x, axis, 0)
        for x, axis in zip(operands[:count], dimensions[:count], strict=True)
    ]
    # Each copy has an x of its own: its cotangents are not to be added up.
    x = list(map(in_front, operands[count:], dimensions[count:]))
    axes = ([None if axis is None else 0 for axis in dimensions[:count]], 0)
    both = {
        name: lambda known, x, f=pair[name]: jax.vmap(f, axes)(list(known), list(x))
        for name in ("function", "transpose")
    }
    out = _pair.bind(*known, *x, **{**pair, **both})
    return out, [0] * len(out)


_pair.def_impl(lambda *operands, **pair: jax.jit(lambda *o: _pair.bind(*o, **pair))(*operands))
_pair.def_abstract_eval(_shapes)
mlir.register_lowering(_pair, mlir.lower_fun(_apply, multiple_results=True))
ad.primitive_jvps[_pair] = _derivative
ad.primitive_transposes[_pair] = _transposed
batching.primitive_batchers[_pair] = _vectorized
