"""`seqjax bench`."""

import dataclasses
import math
from pathlib import Path
from typing import Literal

import jax

from seqjax.bench.layer import Layer
from seqjax.bench.libraries import LIBRARIES
from seqjax.bench.long import long_sequence
from seqjax.bench.measure import Timing, agree, matrix_peak, timings
from seqjax.bench.report import machine, save, summary, table
from seqjax.core.errors import InputError

SHAPES = (
    (64, 8, 32, 64),
    (200, 16, 32, 64),
    (1000, 1, 64, 128),
    (256, 32, 128, 256),
    (512, 48, 256, 384),
)
"""Time, rows, inputs, features: tiny, small, long, wide, wider."""


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Times one recurrent layer, forward and in training, in every library installed here.

    Everyone gets the same weights and inputs, must compute the same numbers, and then runs in
    turn with the others in one process. JAX libraries run on one device and, if there are more,
    with the rows split over all of them under jit; each is judged by its better time. PyTorch
    uses all cores.
    """

    quick: bool = False
    """An LSTM in float32 on the three smaller shapes: under two minutes."""
    kinds: tuple[Literal["lstm", "gru"], ...] = ("lstm", "gru")
    """Which cells."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Which dtypes; bfloat16 is very slow on most CPUs."""
    shapes: tuple[str, ...] = ()
    """Time,rows,inputs,features such as 256,32,128,256; by default five from tiny to wide."""
    libraries: tuple[str, ...] = ()
    """Only these, besides seqjax; see the list the command prints."""
    seconds: float = 5.0
    """About how long each race lasts."""
    long: int = 0
    """Also the gradient through a sequence of so many steps, such as 1000000, each way in a
    process of its own: time and peak memory."""
    out: Path = Path("bench-results")
    """Folder for bench.json and bench.png."""


def bench(config: BenchConfig) -> int:
    """Runs the benchmark and returns the exit status."""
    here = machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    print(f"{here['device']}, {here['cores']} cores, {here['devices']} {here['platform']} devices")
    print(f"Python {here['python']}, {versions}")
    unknown = set(config.libraries) - set(LIBRARIES)
    if unknown:
        raise InputError(f"--libraries: {sorted(unknown)} are none of {list(LIBRARIES)}.")
    shapes = tuple(map(_shape, config.shapes)) or (SHAPES[:3] if config.quick else SHAPES)
    kinds = config.kinds[:1] if config.quick else config.kinds
    seconds = min(config.seconds, 3.0) if config.quick else config.seconds
    dtypes = config.dtypes[:1] if config.quick else config.dtypes
    results: list[Timing] = []
    for dtype in dtypes:
        peak = matrix_peak(dtype)
        print(f"peak of a {dtype} matrix product: {peak / 1e9:,.0f} GFLOP/s")
        for shape in shapes:
            for kind in kinds:
                layer = Layer.make(kind, *shape, dtype)
                programs = _programs(layer, config)
                complaints = agree({f"{n} on {d}": p for (n, d), p in programs.items()}, dtype)
                if complaints:
                    raise InputError("not everyone computes the same:\n" + "\n".join(complaints))
                new = list(timings(layer, programs, seconds=seconds, peak=peak))
                print(table(new), flush=True)
                results += new
                jax.clear_caches()
    print(f"\n{summary(results)}")
    extra: dict = {"machine": here}
    if config.long:
        extra["long"] = long_sequence(config.long)
    print(f"\nsaved: {save(results, config.out, extra)}")
    return 0


def _programs(layer: Layer, config: BenchConfig) -> dict:
    devices = math.gcd(len(jax.devices()), layer.rows)
    found = {}
    for name, build in LIBRARIES.items():
        if config.libraries and name not in ("seqjax", *config.libraries):
            continue
        for count in {1: None, devices: None}:
            if count > 1 and name in ("torch", "cudnn"):
                continue
            try:
                found[name, count] = build(layer, count)
            except ImportError as reason:
                if count == 1:
                    print(f"  without {name}: {reason}")
                break
    return found


def _shape(text: str) -> tuple[int, int, int, int]:
    try:
        time, rows, inputs, features = map(int, text.split(","))
    except ValueError:
        time = rows = inputs = features = 0
    if min(time, rows, inputs, features) < 1:
        raise InputError(
            f"--shapes: expected four whole numbers time,rows,inputs,features, got {text!r}."
        )
    return time, rows, inputs, features
