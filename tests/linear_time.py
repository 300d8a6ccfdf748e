"""`python -m tests.linear_time`: a scan of eight times the length takes about eight times as long.

At batch size 1 and one feature, where XLA has copied all stacked outputs in every step. What is
measured is CPU time, which other programs hardly change; a quadratic scan takes 64 times as long.
"""

import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp

import seqjax as sj

LENGTH, TIMES, LIMIT = 32768, 8, 24
CELLS = (
    (sj.gru(1), "plain"),
    (sj.gru(1), "auto"),
    (sj.lstm(1), "auto"),
    (sj.minimal_gru(1), "plain"),
    (sj.minimal_gru(1), "auto"),
)


def seconds(run: Callable, *arguments) -> float:
    """The CPU time of a run, from so many that the clock is fine enough."""
    jax.block_until_ready(run(*arguments))
    began, runs = time.process_time(), 0
    while (took := time.process_time() - began) < 0.2:
        jax.block_until_ready(run(*arguments))
        runs += 1
    return took / runs


def measure(cell: sj.Cell, method: str, length: int) -> tuple[float, float]:
    """Seconds of the scan and of its gradient."""
    params = cell.init(jax.random.key(0), 1)
    xs = jax.random.normal(jax.random.key(1), (1, length, 1))

    def outputs(params, xs):
        return sj.scan(cell, params, xs, method=method)[1]

    def loss(params, xs):
        return jnp.square(outputs(params, xs)).mean()

    return seconds(jax.jit(outputs), params, xs), seconds(jax.jit(jax.grad(loss)), params, xs)


def main() -> int:
    """Prints a table; 1 if anything takes longer than its length explains."""
    print(
        f"jax {jax.__version__}: milliseconds of {LENGTH} steps, and times that of {TIMES} as many"
    )
    print("| cell, method | scan | | gradient | |\n|---|---|---|---|---|")
    slow = False
    for cell, method in CELLS:
        short = measure(cell, method, LENGTH)
        ratios = [b / a for a, b in zip(short, measure(cell, method, TIMES * LENGTH), strict=True)]
        slow |= max(ratios) > LIMIT
        columns = (f"{1000 * s:.1f} | {r:.1f}" for s, r in zip(short, ratios, strict=True))
        print(f"| `{cell}`, {method} | {' | '.join(columns)} |", flush=True)
    return int(slow)


if __name__ == "__main__":
    sys.exit(main())
