"""A program of JAX as a model of ONNX, operation by operation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jax.extend import core

from seqjax.export.onnx_elementwise import REDUCTIONS, elementwise
from seqjax.export.onnx_graph import Graph, NoOnnxFormError, Value, constant
from seqjax.export.onnx_products import PRODUCTS
from seqjax.export.onnx_shapes import NARROW, SHAPES

RULES = {**SHAPES, **PRODUCTS, **REDUCTIONS}

INSIDE = {
    "checkpoint": "jaxpr",
    "closed_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "remat2": "jaxpr",
}
"""Operations that are programs, which stand in their place."""

GROWTH = 1024
"""What depends on no input is computed now, unless that makes more numbers than went in and than
this: it would only be repetition in the file."""


def to_onnx(
    program: core.ClosedJaxpr,
    inputs: Sequence[str],
    outputs: Sequence[str],
    title: str,
) -> Any:
    """A model of ONNX that computes what a traced program does.

    Args:
      program: from `jax.make_jaxpr`, with symbolic dimensions where sizes may vary.
      inputs, outputs: names of its arrays.
      title: name of the graph.

    Raises:
      NoOnnxFormError: if an operation has no form in ONNX; it names the operation.
      ImportError: if onnx is not installed.
    """
    sizes: dict[str, tuple[str, int]] = {}
    for name, aval in zip(inputs, program.in_avals, strict=True):
        for axis, size in enumerate(aval.shape):
            sizes.setdefault(str(size), (name, axis))
    graph = Graph(sizes)
    values = [
        graph.input(aval.shape, aval.dtype, name)
        for name, aval in zip(inputs, program.in_avals, strict=True)
    ]
    found = translate(graph, program, values)
    return graph.model(dict(zip(outputs, found, strict=True)), title)


def translate(graph: Graph, program: Any, values: Sequence[Value]) -> list[Value]:
    """Adds a program to a graph and returns its outputs.

    Args:
      graph: to which nodes are added.
      program: with its constants, or without any.
      values: of its inputs.
    """
    jaxpr = getattr(program, "jaxpr", program)
    places: dict[Any, Value] = dict(zip(jaxpr.invars, values, strict=True))
    consts = getattr(program, "consts", ())
    places |= {
        place: array if isinstance(array, Value) else constant(array)
        for place, array in zip(jaxpr.constvars, consts, strict=True)
    }

    def read(atom: Any) -> Value:
        return constant(np.asarray(atom.val, atom.aval.dtype)) if _literal(atom) else places[atom]

    for equation in jaxpr.eqns:
        found = _translated(graph, equation, [read(atom) for atom in equation.invars])
        places |= dict(zip(equation.outvars, found, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def _literal(atom: Any) -> bool:
    return isinstance(atom, core.Literal)


def _translated(graph: Graph, equation: Any, values: list[Value]) -> list[Value]:
    name, params = equation.primitive.name, equation.params
    if name in INSIDE:
        return translate(graph, params[INSIDE[name]], values)
    if _can_be_computed(equation, values):
        arrays = equation.primitive.bind(*(value.known for value in values), **params)
        arrays = arrays if equation.primitive.multiple_results else [arrays]
        return [constant(array) for array in arrays]
    if name == "scan":
        return _scan(graph, params, values)
    narrow = False
    if name in NARROW:
        made, narrow = NARROW[name](graph, equation, values), True
    elif name in RULES:
        made = RULES[name](graph, equation, values)
    else:
        made = elementwise(graph, equation, values)
        # Where one input has the whole shape, so has what is made of it.
        narrow = all(value.narrow or _repeats(value, equation) for value in values)
    if made is None:
        raise NoOnnxFormError(f"the operation {name} has no form in ONNX")
    names = [made] if isinstance(made, str) else made
    return [
        Value(one.aval.shape, one.aval.dtype, each, narrow=narrow)
        for one, each in zip(equation.outvars, names, strict=True)
    ]


def _repeats(value: Value, equation: Any) -> bool:
    """Whether an input is broadcast by an elementwise operation: a scalar."""
    return len(value.shape) < len(equation.outvars[0].aval.shape)


def _can_be_computed(equation: Any, values: Sequence[Value]) -> bool:
    """Whether an operation depends on no input, and is worth computing now."""
    if any(value.known is None for value in values):
        return False
    shapes = [one.aval.shape for one in equation.outvars]
    if any(not isinstance(size, (int, np.integer)) for shape in shapes for size in shape):
        return False
    if equation.primitive.name == "dim_as_value":
        return False
    went_in = sum(np.size(value.known) for value in values if value.known is not None)
    return sum(map(np.prod, shapes)) <= max(GROWTH, went_in)


def _scan(graph: Graph, params: Mapping[str, Any], values: list[Value]) -> list[Value]:
    """A Scan, whose body sees the constants of the loop where they are."""
    first, second = params["num_consts"], params["num_consts"] + params["num_carry"]
    closed, states, xs = values[:first], values[first:second], values[second:]
    program = params["jaxpr"]
    body = graph.inside()
    carried = [body.input(state.shape, state.dtype) for state in states]
    sliced = [body.input(x.shape[1:], x.dtype) for x in xs]
    if not xs:
        # ONNX counts the steps of what it scans.
        length = graph.add("Expand", graph.array(np.zeros(1, bool)), graph.size(params["length"]))
        xs = [Value((params["length"],), np.dtype(bool), length)]
        body.input((), bool)
    outputs = translate(body, program, [*closed, *carried, *sliced])
    backwards, stacked = int(params["reverse"]), len(outputs) - len(states)
    directions: dict[str, Any] = (
        {"scan_output_directions": [backwards] * stacked} if stacked else {}
    )
    made = graph.add(
        "Scan",
        *(graph.full(value) for value in (*states, *xs)),
        outputs=len(outputs),
        body=body.finish_body(outputs),
        num_scan_inputs=len(xs),
        scan_input_directions=[backwards] * len(xs),
        **directions,
    )
    names = [made] if isinstance(made, str) else made
    avals = program.out_avals
    shapes = [aval.shape for aval in avals[: len(states)]]
    shapes += [(params["length"], *aval.shape) for aval in avals[len(states) :]]
    return [
        Value(shape, aval.dtype, name)
        for shape, aval, name in zip(shapes, avals, names, strict=True)
    ]
