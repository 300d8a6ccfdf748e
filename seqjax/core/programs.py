"""What the trace of a function tells: the numbers it closes over, inputs of which it sees a sum."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from seqjax.core.types import PyTree


def closed_over(function: Callable[..., PyTree], *args: PyTree) -> list[Any]:
    """The traced numbers that a function closes over, each once.

    Args:
      function: any function of arrays.
      *args: what it is called with; shapes are enough.
    """
    return list(filter(is_traced, jax.make_jaxpr(function)(*args).consts))


def is_traced(value: Any) -> bool:
    """Whether a value is known only to a transformation, as the argument of a `jax.grad` is."""
    return isinstance(value, jax.core.Tracer)


def closed_as_arguments(
    function: Callable[..., PyTree], closed: Sequence[Any]
) -> Callable[..., PyTree]:
    """`(values, *args) -> function(*args)`, with the values in place of what it closes over.

    Args:
      function: any function of arrays.
      closed: from `closed_over`; a value for each.
    """

    def call(values: Sequence[Any], *args: PyTree) -> PyTree:
        program, shape = jax.make_jaxpr(function, return_shape=True)(*args)
        given = {id(number): value for number, value in zip(closed, values, strict=True)}
        consts = [given.get(id(number), number) for number in program.consts]
        run = jaxpr_as_fun(ClosedJaxpr(program.jaxpr, consts))
        return jax.tree.unflatten(jax.tree.structure(shape), run(*jax.tree.leaves(args)))

    return call


def only_summed(jaxpr: Any, x: Any, r: Any) -> bool:
    """Whether a program uses two of its inputs only to add them up."""
    users = [eqn for eqn in jaxpr.eqns if any(var is x or var is r for var in eqn.invars)]
    kept = any(var is x or var is r for var in jaxpr.outvars)
    return not kept and all(
        eqn.primitive.name == "add" and {id(var) for var in eqn.invars} == {id(x), id(r)}
        for eqn in users
    )
