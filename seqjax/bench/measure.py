"""Timing: all programs in turn, many rounds, ratios within each round."""

import dataclasses
import random
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seqjax.bench.layer import Layer, Program

MODES = ("forward", "train")


@dataclasses.dataclass(frozen=True)
class Timing:
    """One library on one layer in one mode. Seconds are those of the rounds, in order."""

    library: str
    kind: str
    shape: tuple[int, int, int, int]
    dtype: str
    mode: str
    devices: int
    seconds: tuple[float, ...]
    compile_seconds: float | None
    temporary_bytes: int | None
    tokens_per_second: float
    share_of_peak: float


def agree(programs: dict[Any, Program], dtype: str) -> list[str]:
    """Checks that all compute the same: outputs, loss, gradient of the inputs.

    Returns:
      One line for each program that differs from the first; empty if all agree.
    """
    tolerance = 2e-2 if dtype == "bfloat16" else 1e-4
    wanted = None
    complaints = []
    for name, program in programs.items():
        result = program.train()
        got = (
            program.outputs_of(program.forward()),
            program.loss_of(result),
            program.gradient_of_input(result),
        )
        wanted = got if wanted is None else wanted
        for what, ours, theirs in zip(("outputs", "loss", "gradient"), wanted, got, strict=True):
            scale = max(float(np.abs(ours).max()), 1e-12)
            error = float(np.abs(np.asarray(ours) - np.asarray(theirs)).max()) / scale
            if not error <= tolerance:
                complaints.append(f"{name}: {what} differs by {error:.1e} of its size")
    return complaints


def race(runs: dict[Any, Callable[[], Any]], *, seconds: float) -> dict[Any, list[float]]:
    """The time of every program in every round; all take part in each round.

    The order changes from round to round, and each program runs once untimed before it is
    timed: a library that leaves threads spinning or caches cold would slow down the next one
    otherwise. A program that takes longer than the race has no untimed run: no cache matters there.

    Args:
      runs: by name; each starts its program and returns the results.
      seconds: about how long to go on; at least 3 rounds.
    """

    def once(run: Callable[[], Any]) -> float:
        start = time.perf_counter()
        jax.block_until_ready(run())
        return time.perf_counter() - start

    order = random.Random(0)
    took: dict[Any, list[float]] = {name: [] for name in runs}
    start = time.perf_counter()
    while len(next(iter(took.values()))) < 3 or time.perf_counter() - start < seconds:
        for name in order.sample(list(runs), len(runs)):
            if not took[name] or took[name][-1] < seconds:
                once(runs[name])
            took[name].append(once(runs[name]))
    return took


def timings(
    layer: Layer, programs: dict[tuple[str, int], Program], *, seconds: float, peak: float
) -> Iterable[Timing]:
    """Races all programs `{(library, devices): program}` of one layer, in both modes."""
    for mode in MODES:
        work = layer.flops * (3 if mode == "train" else 1)
        runs = {who: getattr(program, mode) for who, program in programs.items()}
        for (library, devices), took in race(runs, seconds=seconds).items():
            program = programs[library, devices]
            median = statistics.median(took)
            yield Timing(
                library=library,
                kind=layer.kind,
                shape=layer.shape,
                dtype=layer.dtype,
                mode=mode,
                devices=devices,
                seconds=tuple(took),
                compile_seconds=program.compile_seconds if mode == "train" else None,
                temporary_bytes=program.temporary_bytes if mode == "train" else None,
                tokens_per_second=layer.time * layer.batch / median,
                share_of_peak=work / median / peak,
            )


def ratio(ours: Timing, theirs: Timing) -> tuple[float, float, float]:
    """How many times faster we are: median over the rounds, and the quartiles."""
    return quartiles(ours.seconds, theirs.seconds)


def quartiles(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Their seconds over ours, round by round: median and quartiles."""
    values = [b / a for a, b in zip(ours, theirs, strict=True)]
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return middle, low, high


def matrix_peak(dtype: str) -> float:
    """Measured operations per second of one large product, on one device."""
    size = 2048 if jax.default_backend() == "cpu" else 8192
    matrix = jnp.ones((size, size), dtype)
    product = jax.jit(jnp.matmul)
    jax.block_until_ready(product(matrix, matrix))
    took = []
    for _ in range(5):
        start = time.perf_counter()
        jax.block_until_ready(product(matrix, matrix))
        took.append(time.perf_counter() - start)
    return 2 * size**3 / min(took)
