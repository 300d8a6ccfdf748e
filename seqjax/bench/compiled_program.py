"""A compiled program as text: its operations, and how often each runs."""

import re
from collections.abc import Callable
from typing import NamedTuple


class Operation(NamedTuple):
    """One line of a program: `%name = result kind(operands), ...`."""

    name: str
    result: str
    kind: str
    operands: tuple[str, ...]
    line: str


class CompiledProgram:
    """Operations by the computation that they stand in, and how often each runs.

    Args:
      text: the program.
      open_trips: how often loops run that end where numbers tell, such as the rounds of Newton's
        method; by default as often as they can.
    """

    def __init__(self, text: str, open_trips: int | None = None):
        self.open_trips = open_trips
        self.computations: dict[str, list[Operation]] = {}
        self.entry, name = "", ""
        for line in text.splitlines():
            begins = re.match(r"(ENTRY )?%?([\w.\-<>]+) \(.*\) -> .* \{$", line)
            if begins:
                name = begins.group(2)
                self.computations[name] = []
                self.entry = name if begins.group(1) else self.entry
            elif line == "}":
                name = ""
            elif name and (operation := _read(line)):
                self.computations[name].append(operation)
            elif name and (found := self.computations[name]):
                # What a kernel says of itself is printed in several lines.
                found[-1] = found[-1]._replace(line=found[-1].line + line)

    def total(self, count: Callable[[Operation], float], name: str | None = None) -> float:
        """The sum over all operations, as often as they run; of branches the dearest counts."""
        total = 0.0
        for operation in self.computations.get(name or self.entry, ()):
            total += count(operation)
            line = operation.line
            if loop := re.search(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)", line):
                total += self._trips(line, loop.group(1)) * self.total(count, loop.group(2))
            if operation.kind == "conditional":
                branches = re.search(r"branch_computations=\{([^}]*)\}", line)
                names = branches.group(1) if branches else " ".join(_BRANCHES.findall(line))
                found = re.findall(r"[\w.\-]+", names)
                total += max((self.total(count, branch) for branch in found), default=0.0)
            if called := re.search(r" call\(.*to_apply=%?([\w.\-]+)", line):
                total += self.total(count, called.group(1))
        return total

    def _trips(self, line: str, condition: str) -> int:
        """How often a loop runs: as the compiler says, or as its condition compares."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
        if known:
            return int(known.group(1))
        if self.open_trips is not None:
            return self.open_trips
        lines = (operation.line for operation in self.computations.get(condition, []))
        constants = re.findall(r"= s32\[\]\S* constant\((-?\d+)\)", "\n".join(lines))
        return max((abs(int(value)) for value in constants), default=1)


def _read(line: str) -> Operation | None:
    found = _OPERATION.match(line)
    if not found:
        return None
    name, result, kind, rest = found.groups()
    return Operation(name, result, kind, tuple(_NAME.findall(rest.split(")")[0])), line)


_OPERATION = re.compile(r"\s*(?:ROOT )?%([\w.\-]+) = (.*?) ([\w\-]+)\((.*)")
_NAME = re.compile(r"%([\w.\-]+)")
_BRANCHES = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
