"""Whole train steps of `seqjax train lm`, compiled for several TPUs: every loop over time is a
kernel, and the gradient is summed over the devices once.

    python -m tests.compiled_steps [TOPOLOGY ...]

compiles for four of a v5e; for two hosts of four it is `v5e:2x4`, for four hosts `v5e:4x4`.
It needs `jax[tpu]` and the extra `train`, in an environment of its own; no TPU.
"""

import itertools
import re
import sys
from typing import Any
from unittest.mock import patch

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding

from seqjax.bench.accelerators import devices_of
from seqjax.data.documents import Document
from seqjax.engines.memory_report import temporary_bytes
from seqjax.train.config import OptimizerConfig
from seqjax.train.devices import AXIS, make_mesh
from seqjax.train.model import build_optimizer
from seqjax.train.recipe import LanguageModelConfig
from seqjax.train.step import make_train_step, start, state_specs
from seqjax.train.tasks import lm
from seqjax.train.texts import TextConfig, Texts

CELLS = {
    "lstm": "bfloat16",
    "minimal_gru": "float32",
    "mlstm": "bfloat16",
}
"""Gates, a diagonal state, a memory; and what the model computes in."""
STREAMS, TIME, FEATURES, LAYERS = 16, 64, 256, 2
DOCUMENTS = [
    Document(str(i), f"document {i} is about {'abcdefgh'[i % 8] * 40}. ") for i in range(64)
]


def compile_step(cell: str, dtype: str, topology: str) -> jax.stages.Compiled:
    """The step as all devices run it, of shapes alone."""
    config = lm.LanguageConfig(
        model=LanguageModelConfig(
            cell=cell, features=FEATURES, embedding=FEATURES, layers=LAYERS, dropout=0.1
        ),
        data=TextConfig(time=TIME),
        batch=STREAMS,
    )
    texts = Texts("documents", DOCUMENTS, DOCUMENTS)
    with patch.object(lm, "find_texts", lambda config, log: texts):
        task = lm.LanguageTask(config, lambda line: None)
    optimizer = build_optimizer(OptimizerConfig(), 100)
    here = make_mesh(STREAMS, 1)
    state = start(task, optimizer, seed=0, dtype=dtype, mesh=here)
    batch = next(task.batches(0, here))
    mesh = Mesh(np.array(devices_of("v5e", topology)), (AXIS,), axis_types=(AxisType.Auto,))

    def there(spec, leaf):
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=NamedSharding(mesh, spec))

    shapes = jax.tree.map(there, state_specs(state, mesh, sharded=False), state)
    rows = jax.tree.map(lambda leaf: there(jax.P(AXIS), leaf), batch)
    # What the library asks to know where it runs.
    with patch.object(jax, "default_backend", lambda: "tpu"):
        step: Any = make_train_step(task, optimizer, mesh, seed=0, dtype=dtype)
        return step.lower(shapes, rows).compile()


def main(topologies: list[str]) -> int:
    """How many steps have a loop that is no kernel, or more than one sum over devices."""
    failed = 0
    for topology, (cell, dtype) in itertools.product(topologies, CELLS.items()):
        compiled = compile_step(cell, dtype, topology)
        program = compiled.as_text() or ""
        kernels = program.count('custom_call_target="tpu_custom_call"')
        loops = len(re.findall(r" while\(", program))
        sums = len(re.findall(r" all-reduce(?:-start)?\(", program))
        good = kernels == 2 * LAYERS and not loops and sums == 1
        failed += not good
        megabytes = (temporary_bytes(compiled) or 0) / 1e6
        print(
            f"{topology} {cell:<12} {dtype:<9} {kernels} kernels, {loops} loops, "
            f"{sums} all-reduce, {megabytes:.1f} MB{'' if good else '  WRONG'}",
            flush=True,
        )
    return failed


if __name__ == "__main__":
    sys.exit(bool(main(sys.argv[1:] or ["v5e:2x2"])))
