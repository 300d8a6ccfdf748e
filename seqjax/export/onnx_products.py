"""Products of matrices, gathers and scatters of JAX in ONNX."""

import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from seqjax.export.onnx_graph import Graph, Value, element_type
from seqjax.export.onnx_shapes import Rule, sliced, transposed


def _dot(graph: Graph, equation: Any, values: Sequence[Value]) -> str:
    """A product of matrices where it is one, which runtimes do best; else an Einsum."""
    left, right = values
    contract, batch = equation.params["dimension_numbers"]
    names = [graph.full(value) for value in values]
    free = [
        [axis for axis in range(len(value.shape)) if axis not in (*along, *common)]
        for value, along, common in zip(values, contract, batch, strict=True)
    ]
    if not batch[0] and len(right.shape) == 2 and tuple(contract[0]) == (len(left.shape) - 1,):
        second = transposed(graph, names[1], (*contract[1], *free[1]))
        product = graph.add("MatMul", names[0], second)
    elif len(contract[0]) == 1 and max(map(len, free)) <= 1:
        product = _matrices(graph, names, contract, batch, free)
    else:
        product = graph.add("Einsum", *names, equation=_letters(left, right, contract, batch))
    wanted = equation.outvars[0].aval.dtype
    if wanted != left.dtype:
        product = graph.add("Cast", product, to=element_type(wanted))
    return product


def _matrices(graph: Graph, names: list[str], contract: Any, batch: Any, free: Any) -> str:
    """Products of matrices or vectors, one for each element of a batch."""
    first = transposed(graph, names[0], (*batch[0], *free[0], *contract[0]))
    second = transposed(graph, names[1], (*batch[1], *contract[1], *free[1]))
    if not free[0]:
        first = graph.add("Unsqueeze", first, graph.integers([-2]))
    if not free[1]:
        second = graph.add("Unsqueeze", second, graph.integers([-1]))
    product = graph.add("MatMul", first, second)
    ones = [axis for axis, own in zip((-2, -1), free, strict=True) if not own]
    return graph.add("Squeeze", product, graph.integers(ones)) if ones else product


def _letters(left: Value, right: Value, contract: Any, batch: Any) -> str:
    fresh = iter(string.ascii_lowercase)
    of_left = [next(fresh) for _ in left.shape]
    of_right = [next(fresh) for _ in right.shape]
    for kind in (contract, batch):
        for one, other in zip(*kind, strict=True):
            of_right[other] = of_left[one]
    shared = [of_left[axis] for axis in batch[0]]
    gone = {of_left[axis] for axis in contract[0]} | set(shared)
    out = [*shared, *(letter for letter in (*of_left, *of_right) if letter not in gone)]
    return f"{''.join(of_left)},{''.join(of_right)}->{''.join(out)}"


def _gather(graph: Graph, equation: Any, values: Sequence[Value]) -> str | None:
    operand, indices = values
    numbers = equation.params["dimension_numbers"]
    if len(indices.shape) == 1:
        return _one(graph, equation, operand, indices)
    sizes, gone = equation.params["slice_sizes"], numbers.collapsed_slice_dims
    # Along an axis that is taken whole there is one place only.
    along = [
        (column, axis)
        for column, axis in enumerate(numbers.start_index_map)
        if axis in gone or sizes[axis] != operand.shape[axis]
    ]
    if not along or any(sizes[axis] != 1 for _, axis in along):
        return None
    columns, axes = zip(*along, strict=True)
    return _rows(graph, equation, operand, indices, columns, axes)


def _one(graph: Graph, equation: Any, operand: Value, indices: Value) -> str:
    """One slice, at a place that may be known."""
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    axes = numbers.start_index_map
    lengths = [sizes[axis] for axis in axes]
    if indices.known is not None:
        starts = [int(place) for place in indices.known]
        ends = [place + length for place, length in zip(starts, lengths, strict=True)]
        bounds = graph.integers(starts), graph.sizes(ends)
    else:
        start = _clipped(graph, equation, operand, indices, sizes)
        start = graph.add("Cast", start, to=element_type(np.int64))
        bounds = start, graph.add("Add", start, graph.sizes(lengths))
    name = sliced(graph, graph.full(operand), axes, *bounds, [1] * len(axes))
    gone = numbers.collapsed_slice_dims
    return graph.add("Squeeze", name, graph.integers(gone)) if gone else name


def _rows(
    graph: Graph,
    equation: Any,
    operand: Value,
    indices: Value,
    columns: Sequence[int],
    along: Sequence[int],
) -> str:
    """Whole rows, or numbers, of an array: an embedding, `take_along_axis`.

    Columns of the indices are places along these axes.
    """
    numbers = equation.params["dimension_numbers"]
    common, gone = numbers.operand_batching_dims, numbers.collapsed_slice_dims
    others = [axis for axis in range(len(operand.shape)) if axis not in (*common, *along)]
    name = transposed(graph, graph.full(operand), (*common, *along, *others))
    places = _clipped(graph, equation, operand, indices, equation.params["slice_sizes"])
    if len(columns) < len(numbers.start_index_map):
        places = graph.add("Gather", places, graph.integers(columns), axis=-1)
    lead, last = numbers.start_indices_batching_dims, len(indices.shape) - 1
    rest = [axis for axis in range(last) if axis not in lead]
    places = transposed(graph, places, (*lead, *rest, last))
    if not lead and len(along) == 1:
        places = graph.add("Squeeze", places, graph.integers([last]))
        found = graph.add("Gather", name, places, axis=0)
    else:
        places = graph.add("Cast", places, to=element_type(np.int64))
        found = graph.add("GatherND", name, places, batch_dims=len(lead))
    # Now the axes are lead, rest, others; JAX has others at `offset_dims`, and 1 for what it keeps
    # of the axes along which it has gathered.
    kept = [axis for axis in range(len(operand.shape)) if axis not in (*common, *gone)]
    ones = [last + place for place, axis in enumerate(kept) if axis in along]
    if ones:
        found = graph.add("Unsqueeze", found, graph.integers(ones))
    order, came = [*lead, *rest], iter(range(last))
    offsets = {axis: last + place for place, axis in enumerate(numbers.offset_dims)}
    rank = last + len(kept)
    back = [offsets[axis] if axis in offsets else order.index(next(came)) for axis in range(rank)]
    return transposed(graph, found, back)


def _scatter_add(graph: Graph, equation: Any, values: Sequence[Value]) -> str | None:
    """Adds one block at a place that is known: the block, padded with zeros, is a sum."""
    operand, indices, updates = values
    numbers = equation.params["dimension_numbers"]
    if indices.known is None or indices.known.ndim != 1:
        return None
    name, new = graph.full(updates), numbers.inserted_window_dims
    lengths = list(updates.shape)
    for axis in sorted(new):
        lengths.insert(axis, 1)
    if new:
        name = graph.add("Unsqueeze", name, graph.integers(new))
    before, after = [0] * len(lengths), [0] * len(lengths)
    for axis, place in zip(numbers.scatter_dims_to_operand_dims, indices.known, strict=True):
        before[axis] = int(place)
        after[axis] = operand.shape[axis] - lengths[axis] - int(place)
    zero = graph.array(np.zeros((), operand.dtype))
    padded = graph.add("Pad", name, graph.sizes([*before, *after]), zero)
    return graph.add("Add", graph.full(operand), padded)


def _clipped(
    graph: Graph, equation: Any, operand: Value, indices: Value, sizes: Sequence[Any]
) -> str:
    """The places, inside the array where JAX moves them there."""
    name = graph.full(indices)
    if "CLIP" not in str(equation.params["mode"]):
        return name
    axes = equation.params["dimension_numbers"].start_index_map
    ends = graph.sizes([operand.shape[axis] for axis in axes])
    last = graph.add("Sub", ends, graph.sizes([sizes[axis] for axis in axes]))
    last = graph.add("Cast", last, to=element_type(indices.dtype))
    zero = graph.array(np.zeros((), indices.dtype))
    return graph.add("Min", graph.add("Max", name, zero), last)


PRODUCTS: dict[str, Rule] = {
    "dot_general": _dot,
    "gather": _gather,
    "scatter-add": _scatter_add,
}
