"""How long a published model takes to load, and how much memory at most."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import importlib, json, pathlib, sys, time
import jax
import seqjax as sj

path = pathlib.Path(sys.argv[1])
importlib.import_module("torch" if path.suffix == ".pth" else "safetensors")
jax.block_until_ready(jax.numpy.zeros(3))
status = pathlib.Path("/proc/self/status")
memory = lambda name: int(status.read_text().split(name)[1].split()[0]) * 1024
before = memory("VmRSS:")
begun = time.perf_counter()
jax.block_until_ready(jax.tree.leaves(sj.interop.load(path).model))
print(json.dumps([time.perf_counter() - begun, memory("VmHWM:") - before]))
"""


@dataclasses.dataclass(frozen=True)
class Loading:
    """Of the weights in a file, in a process of its own.

    Args:
      file_bytes: its size.
      seconds: from the call on; packages are imported before.
      peak_bytes: how far memory grew at most, the file included, which is mapped.
    """

    file_bytes: int
    seconds: float
    peak_bytes: int

    @property
    def times_file(self) -> float:
        """The growth of memory over the size of the file."""
        return self.peak_bytes / self.file_bytes


def loading(path: Path) -> Loading | None:
    """Loads a folder or a file; None where `/proc` does not tell the memory of a process."""
    if not Path("/proc/self/status").exists():
        return None
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], capture_output=True, text=True, check=True
    )
    seconds, peak = json.loads(run.stdout.splitlines()[-1])
    files = [path] if path.is_file() else path.glob("*.safetensors")
    return Loading(sum(file.stat().st_size for file in files), seconds, peak)
