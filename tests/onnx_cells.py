"""Step and prefill of cells in ONNX, run by onnxruntime beside JAX.

    python -m tests.onnx_cells [NAME ...]

exports every cell of the table that has a step, with symbolic batch and time, and fails if one
differs by more than 1e-5, or cannot be exported and is not listed in `WITHOUT`.
"""

import sys

import tests.quick_compiling  # noqa: F401  isort: skip

import numpy as np

import seqjax as sj
from seqjax.core.cell import Cell
from seqjax.core.errors import InputError
from seqjax.export.portable import CarryForm, Entry, Program
from seqjax.export.program_files import load_onnx, write_onnx
from tests.attention_cells import CELLS as ATTENTION_CELLS
from tests.parameters import drawn
from tests.table import CELLS, IN_FEATURES

WITHOUT = ("conv_lstm", "conv_gru")
"""Cells with an operation that is not translated: convolutions over space."""


def programs(cell: Cell) -> tuple[CarryForm, tuple[Program, ...]]:
    """Step and prefill of a new cell."""
    params = drawn(cell, IN_FEATURES)
    form = CarryForm(cell.initial_carry(params))

    def step(arrays):
        carry, y = cell.step(params, form.join(arrays), arrays["x"])
        return {"y": y, **form.split(carry)}

    def prefill(arrays):
        carry = form.join(arrays)
        lengths = arrays["lengths"]
        carry, ys = sj.scan(cell, params, arrays["xs"], carry, lengths=lengths, method="plain")
        return {"ys": ys, **form.split(carry)}

    x, xs = (Entry(shape, np.float32) for shape in (("batch", 3), ("batch", "time", 3)))
    lengths = Entry(("batch",), np.int32)
    return form, (
        Program("step", step, {"x": x, **form.entries()}),
        Program("prefill", prefill, {"xs": xs, "lengths": lengths, **form.entries()}),
    )


def difference(program: Program, form: CarryForm) -> float:
    """The largest between what onnxruntime and JAX compute."""
    inputs = program.example(form.initial)
    found, wanted = load_onnx(write_onnx(program))(inputs), program.run(inputs)
    return max(
        float(np.abs(found[name].astype(float) - array.astype(float)).max(initial=0))
        for name, array in wanted.items()
    )


def main(names: list[str]) -> int:
    failed = []
    for name in names or CELLS:
        # A new layer that attends needs a memory first, and one that sees the future has no step.
        if not CELLS[name].causal or name in ATTENTION_CELLS:
            continue
        form, both = programs(CELLS[name])
        for program in both:
            try:
                largest = difference(program, form)
                outcome, good = f"{largest:.1e}", largest < 1e-5
            except InputError as error:
                outcome, good = str(error), name in WITHOUT
            print(f"{name} {program.name}: {outcome}", flush=True)
            failed += [] if good else [name]
    print(f"in ONNX: all but {failed}" if failed else f"in ONNX: all but {', '.join(WITHOUT)}")
    return len(failed)


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:])))
