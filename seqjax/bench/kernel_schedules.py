"""How many cycles kernels take on a TPU, by the schedules that its compiler writes down.

For the program around a kernel the compiler estimates cycles; of a kernel it tells nothing there.
But it writes the schedule of every operation into files if it is asked to: bundles of instructions,
of which a core starts one a cycle.
"""

import atexit
import os
import re
import shutil
import tempfile
from functools import cache
from pathlib import Path

from seqjax.bench.compiled_program import Operation


@cache
def schedule_folder() -> Path:
    """Where the compiler writes schedules: it reads its options when it is loaded, which must be
    after the first call."""
    folder = Path(tempfile.mkdtemp(prefix="schedules-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    options = (
        os.environ.get("LIBTPU_INIT_ARGS", ""),
        f"--xla_jf_dump_to={folder} --xla_jf_dump_llo_text=true",
        "--xla_jf_dump_llo_pass_label_regex=.*final_bundles.*",
    )
    os.environ["LIBTPU_INIT_ARGS"] = " ".join(filter(None, options))
    return folder


def take_schedules() -> dict[str, int]:
    """The bundles of every operation compiled since the last call."""
    found = {}
    for path in sorted(schedule_folder().iterdir()):
        name = re.fullmatch(r"\d+-(.+)-\d+-schedule-analysis_final_bundles\.txt", path.name)
        if name:
            bundles = re.search(r"total scheduled bundles:\s+(\d+)", path.read_text())
            found[name.group(1)] = int(bundles.group(1)) if bundles else 0
        path.unlink()
    return found


def is_kernel(operation: Operation) -> bool:
    """Whether it is a kernel of Pallas."""
    return 'custom_call_target="tpu_custom_call"' in operation.line


def kernel_cycles(operation: Operation, bundles: dict[str, int]) -> float:
    """The cycles of a kernel: its bundles, once for each step of the loop that it says it is.

    What it does once a block of steps is counted in every step, so this is a little too much. Of a
    kernel whose steps, or whose schedule, are unknown it is NaN.
    """
    if not is_kernel(operation):
        return 0.0
    steps = re.search(r'kernel_metadata=\{.*?steps"?[:=]\s*"?(\d+)', operation.line)
    if not steps or operation.name not in bundles:
        return float("nan")
    return float(int(steps.group(1)) * bundles[operation.name])
