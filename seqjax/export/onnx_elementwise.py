"""Elementwise operations, reductions and conversions of JAX in ONNX."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax.export.onnx_graph import Graph, Value, element_type

SAME = {
    "abs": "Abs",
    "add": "Add",
    "add_any": "Add",
    "ceil": "Ceil",
    "cos": "Cos",
    "div": "Div",
    "eq": "Equal",
    "erf": "Erf",
    "exp": "Exp",
    "floor": "Floor",
    "ge": "GreaterOrEqual",
    "gt": "Greater",
    "le": "LessOrEqual",
    "log": "Log",
    "logistic": "Sigmoid",
    "lt": "Less",
    "max": "Max",
    "min": "Min",
    "mul": "Mul",
    "neg": "Neg",
    "pow": "Pow",
    "round": "Round",
    "sign": "Sign",
    "sin": "Sin",
    "sqrt": "Sqrt",
    "sub": "Sub",
    "tanh": "Tanh",
}
"""Operations that ONNX has by another name."""

LOGICAL = {"and": "And", "or": "Or", "xor": "Xor", "not": "Not"}
"""Operations on bools alone."""


def _scalar(graph: Graph, number: float, like: Value) -> str:
    return graph.array(np.asarray(number, like.dtype))


def _square(graph: Graph, x: str, value: Value, params: dict) -> str:
    return graph.add("Mul", x, x)


def _rsqrt(graph: Graph, x: str, value: Value, params: dict) -> str:
    return graph.add("Reciprocal", graph.add("Sqrt", x))


def _erfc(graph: Graph, x: str, value: Value, params: dict) -> str:
    return graph.add("Sub", _scalar(graph, 1, value), graph.add("Erf", x))


def _expm1(graph: Graph, x: str, value: Value, params: dict) -> str:
    """tanh(x / 2) (exp(x) + 1), which keeps its digits near 0."""
    half = graph.add("Mul", x, _scalar(graph, 0.5, value))
    above = graph.add("Add", graph.add("Exp", x), _scalar(graph, 1, value))
    return graph.add("Mul", graph.add("Tanh", half), above)


def _log1p(graph: Graph, x: str, value: Value, params: dict) -> str:
    """log(u) x / (u - 1) with u = 1 + x as it is rounded, which keeps its digits near 0."""
    one = _scalar(graph, 1, value)
    u = graph.add("Add", x, one)
    away = graph.add("Sub", u, one)
    usual = graph.add("Mul", graph.add("Log", u), graph.add("Div", x, away))
    return graph.add("Where", graph.add("Equal", u, one), x, usual)


def _integer_pow(graph: Graph, x: str, value: Value, params: dict) -> str:
    return graph.add("Pow", x, _scalar(graph, params["y"], value))


def _is_finite(graph: Graph, x: str, value: Value, params: dict) -> str:
    infinite = graph.add("Or", graph.add("IsInf", x), graph.add("IsNaN", x))
    return graph.add("Not", infinite)


def _convert(graph: Graph, x: str, value: Value, params: dict) -> str:
    return graph.add("Cast", x, to=element_type(params["new_dtype"]))


def _same(graph: Graph, x: str, value: Value, params: dict) -> str:
    return x


UNARY = {
    "convert_element_type": _convert,
    "copy": _same,
    "copy_p": _same,
    "erfc": _erfc,
    "expm1": _expm1,
    "integer_pow": _integer_pow,
    "is_finite": _is_finite,
    "log1p": _log1p,
    "optimization_barrier": _same,
    "rsqrt": _rsqrt,
    "square": _square,
    "stop_gradient": _same,
}
"""Operations of one array that take several nodes."""


def _ne(graph: Graph, names: list[str]) -> str:
    return graph.add("Not", graph.add("Equal", *names))


def _rem(graph: Graph, names: list[str]) -> str:
    return graph.add("Mod", *names, fmod=1)


def _clamp(graph: Graph, names: list[str]) -> str:
    low, x, high = names
    return graph.add("Min", graph.add("Max", x, low), high)


def _select(graph: Graph, names: list[str]) -> str:
    which, no, yes = names
    return graph.add("Where", which, yes, no)


SEVERAL = {"ne": _ne, "rem": _rem, "clamp": _clamp, "select_n": _select}
"""Operations of several arrays that take several nodes."""


def elementwise(graph: Graph, equation: Any, values: Sequence[Value]) -> str | None:
    """The name of what an elementwise operation makes, narrow where all its inputs are.

    None if there is no such operation in ONNX.
    """
    primitive, bools = equation.primitive.name, [value.dtype == bool for value in values]
    names = [graph.narrow(value) for value in values]
    if primitive in UNARY:
        return UNARY[primitive](graph, names[0], values[0], equation.params)
    if primitive in LOGICAL and all(bools):
        return graph.add(LOGICAL[primitive], *names)
    if primitive == "select_n" and (len(names) != 3 or not bools[0]):
        return None
    if primitive in SEVERAL:
        return SEVERAL[primitive](graph, names)
    return graph.add(SAME[primitive], *names) if primitive in SAME else None


def _reduce(operation: str, graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axes = graph.integers(equation.params["axes"])
    return graph.add(operation, graph.full(values[0]), axes, keepdims=0)


def _reduce_bool(operation: str, graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    numbers = graph.add("Cast", graph.full(values[0]), to=element_type(jnp.int32))
    axes = graph.integers(equation.params["axes"])
    found = graph.add(operation, numbers, axes, keepdims=0)
    return graph.add("Cast", found, to=element_type(bool))


def _arg(operation: str, graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    (axis,) = equation.params["axes"]
    found = graph.add(operation, graph.full(values[0]), axis=axis, keepdims=0)
    return graph.add("Cast", found, to=element_type(equation.params["index_dtype"]))


def _cumsum(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axis = graph.array(np.int64(equation.params["axis"]))
    return graph.add("CumSum", graph.full(values[0]), axis, reverse=int(equation.params["reverse"]))


REDUCTIONS = {
    "argmax": partial(_arg, "ArgMax"),
    "argmin": partial(_arg, "ArgMin"),
    "cumsum": _cumsum,
    "reduce_and": partial(_reduce_bool, "ReduceMin"),
    "reduce_max": partial(_reduce, "ReduceMax"),
    "reduce_min": partial(_reduce, "ReduceMin"),
    "reduce_or": partial(_reduce_bool, "ReduceMax"),
    "reduce_prod": partial(_reduce, "ReduceProd"),
    "reduce_sum": partial(_reduce, "ReduceSum"),
}
"""Operations over some axes of one array."""
