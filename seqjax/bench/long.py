"""The gradient through a very long sequence: time, and peak memory of a process."""

import json
import subprocess
import sys
from typing import Any

WAYS = {
    "plain": {"method": "plain"},
    "engine": {"method": "auto"},
    "engine, checkpoints": {"method": "auto", "checkpoint_every": 4000},
    "engine, checkpoints, summed inside": {"checkpoint_every": 4000, "sum": True},
}
"""Options of the gradient of `mean(ys ** 2)`; `sum` means by `sj.scan_sum`."""

PROGRAM = """
import json, pathlib, resource, sys, time
import jax, jax.numpy as jnp
import seqjax as sj

steps, width, options = json.loads(sys.argv[1])
summed = options.pop("sum", False)
cell = sj.lstm(width)
params = cell.init(jax.random.key(0), width)
phase = lambda i: 0.37 * jax.lax.broadcasted_iota(jnp.float32, (1, steps, width), i)
xs = jax.block_until_ready(jax.jit(lambda: jnp.sin(phase(1) * (1 + phase(2))))())

def loss(params, xs):
    if summed:
        square = lambda ys: jnp.square(ys).sum()
        return sj.scan_sum(square, cell, params, xs, **options)[1] / (steps * width)
    return jnp.square(sj.scan(cell, params, xs, **options)[1]).mean()

gradient = jax.jit(jax.value_and_grad(loss)).lower(params, xs).compile()
took = []
for _ in range(3):
    start = time.perf_counter()
    value, result = jax.block_until_ready(gradient(params, xs))
    took.append(time.perf_counter() - start)
norm = float(sum(jnp.square(leaf).sum() for leaf in jax.tree.leaves(result)) ** 0.5)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
status = pathlib.Path("/proc/self/status")
if status.exists():  # There, the number above begins with what the parent process had.
    peak = int(status.read_text().split("VmHWM:")[1].split()[0]) * 1024
print(json.dumps({"seconds": min(took), "peak_bytes": peak, "loss": float(value), "norm": norm}))
"""


def long_sequence(steps: int, width: int = 64) -> dict[str, Any]:
    """A sequence of `steps` steps through an LSTM, `width` inputs and features; prints a table.

    Args:
      steps: length of the sequence.
      width: of inputs and state.

    Returns:
      For each of `WAYS` the seconds of the best of three runs, the peak resident memory of
      its process in bytes, the loss and the norm of the gradient (which must agree).
    """
    results = {}
    print(f"\ngradient through {steps:,} steps, one sequence, LSTM {width} on {width} inputs")
    for name, options in WAYS.items():
        argument = json.dumps([steps, width, options])
        run = subprocess.run(
            [sys.executable, "-c", PROGRAM, argument], capture_output=True, text=True, check=False
        )
        if run.returncode:
            print(f"  {name:<36} failed: {run.stderr.strip().splitlines()[-1:]}")
            continue
        result = results[name] = json.loads(run.stdout.splitlines()[-1])
        print(
            f"  {name:<36} {result['seconds']:>7.2f} s {result['peak_bytes'] / 1e9:>6.2f} GB   "
            f"loss {result['loss']:.6f}   gradient {result['norm']:.6f}",
            flush=True,
        )
    return results
