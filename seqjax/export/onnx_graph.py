"""A graph of ONNX under construction: nodes, constants and sizes that are known at run time."""

import ast
import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module

OPSET = 18
"""Version of the operators: that of ONNX 1.13, which every runtime since 2023 has."""

IR_VERSION = 10
"""Version of the file format, that of ONNX 1.16."""

EXTRA = "export"


class NoOnnxFormError(InputError):
    """An operation has no form in ONNX."""


@dataclasses.dataclass(frozen=True)
class Value:
    """An array of a program in a graph.

    Args:
      shape: ints, or symbolic dimensions.
      dtype: of the array.
      name: in the graph; None for an array that no node has asked for yet.
      known: the array, if it depends on no input.
      narrow: whether the array in the graph has 1 in place of some dimensions, to be broadcast.
    """

    shape: tuple[Any, ...]
    dtype: Any
    name: str | None = None
    known: Any = None
    narrow: bool = False


def constant(array: Any) -> Value:
    """An array that depends on no input; random keys stay what they are."""
    if not jnp.issubdtype(array.dtype, jax.dtypes.extended):
        array = np.asarray(array)
    return Value(array.shape, array.dtype, known=array)


def element_type(dtype: Any) -> int:
    """The number of a dtype in ONNX."""
    if jnp.issubdtype(dtype, jax.dtypes.extended):
        raise NoOnnxFormError("random keys have no form in ONNX")
    return extra_module("onnx", EXTRA).helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


class _Shared:
    """What a graph and the bodies of its loops have in common."""

    def __init__(self):
        self.count = 0
        self.initializers: dict[tuple[Any, ...], Any] = {}
        self.sizes: dict[str, str] = {}
        self.first: list[Any] = []


class Graph:
    """A graph, or with `inside` the body of a loop in it.

    Args:
      sizes: for each symbolic dimension the name of an input and the axis that has its size.
    """

    def __init__(self, sizes: Mapping[str, tuple[str, int]], shared: _Shared | None = None):
        self.onnx: Any = extra_module("onnx", EXTRA)
        self.nodes: list[Any] = []
        self.inputs: list[Any] = []
        self._given, self._shared = sizes, shared or _Shared()

    def inside(self) -> "Graph":
        """A body that sees what is in this graph so far."""
        return Graph(self._given, self._shared)

    def add(
        self, operation: str, *inputs: str, outputs: int = 1, at_start: bool = False, **options: Any
    ) -> Any:
        """Adds a node and returns the name of its output, or names if there are several."""
        self._shared.count += 1
        names = [f"{operation.lower()}_{self._shared.count}_{i}" for i in range(outputs)]
        node = self.onnx.helper.make_node(operation, list(inputs), names, **options)
        (self._shared.first if at_start else self.nodes).append(node)
        return names[0] if outputs == 1 else names

    def array(self, array: Any) -> str:
        """The name of a constant; equal ones are stored once."""
        element_type(array.dtype)
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._shared.initializers:
            name = f"constant_{len(self._shared.initializers)}"
            self._shared.initializers[key] = self.onnx.numpy_helper.from_array(array, name)
        return self._shared.initializers[key].name

    def integers(self, numbers: Iterable[int]) -> str:
        """A constant vector, of axes say."""
        return self.array(np.array(list(numbers), np.int64))

    def size(self, dimension: Any) -> str:
        """A vector of one number: an int, or a symbolic dimension such as `time + 1`."""
        if isinstance(dimension, (int, np.integer)):
            return self.integers([int(dimension)])
        sizes = self._shared.sizes
        if str(dimension) not in sizes:
            tree = ast.parse(str(dimension), mode="eval").body
            sizes[str(dimension)] = self._computed(tree)
        return sizes[str(dimension)]

    def sizes(self, dimensions: Sequence[Any]) -> str:
        """A vector of dimensions."""
        if all(isinstance(dimension, (int, np.integer)) for dimension in dimensions):
            return self.integers(map(int, dimensions))
        key, sizes = str(tuple(dimensions)), self._shared.sizes
        if key not in sizes:
            parts = [self.size(dimension) for dimension in dimensions]
            sizes[key] = self.add("Concat", *parts, axis=0, at_start=True)
        return sizes[key]

    def _computed(self, tree: ast.expr) -> str:
        """A size as JAX spells it: names, ints, + - *, floordiv, mod, max and min."""
        if isinstance(tree, ast.Constant):
            return self.integers([int(tree.value)])  # pyright: ignore[reportArgumentType]
        if isinstance(tree, ast.Name):
            name, axis = self._given[tree.id]
            return self.add("Shape", name, start=axis, end=axis + 1, at_start=True)
        if isinstance(tree, ast.UnaryOp):
            return self.add("Neg", self._computed(tree.operand), at_start=True)
        if isinstance(tree, ast.BinOp):
            parts, operation = [tree.left, tree.right], BINARY[type(tree.op)]
        else:
            assert isinstance(tree, ast.Call) and isinstance(tree.func, ast.Name)
            parts, operation = tree.args, CALLS[tree.func.id]
        return self.add(operation, *map(self._computed, parts), at_start=True)

    def narrow(self, value: Value) -> str:
        """The name of an array, in which dimensions of 1 may stand for others."""
        return self.array(value.known) if value.known is not None else str(value.name)

    def full(self, value: Value) -> str:
        """The name of an array in its whole shape."""
        name = self.narrow(value)
        return self.add("Expand", name, self.sizes(value.shape)) if value.narrow else name

    def input(self, shape: Sequence[Any], dtype: Any, name: str | None = None) -> Value:
        """A new input; without a name, one of the body of a loop."""
        if name is None:
            self._shared.count += 1
            name = f"input_{self._shared.count}"
        self.inputs.append(self._described(name, shape, dtype))
        return Value(tuple(shape), jnp.dtype(dtype), name)

    def finish(self, outputs: Mapping[str, Value], title: str) -> Any:
        """The graph, with outputs of these names."""
        described = []
        for name, value in outputs.items():
            source = self.full(value)
            self.nodes.append(self.onnx.helper.make_node("Identity", [source], [name]))
            described.append(self._described(name, value.shape, value.dtype))
        return self.onnx.helper.make_graph(self.nodes, title, self.inputs, described)

    def finish_body(self, outputs: Sequence[Value]) -> Any:
        """The body of a loop, with outputs of new names."""
        self._shared.count += 1
        names = [f"output_{self._shared.count}_{i}" for i in range(len(outputs))]
        return self.finish(dict(zip(names, outputs, strict=True)), f"body_{self._shared.count}")

    def model(self, outputs: Mapping[str, Value], title: str) -> Any:
        """The whole model."""
        graph = self.finish(outputs, title)
        nodes = [*self._shared.first, *graph.node]
        del graph.node[:]
        graph.node.extend(nodes)
        used = _used(nodes)
        constants = self._shared.initializers.values()
        graph.initializer.extend(one for one in constants if one.name in used)
        make: Callable[..., Any] = self.onnx.helper.make_model
        opset = self.onnx.helper.make_opsetid("", OPSET)
        return make(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="seqjax")

    def _described(self, name: str, shape: Sequence[Any], dtype: Any) -> Any:
        sizes = [int(size) if isinstance(size, (int, np.integer)) else str(size) for size in shape]
        return self.onnx.helper.make_tensor_value_info(name, element_type(dtype), sizes)


def _used(nodes: Iterable[Any]) -> set[str]:
    """The names that nodes and the bodies of their loops read."""
    found: set[str] = set()
    for node in nodes:
        found.update(node.input)
        for attribute in node.attribute:
            found |= _used(attribute.g.node)
    return found


BINARY = {ast.Add: "Add", ast.Sub: "Sub", ast.Mult: "Mul"}
CALLS = {"floordiv": "Div", "mod": "Mod", "max": "Max", "min": "Min"}
