"""How many bytes a program for a TPU moves between the memory of the chip and that of its core.

The compiler keeps some arrays in the memory of the core (VMEM); it says so in their layout, `S(1)`.
The others lie in the memory of the chip (HBM), and an operation reads and writes them there: all
of an array, or the slice of it that it takes.
"""

import math
import re

from seqjax.bench.compiled_program import CompiledProgram, Operation

_MOVES_NOTHING = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "while", "conditional",
    "call", "after-all", "opt-barrier", "partition-id", "replica-id",
}  # fmt: skip
_PLACES = ("AllocateBuffer", "ConcatBitcast")
"""Custom calls that name a place, and move nothing to it."""
_SLICES = ("dynamic-slice", "slice", "gather")


class MovedBytes:
    """Of the operations of one program."""

    def __init__(self, program: CompiledProgram):
        self.computations = program.computations
        lines = [line for computation in program.computations.values() for line in computation]
        self.results = {operation.name: operation.result for operation in lines}

    def __call__(self, operation: Operation) -> float:
        """Read and written by one run of an operation."""
        kind, line = operation.kind, operation.line
        if kind in _MOVES_NOTHING or kind.endswith(("-done", "-update")):
            return 0.0
        if kind == "custom-call" and any(f'"{place}"' in line for place in _PLACES):
            return 0.0
        if kind.endswith("-start"):
            return self._copied(operation)
        called = re.search(r" fusion\(.*calls=%?([\w.\-]+)", line)
        if not called:
            reads = zip(operation.operands, self._taken(operation), strict=True)
            read = sum(min(in_chip(self._of(name)), taken) for name, taken in reads)
            return read + min(in_chip(operation.result), self._put(operation))
        inside = self.computations.get(called.group(1), [])
        numbered = {_number(inner): inner for inner in inside if inner.kind == "parameter"}
        read = 0.0
        for index, name in enumerate(operation.operands):
            taken = self._used(numbered[index].name, inside) if index in numbered else math.inf
            read += min(in_chip(self._of(name)), taken)
        put = self._put(inside[-1], inside) if inside else math.inf
        return read + min(in_chip(operation.result), put)

    def _of(self, name: str) -> str:
        return self.results.get(name, "")

    def _copied(self, operation: Operation) -> float:
        """Of a copy that goes on beside other operations: the smaller of both ends, once for each
        end that is not in the core."""
        ends = [(size, there) for size, there in _arrays(operation.result) if size > 4]
        moved = min((size for size, _ in ends), default=0)
        return float(moved * sum(there for _, there in ends[:2]))

    def _taken(self, operation: Operation) -> list[float]:
        """The most that an operation reads of each operand."""
        sizes = [math.inf] * len(operation.operands)
        if sizes and operation.kind in _SLICES:
            sizes[0] = sum(size for size, _ in _arrays(operation.result))
        if sizes and operation.kind == "dynamic-update-slice":
            sizes[0] = 0.0
        return sizes

    def _used(self, name: str, inside: list[Operation]) -> float:
        """The most that a fusion reads of one parameter."""
        total = 0.0
        for operation in inside:
            if name in operation.operands:
                if operation.kind == "bitcast":
                    total += self._used(operation.name, inside)
                else:
                    taken = zip(operation.operands, self._taken(operation), strict=True)
                    total += sum(size for operand, size in taken if operand == name)
        return total

    def _put(self, operation: Operation, inside: list[Operation] | None = None) -> float:
        """The most that an operation, the last one of a fusion, writes."""
        if operation.kind == "dynamic-update-slice":
            return float(sum(size for size, _ in _arrays(self._of(operation.operands[1]))))
        by_name = {inner.name: inner for inner in inside or ()}
        if operation.kind in ("bitcast", "tuple") and by_name:
            parts = [by_name[name] for name in operation.operands if name in by_name]
            return sum(self._put(part, inside) for part in parts)
        return float(sum(size for size, _ in _arrays(operation.result)))


def in_chip(result: str) -> float:
    """Bytes of the arrays, of a result as it is printed, that lie in the memory of the chip."""
    return float(sum(size for size, there in _arrays(result) if there))


def _arrays(result: str) -> list[tuple[int, bool]]:
    """The size in bytes of each array, and whether it lies in the memory of the chip."""
    return [
        (
            math.prod(map(int, filter(None, shape.split(",")))) * max(int(bits or 8), 8) // 8,
            not re.search(r"S\([1-9]", layout or ""),
        )
        for bits, shape, layout in _ARRAY.findall(result)
    ]


def _number(parameter: Operation) -> int:
    found = re.search(r" parameter\((\d+)\)", parameter.line)
    return int(found.group(1)) if found else -1


_ARRAY = re.compile(r"\b(?:pred|[a-z]+(\d+)\w*)\[([\d,]*)\](?:\{([^}]*)\})?")
