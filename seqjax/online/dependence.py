"""Which numbers a function's results depend on: the pattern of zeros of its Jacobian, by proof.

The transposed Jacobian is a program that is linear in the cotangent. It runs once for each result
with NaN in the place of one cotangent and zeros elsewhere: NaN survives every product and every
sum, so whatever is not NaN at the end does not depend on that result, for any values of parameters,
states and inputs. Selections would lose it and count as sums of their branches; loops, branches and
reads at computed positions count as if each of their results depended on all that goes in. So the
pattern may have too many entries, never too few.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from seqjax.core.trees import is_float
from seqjax.core.types import Array
from seqjax.online.transition import one_row

_CARRY_NAN = {
    "add", "add_any", "sub", "neg", "mul", "div", "dot_general", "conv_general_dilated",
    "reduce_sum", "cumsum", "broadcast_in_dim", "reshape", "squeeze", "expand_dims", "transpose",
    "concatenate", "stack", "unstack", "pad", "slice", "rev", "split", "convert_element_type",
    "copy", "copy_p", "reduce_precision", "real", "imag", "complex", "conj",
    "optimization_barrier", "sharding_constraint", "pvary", "pcast",
}  # fmt: skip
"""Linear primitives whose results have NaN wherever an entry that is NaN goes in."""

_CALLS = ("jit", "pjit", "closed_call", "core_call", "checkpoint", "remat", "custom_lin")

ROWS = 64
"""Results that are followed at once."""


def dependence(function: Callable[..., Array], *args: Any) -> list[np.ndarray]:
    """The entries of a Jacobian that may differ from zero.

    One program finds them, compiled and run at once, also where another program is traced.

    Args:
      function: from lists of floating-point arrays to a vector `(n,)`.
      *args: shapes and dtypes of these arrays; the pattern holds for any values.

    Returns:
      For every array of the arguments `(n, size)` bool.
    """

    def run() -> list[Array]:
        after, pull = jax.vjp(function, *one_row(args))
        program = jax.make_jaxpr(pull)(after)
        consts = [_finite(const) for const in program.consts]

        def row(cotangent: Array) -> list[Array]:
            found = _evaluate(program.jaxpr, consts, [cotangent], [True])[0]
            return [jnp.isnan(leaf).reshape(-1) for leaf in found]

        seeds = jnp.where(jnp.eye(after.size, dtype=bool), jnp.nan, jnp.zeros((), after.dtype))
        return jax.lax.map(row, seeds, batch_size=min(ROWS, max(1, after.size)))

    # Also where a user looks at steps one by one, without compiling.
    with jax.disable_jit(False):
        return [np.asarray(leaf) for leaf in jax.jit(run).lower().compile()()]


def _finite(const: Any) -> Any:
    """A factor of the linear program, none of which may bring a NaN of its own."""
    const = jnp.asarray(const)
    return jnp.where(jnp.isfinite(const), const, 1) if is_float(const) else const


def _evaluate(
    jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], marked: Sequence[bool]
) -> tuple[list[Any], list[bool]]:
    """The results of a program, and which of them depend on a marked argument."""
    known = dict(zip(jaxpr.constvars, consts, strict=True))
    known |= dict(zip(jaxpr.invars, args, strict=True))
    linear = {var for var, mark in zip(jaxpr.invars, marked, strict=True) if mark}
    read = lambda var: var.val if isinstance(var, Literal) else known[var]  # noqa: E731
    is_linear = lambda var: not isinstance(var, Literal) and var in linear  # noqa: E731
    for eqn in jaxpr.eqns:
        values = [read(var) for var in eqn.invars]
        marks = [is_linear(var) for var in eqn.invars]
        results, own = _apply(eqn, values, marks)
        known |= dict(zip(eqn.outvars, results, strict=True))
        linear |= {var for var, mark in zip(eqn.outvars, own, strict=True) if mark}
    return [read(var) for var in jaxpr.outvars], [is_linear(var) for var in jaxpr.outvars]


def _apply(eqn: Any, values: list[Any], marks: list[bool]) -> tuple[list[Any], list[bool]]:
    """The results of one equation, with NaN where they may depend on a NaN."""
    name, params = eqn.primitive.name, eqn.params
    if any(marks) and name in _CALLS:
        inner = params.get("jaxpr", params.get("call_jaxpr"))
        consts = getattr(inner, "consts", ())
        return _evaluate(getattr(inner, "jaxpr", inner), consts, values, marks)
    if any(marks) and name == "select_n":
        return [sum(values[2:], start=values[1])], [True]
    results = eqn.primitive.bind(*values, **eqn.primitive.get_bind_params(params))
    results = list(results) if eqn.primitive.multiple_results else [results]
    if any(marks) and name not in _CARRY_NAN:
        some = [jnp.isnan(v).any() for v, mark in zip(values, marks, strict=True) if mark]
        nan = jnp.where(jnp.stack(some).any(), jnp.nan, 0.0)
        results = [r + nan.astype(r.dtype) if is_float(r) else r for r in results]
    return results, [any(marks) and is_float(r) for r in results]
