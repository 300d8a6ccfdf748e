"""Programs as files: StableHLO by `jax.export`, ONNX by the translation here."""

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import export

from seqjax.core.errors import InputError
from seqjax.core.extras import extra_module
from seqjax.export.onnx_graph import EXTRA, NoOnnxFormError
from seqjax.export.onnx_translation import to_onnx
from seqjax.export.portable import Program

PLATFORMS = ("cpu", "cuda", "tpu")
"""That one file of StableHLO is for."""

LARGEST = 2**31 - 1
"""Bytes of a file of ONNX, which is one protocol buffer."""

Named = Mapping[str, np.ndarray]


class Format(NamedTuple):
    """How a program becomes bytes, and how these run: `(bytes) -> (arrays) -> arrays`."""

    suffix: str
    write: Callable[[Program], bytes]
    load: Callable[[bytes], Callable[[Named], dict[str, np.ndarray]]]


def outputs_of(program: Program) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes and dtypes of what a program returns, by name."""
    return jax.eval_shape(program.call, program.specs())


def write_stablehlo(program: Program) -> bytes:
    """The program for all `PLATFORMS`, as `jax.export.deserialize` reads it."""
    extra_module("flatbuffers", EXTRA)
    exported = export.export(jax.jit(program.call), platforms=PLATFORMS)(program.specs())
    return bytes(exported.serialize())


def load_stablehlo(content: bytes) -> Callable[[Named], dict[str, np.ndarray]]:
    """The program of a file."""
    call = jax.jit(export.deserialize(bytearray(content)).call)
    return lambda arrays: jax.tree.map(np.asarray, call(dict(arrays)))


def write_onnx(program: Program) -> bytes:
    """The program as a model of ONNX.

    Raises:
      NoOnnxFormError: if an operation has no form in ONNX.
      InputError: if it is larger than a file of ONNX can be.
    """
    traced, shapes = jax.make_jaxpr(program.call, return_shape=True)(program.specs())
    # Dicts are flattened in the order of their sorted keys.
    model = to_onnx(traced, sorted(program.inputs), sorted(shapes), program.name)
    if model.ByteSize() > LARGEST:
        raise InputError(
            f"{program.name}: {model.ByteSize():,} bytes are more than a file of ONNX holds; "
            "--format stablehlo has no such bound."
        )
    return model.SerializeToString()


def load_onnx(content: bytes, threads: int = 0) -> Callable[[Named], dict[str, np.ndarray]]:
    """The program of a file, on the CPU, with so many threads; 0 leaves it to onnxruntime."""
    runtime: Any = extra_module("onnxruntime", EXTRA)
    options = runtime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 3, threads
    session = runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda arrays: dict(zip(names, session.run(None, dict(arrays)), strict=True))


FORMATS = {
    "stablehlo": Format("stablehlo", write_stablehlo, load_stablehlo),
    "onnx": Format("onnx", write_onnx, load_onnx),
}


def explained(error: NoOnnxFormError, program: Program, model: Any) -> InputError:
    """The refusal of a program, with the model that has it."""
    cell = re.sub(r" at 0x[0-9a-f]+", "", str(model.rnn.cell))
    return InputError(
        f"{program.name} cannot be exported to ONNX: {error}. The model is a "
        f"{type(model).__name__} around {cell}; --format stablehlo takes every operation."
    )
