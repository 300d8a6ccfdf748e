"""A step of a cell by onnxruntime, beside the same step compiled by JAX."""

import dataclasses
import importlib.metadata
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from seqjax.bench.timed import CELLS
from seqjax.bench.training import problem
from seqjax.core.cell import Cell
from seqjax.core.extras import extra_module
from seqjax.export.portable import BATCH, Arrays, CarryForm, Entry, Program
from seqjax.export.program_files import load_onnx, write_onnx

ROUNDS, STEPS = 7, 300
"""Both take turns: this many steps at a time, this often."""


@dataclasses.dataclass(frozen=True)
class Steps:
    """Seconds of a step of one sequence, round by round, in both."""

    cell: str
    features: int
    onnx: tuple[float, ...]
    jitted: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """Time of JAX over that of onnxruntime: above 1, onnxruntime is faster."""
        return statistics.median(a / b for a, b in zip(self.jitted, self.onnx, strict=True))


def exported_steps(name: str, cell: Cell, features: int) -> Steps:
    """Times steps of a cell, each with the state that the one before left.

    Args:
      name: of the cell.
      cell: takes and puts out `features`.
      features: width.
    """
    params, xs = problem(cell, features, 1, 1)
    form = CarryForm(cell.initial_carry(params))

    def call(arrays: Arrays) -> Arrays:
        carry, y = cell.step(params, form.join(arrays), arrays["x"])
        return {"y": y, **form.split(carry)}

    inputs = {"x": Entry((BATCH, features), np.float32), **form.entries()}
    program = Program("step", call, inputs)
    x = np.asarray(xs[:, 0])
    start = {"x": x, **{name: array[None] for name, array in form.initial.items()}}
    # On one thread, as others wait longer for each other than a step takes.
    both = [load_onnx(write_onnx(program), threads=1), jax.jit(call)]
    took: list[list[float]] = [[], []]
    for _ in range(1 + ROUNDS):
        for seconds, step in zip(took, both, strict=True):
            seconds.append(_seconds(step, start, x))
    # The first round compiles.
    onnx, jitted = (tuple(seconds[1:]) for seconds in took)
    return Steps(name, features, onnx, jitted)


def _seconds(step: Callable[[dict], Any], arrays: dict[str, Any], x: Any) -> float:
    begun = time.perf_counter()
    for _ in range(STEPS):
        found = step(arrays)
        arrays = {key[5:]: array for key, array in found.items() if key.startswith("next_")}
        arrays["x"] = x
    jax.block_until_ready(arrays)
    return (time.perf_counter() - begun) / STEPS


def report(names: Sequence[str], features: int) -> Iterator[str]:
    """Lines of a table, one for each cell.

    Raises:
      ImportError: if onnxruntime is not installed.
    """
    extra_module("onnxruntime", "export")
    version = importlib.metadata.version("onnxruntime")
    yield f"a step of one sequence, {features} features: onnxruntime {version} beside JAX, jitted"
    yield f"  {'cell':<24} {'onnx us':>9} {'jax us':>9} {'jax/onnx':>9}"
    for name in names:
        found = exported_steps(name, CELLS[name](features), features)
        onnx, jitted = (statistics.median(each) * 1e6 for each in (found.onnx, found.jitted))
        yield f"  {name:<24} {onnx:>9.1f} {jitted:>9.1f} {found.ratio:>8.2f}x"
