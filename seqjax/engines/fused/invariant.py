"""The part of a loop's body that is the same in every step, made once before the loop."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.extend.core import Jaxpr, Literal

from seqjax.core.types import Array, PyTree


def apart(
    body: Callable[..., PyTree], *args: PyTree
) -> tuple[list[Array], Callable[..., list[Array]], PyTree]:
    """Divides a body into what it makes of closed-over arrays alone and the rest.

    A kernel cannot close over arrays, and a weight that is reshaped or transposed for its product
    should be so once, not in every step.

    Args:
      body: the body of a loop, which may close over arrays.
      *args: what it is called with; shapes are enough.

    Returns:
      `(invariants, rest, shape)`: arrays, a function of them and of the leaves of `args` that
      returns the leaves of what the body returns, and its shapes as a tree.
    """
    program, shape = jax.make_jaxpr(body, return_shape=True)(*args)
    jaxpr = program.jaxpr
    known = set(jaxpr.constvars)
    once, every = [], []
    for eqn in jaxpr.eqns:
        operands = [var for var in eqn.invars if not isinstance(var, Literal)]
        if operands and known.issuperset(operands) and not eqn.effects:
            known.update(eqn.outvars)
            once.append(eqn)
        else:
            every.append(eqn)
    used: dict[Any, None] = {}
    for var in [var for eqn in every for var in eqn.invars] + list(jaxpr.outvars):
        if not isinstance(var, Literal) and var in known:
            used[var] = None
    first = _program(jaxpr.constvars, list(used), once, like=jaxpr)
    invariants = list(map(jnp.asarray, jax.core.eval_jaxpr(first, [], *program.consts)))
    second = _program([*used, *jaxpr.invars], jaxpr.outvars, every, like=jaxpr)

    def rest(invariants: Sequence[Array], *leaves: Array) -> list[Array]:
        return evaluate(second, *invariants, *leaves)

    return invariants, rest, shape


def hoisted(body: Callable[..., PyTree], *args: PyTree) -> Callable[..., PyTree]:
    """The same body, of which all that it makes of closed-over arrays alone is made here."""
    invariants, rest, shape = apart(body, *args)
    structure = jax.tree.structure(shape)

    def same(*args: PyTree) -> PyTree:
        return jax.tree.unflatten(structure, rest(invariants, *jax.tree.leaves(args)))

    return same


def _program(inputs: Sequence[Any], outputs: Sequence[Any], eqns: Sequence[Any], like: Any) -> Any:
    """Some equations of a program as one of their own."""
    return Jaxpr([], inputs, outputs, eqns, like.effects, like.debug_info.with_unknown_names())


def evaluate(jaxpr: Any, *args: Any) -> list[Any]:
    """The results of a program, of which narrow products are added up in float32.

    A TPU has no others, and its kernels must say so.
    """
    values = dict(zip(jaxpr.invars, args, strict=True))
    for eqn in jaxpr.eqns:
        operands = [var.val if isinstance(var, Literal) else values[var] for var in eqn.invars]
        inner = eqn.params.get(_INLINED.get(eqn.primitive.name, ""))
        if inner is not None:
            whole = inner.jaxpr
            whole = _program([*whole.constvars, *whole.invars], whole.outvars, whole.eqns, whole)
            made = evaluate(whole, *inner.consts, *operands)
        else:
            made = _bind(eqn, operands, jaxpr)
        values.update(zip(eqn.outvars, made, strict=True))
    return [var.val if isinstance(var, Literal) else values[var] for var in jaxpr.outvars]


_INLINED = {"jit": "jaxpr", "custom_jvp_call": "call_jaxpr"}
"""Of primitives that only call a program, where that is."""


def _bind(eqn: Any, operands: Sequence[Any], jaxpr: Any) -> list[Any]:
    narrow = eqn.outvars[0].aval.dtype if eqn.primitive.name == "dot_general" else None
    if narrow in (jnp.bfloat16, jnp.float16):
        wide = {**eqn.params, "preferred_element_type": jnp.dtype(jnp.float32)}
        return [eqn.primitive.bind(*operands, **wide).astype(narrow)]
    given = [var for var in eqn.invars if not isinstance(var, Literal)]
    values = [v for var, v in zip(eqn.invars, operands, strict=True) if var in given]
    return jax.core.eval_jaxpr(_program(given, eqn.outvars, [eqn], like=jaxpr), [], *values)
