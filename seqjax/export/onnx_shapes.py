"""Operations of JAX that move numbers without computing any, in ONNX."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seqjax.export.onnx_graph import Graph, Value, element_type

END = np.iinfo(np.int64).max
"""As the end of a slice: as far as there is something."""


def _is_int(size: Any) -> bool:
    return isinstance(size, (int, np.integer))


def reshaped(graph: Graph, name: str, shape: Sequence[Any]) -> str:
    """An array in another shape, of which one dimension may be symbolic for little."""
    symbolic = [not _is_int(size) for size in shape]
    if sum(symbolic) == 1 and 0 not in shape:
        return graph.add("Reshape", name, graph.integers(s if _is_int(s) else -1 for s in shape))
    return graph.add("Reshape", name, graph.sizes(shape))


def sliced(
    graph: Graph, name: str, axes: Sequence[int], starts: str, ends: str, steps: Sequence[int]
) -> str:
    """A slice along some axes."""
    return graph.add("Slice", name, starts, ends, graph.integers(axes), graph.integers(steps))


def transposed(graph: Graph, name: str, order: Sequence[int]) -> str:
    """The axes in another order."""
    order = [int(axis) for axis in order]
    return name if order == list(range(len(order))) else graph.add("Transpose", name, perm=order)


def _reshape(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    return reshaped(graph, graph.full(values[0]), equation.outvars[0].aval.shape)


def _squeeze(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axes = graph.integers(equation.params["dimensions"])
    return graph.add("Squeeze", graph.full(values[0]), axes)


def _expand_dims(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axes = graph.integers(equation.params["dimensions"])
    return graph.add("Unsqueeze", graph.full(values[0]), axes)


def _transpose(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    return transposed(graph, graph.full(values[0]), equation.params["permutation"])


def _concatenate(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    names = [graph.full(value) for value in values if 0 not in value.shape]
    return graph.add("Concat", *names, axis=equation.params["dimension"])


def _stack(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axis = equation.params["axis"]
    axes = graph.integers([axis])
    names = [graph.add("Unsqueeze", graph.full(value), axes) for value in values]
    return graph.add("Concat", *names, axis=axis)


def _split(graph: Graph, equation: Any, values: Sequence[Value]) -> Any:
    sizes, axis = equation.params["sizes"], equation.params["axis"]
    name, lengths = graph.full(values[0]), graph.sizes(sizes)
    return graph.add("Split", name, lengths, axis=axis, outputs=len(sizes))


def _slice(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    params, shape = equation.params, values[0].shape
    strides = params["strides"] or (1,) * len(shape)
    bounds = zip(params["start_indices"], params["limit_indices"], strides, shape, strict=True)
    cut = [
        (axis, start, END if limit is size or limit == size else limit, stride)
        for axis, (start, limit, stride, size) in enumerate(bounds)
        if not (_is_int(start) and start == 0 and stride == 1 and limit == size)
    ]
    if not cut:
        return graph.full(values[0])
    axes, starts, ends, steps = zip(*cut, strict=True)
    name = graph.full(values[0])
    return sliced(graph, name, axes, graph.sizes(starts), graph.sizes(ends), steps)


def _rev(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    axes = equation.params["dimensions"]
    starts, ends = (graph.integers([end] * len(axes)) for end in (-1, -END))
    return sliced(graph, graph.full(values[0]), axes, starts, ends, [-1] * len(axes))


def _pad(graph: Graph, equation: Any, values: Sequence[Value]) -> str | None:
    widths = equation.params["padding_config"]
    if any(inside for _, _, inside in widths):
        return None
    name, value = graph.full(values[0]), graph.full(values[1])
    sides = [[width[side] for width in widths] for side in (0, 1)]
    if all(_is_int(width) and width >= 0 for side in sides for width in side):
        return graph.add("Pad", name, graph.sizes([*sides[0], *sides[1]]), value)
    # Below zero it cuts.
    if any(not _is_int(width) for side in sides for width in side):
        return None
    more = [max(0, width) for side in sides for width in side]
    name = graph.add("Pad", name, graph.integers(more), value)
    axes = range(len(widths))
    starts = graph.integers(max(0, -low) for low in sides[0])
    ends = graph.integers(high if high < 0 else END for high in sides[1])
    return sliced(graph, name, axes, starts, ends, [1] * len(widths))


def _broadcast(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    """With dimensions of 1 where the rest is to be broadcast: what follows does that."""
    params, value = equation.params, values[0]
    rank = len(params["shape"])
    new = [axis for axis in range(rank) if axis not in params["broadcast_dimensions"]]
    if value.known is not None:
        return graph.array(np.expand_dims(value.known, new))
    name = graph.narrow(value)
    return graph.add("Unsqueeze", name, graph.integers(new)) if new else name


def _iota(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    """Narrow: the numbers along their axis, and 1 elsewhere."""
    params = equation.params
    shape, axis = params["shape"], params["dimension"]
    zero, one = graph.array(np.int64(0)), graph.array(np.int64(1))
    size = graph.add("Squeeze", graph.size(shape[axis]), graph.integers([0]))
    numbers = graph.add("Range", zero, size, one)
    others = [other for other in range(len(shape)) if other != axis]
    if others:
        numbers = graph.add("Unsqueeze", numbers, graph.integers(others))
    return graph.add("Cast", numbers, to=element_type(params["dtype"]))


def _dim_as_value(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    size = graph.add("Squeeze", graph.size(equation.params["dim"]), graph.integers([0]))
    return graph.add("Cast", size, to=element_type(equation.outvars[0].aval.dtype))


def _dynamic_slice(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    operand, *places = values
    sizes = equation.params["slice_sizes"]
    axes = [axis for axis, size in enumerate(sizes) if size != operand.shape[axis]]
    if not axes:
        return graph.full(operand)
    starts = []
    for axis in axes:
        start = graph.add("Cast", graph.full(places[axis]), to=element_type(np.int64))
        start = graph.add("Unsqueeze", start, graph.integers([0]))
        last = graph.add("Sub", graph.size(operand.shape[axis]), graph.size(sizes[axis]))
        start = graph.add("Min", graph.add("Max", start, graph.integers([0])), last)
        starts.append(start)
    first = graph.add("Concat", *starts, axis=0)
    ends = graph.add("Add", first, graph.sizes([sizes[axis] for axis in axes]))
    return sliced(graph, graph.full(operand), axes, first, ends, [1] * len(axes))


Rule = Callable[[Graph, Any, Sequence[Value]], Any]

NARROW: dict[str, Rule] = {"broadcast_in_dim": _broadcast, "iota": _iota}
"""Operations whose result may be narrow."""

SHAPES: dict[str, Rule] = {
    "concatenate": _concatenate,
    "dim_as_value": _dim_as_value,
    "dynamic_slice": _dynamic_slice,
    "expand_dims": _expand_dims,
    "pad": _pad,
    "reshape": _reshape,
    "rev": _rev,
    "slice": _slice,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "transpose": _transpose,
}
