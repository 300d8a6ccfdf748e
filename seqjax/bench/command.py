"""`seqjax bench`."""

import dataclasses
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import jax

from seqjax.bench import accelerator_report, exported_steps, families, text_generation
from seqjax.bench.accelerator_report import accelerator
from seqjax.bench.diagnostics import diagnostics
from seqjax.bench.layer import Layer
from seqjax.bench.libraries import LIBRARIES
from seqjax.bench.long import long_sequence
from seqjax.bench.measure import Timing, agree, matrix_peak, timings
from seqjax.bench.report import machine, save, summary, table
from seqjax.core.errors import InputError
from seqjax.train.bounds import NonNegativeInt, PositiveFloat, PositiveInt, check_bounds

SHAPES = (
    (64, 8, 32, 64),
    (200, 16, 32, 64),
    (1000, 1, 64, 128),
    (256, 32, 128, 256),
    (512, 48, 256, 384),
)
"""Time, batch, inputs, features: tiny, small, long, wide, wider."""


@dataclasses.dataclass(frozen=True)
class BenchConfig:
    """Times one recurrent layer, forward and in training, in every library installed here, or
    with --cells the cells of seqjax beside their own step loop.

    All libraries get the same weights and inputs, must compute the same numbers, and run in turn
    in one process. JAX libraries run on one device and, if there are more,
    with the batch split over all of them under jit; the better time of each counts. PyTorch
    uses all cores.
    """

    quick: bool = False
    """An LSTM in float32 on the three smaller shapes: under two minutes."""
    kinds: tuple[Literal["lstm", "gru"], ...] = ("lstm", "gru")
    """Which cells."""
    dtypes: tuple[Literal["float32", "bfloat16"], ...] = ("float32",)
    """Which dtypes; bfloat16 is very slow on most CPUs."""
    shapes: tuple[str, ...] = ()
    """Time,batch,inputs,features such as 256,32,128,256; by default five from tiny to wide."""
    libraries: tuple[str, ...] = ()
    """Only these, besides seqjax; see the list the command prints."""
    seconds: PositiveFloat = 5.0
    """About how long each race lasts."""
    tpu: Literal["", "v4", "v5e", "v6e"] = ""
    """Instead: what a train step costs on such a chip by the compiler of `jax[tpu]`, which needs no
    TPU: cycles, temporary memory, seconds of compilation. On a TPU everything is timed as well."""
    gpu: bool = False
    """The same for an H100 by the compiler of `jax[cuda12]`: launches in place of cycles."""
    long: NonNegativeInt = 0
    """Also the gradient through a sequence of this many steps, such as 1000000, each way in a
    process of its own: time and peak memory."""
    cells: tuple[str, ...] = ()
    """Instead: these cells (or `all`), one device, every method beside the plain loop over their
    steps, in training and in memory; and how fast each generates."""
    exported: bool = False
    """With --cells: instead microseconds a step by onnxruntime, exported to ONNX, beside JAX."""
    text: NonNegativeInt = 0
    """Instead: tokens a second of language models of over 100 million parameters with random
    weights that write this many, such as 64, beside transformers and rwkv (pip install both)."""
    diagnostics: bool = False
    """With --cells: instead what gradient flow and gates of a train step cost, beside the step."""
    published: bool = False
    """With --cells: also published PyTorch implementations of them, where one is installed; they
    use all cores."""
    features: PositiveInt = 128
    """Width of these cells."""
    lengths: tuple[str, ...] = ()
    """Time,batch of the inputs that these cells are trained on; by default 512,8 4096,1 32768,1."""
    methods: tuple[str, ...] = ()
    """Only these, besides the plain loop; by default every method that a cell supports."""
    generate: PositiveInt = 100_000
    """Tokens that each of these cells generates."""
    out: Path = Path("bench-results")
    """Folder for bench.json and bench.png, families.json and families.png, or v5e.json."""

    def __post_init__(self):
        check_bounds(self)


def bench(config: BenchConfig) -> int:
    """Runs the benchmark and returns the exit status."""
    here = machine()
    versions = ", ".join(f"{name} {version}" for name, version in here["versions"].items())
    print(f"{here['device']}, {here['cores']} cores, {here['devices']} {here['platform']} devices")
    print(f"Python {here['python']}, {versions}")
    unknown = set(config.libraries) - set(LIBRARIES)
    if unknown:
        raise InputError(f"--libraries: {sorted(unknown)} are none of {list(LIBRARIES)}.")
    if config.tpu and config.gpu:
        raise InputError("--tpu and --gpu are for different machines: give one of them.")
    for name in (
        "exported",
        "diagnostics",
        "published",
        "features",
        "lengths",
        "methods",
        "generate",
    ):
        if getattr(config, name) != getattr(BenchConfig, name) and not config.cells:
            raise InputError(f"--{name} goes with --cells: `seqjax bench --cells lstm gru ...`.")
    if config.text:
        return _show(text_generation.report(config.text))
    if config.tpu or config.gpu:
        _compiled(config)
        if here["platform"] != ("tpu" if config.tpu else "gpu"):
            return 0
    if config.cells:
        return _cells(config, here)
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
                    raise InputError(
                        "libraries differ in what they compute:\n" + "\n".join(complaints)
                    )
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


def _show(lines: Iterable[str]) -> int:
    for line in lines:
        print(line, flush=True)
    return 0


def _compiled(config: BenchConfig) -> None:
    given = [(_shape(text), dtype) for text in config.shapes for dtype in config.dtypes]
    lengths = tuple(_numbers("--lengths", text, "time,batch") for text in config.lengths)
    accelerator(
        "h100" if config.gpu else config.tpu or "v5e",
        kinds=config.kinds[:1] if config.quick else config.kinds,
        shapes=given or accelerator_report.SHAPES[: 1 if config.quick else None],
        only=config.libraries,
        cells=families.chosen(config.cells),
        lengths=lengths or accelerator_report.LENGTHS,
        features=config.features,
        dtypes=config.dtypes,
        out=config.out,
    )


def _cells(config: BenchConfig, here: dict) -> int:
    if config.exported:
        return _show(exported_steps.report(families.chosen(config.cells), config.features))
    if config.diagnostics:
        diagnostics(families.chosen(config.cells), features=config.features, seconds=config.seconds)
        return 0
    lengths = tuple(_numbers("--lengths", text, "time,batch") for text in config.lengths)
    families.families(
        families.chosen(config.cells),
        features=config.features,
        shapes=lengths or families.SHAPES[: 1 if config.quick else None],
        methods=families.known(config.methods),
        steps=min(config.generate, 2000) if config.quick else config.generate,
        seconds=min(config.seconds, 0.5) if config.quick else config.seconds,
        published=config.published,
        out=config.out,
        extra={"machine": here},
    )
    return 0


def _programs(layer: Layer, config: BenchConfig) -> dict:
    devices = math.gcd(len(jax.devices()), layer.batch)
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
    time, batch, inputs, features = _numbers("--shapes", text, "time,batch,inputs,features")
    return time, batch, inputs, features


def _numbers(option: str, text: str, names: str) -> tuple[int, ...]:
    wanted = names.count(",") + 1
    try:
        found = tuple(map(int, text.split(",")))
    except ValueError:
        found = ()
    if len(found) != wanted or min(found) < 1:
        raise InputError(f"{option}: expected {wanted} whole numbers {names}, got {text!r}.")
    return found
