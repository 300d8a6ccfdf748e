"""What programs cost on a TPU or a GPU, by the compilers of these alone: no device is needed.

The compiler for TPUs writes into the scheduled program how many cycles it expects each operation to
take; loops multiply them. XLA's compiler for GPUs tells nothing of time, but each operation that
is left is a launch. Both say how much temporary memory a program takes. All but the seconds of
compilation is the same on every machine, however busy, so programs can be compared and pinned.
"""

import dataclasses
import os
import re
import time
from collections.abc import Callable
from functools import cache
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from seqjax.core.errors import InputError
from seqjax.core.types import Array
from seqjax.engines.memory_report import temporary_bytes

Target = Literal["v4", "v5e", "v6e", "h100"]


@dataclasses.dataclass(frozen=True)
class Chip:
    """Operations and bytes a second; `topology` is of the smallest machine with such chips."""

    topology: str
    hertz: float
    operations: float
    bytes: float


CHIPS: dict[str, Chip] = {
    "v4": Chip("v4:2x2x1", 1.05e9, 275e12, 1228e9),
    "v5e": Chip("v5e:2x2", 1.5e9, 197e12, 819e9),
    "v6e": Chip("v6e:2x2", 1.75e9, 918e12, 1640e9),
}
"""Of one chip, products in bfloat16."""

_H100 = """
threads_per_block_limit: 1024 threads_per_warp: 32 shared_memory_per_block: 49152
shared_memory_per_core: 233472 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
memory_bandwidth: 3352320000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98
device_memory_size: 84929347584 shared_memory_per_block_optin: 232448
cuda_compute_capability { major: 9 } registers_per_core_limit: 65536
registers_per_block_limit: 65536
"""


@dataclasses.dataclass(frozen=True)
class Cost:
    """Of one program.

    `cycles` (TPU) leave out waits for memory inside an operation and what kernels, of which
    `kernels` are called, take; `launches` (GPU) count every operation as often as it runs.
    """

    cycles: float | None
    launches: int | None
    kernels: int
    temporary_bytes: int
    compile_seconds: float

    def ratio(self, ours: "Cost") -> float:
        """How many times ours this one is; NaN where cycles leave out kernels."""
        if ours.launches and self.launches:
            return self.launches / ours.launches
        if self.kernels or ours.kernels or not ours.cycles:
            return float("nan")
        return (self.cycles or 0.0) / ours.cycles


def platform_of(target: Target) -> str:
    """What `jax.export` calls the platform."""
    return "cuda" if target == "h100" else "tpu"


def train_cost(
    run: Callable[[Any, Array], Array],
    params: Any,
    xs: Any,
    target: Target,
    *,
    open_trips: int | None = None,
) -> Cost:
    """Of the value and the gradients of `mean(run(params, xs) ** 2)`, weights and inputs.

    Args:
      run: `(params, xs) -> ys`.
      params, xs: arrays, or their shapes.
      target: the chip.
      open_trips: as for `cost`.
    """

    def loss(params, xs):
        return jnp.mean(jnp.square(run(params, xs).astype(jnp.float32)))

    gradient = jax.value_and_grad(loss, (0, 1))
    return cost(gradient, params, xs, target=target, open_trips=open_trips)


def cost(
    function: Callable[..., Any], *arguments: Any, target: Target, open_trips: int | None = None
) -> Cost:
    """Of a function of arrays, or of their shapes, on one chip.

    Args:
      function, *arguments: what is called with what.
      target: the chip.
      open_trips: how often loops run that end where numbers tell, such as the rounds of Newton's
        method; by default as often as they can.

    Raises:
      InputError: if the compiler is not installed.
    """
    there = SingleDeviceSharding(_devices(target)[0])
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    lowered = jax.jit(function, in_shardings=there, out_shardings=there).lower(*shapes)
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    program = CompiledProgram(compiled.as_text() or "", open_trips)
    on_gpu = target == "h100"
    return Cost(
        cycles=None if on_gpu else program.total(_cycles),
        launches=int(program.total(_launches)) if on_gpu else None,
        kernels=int(program.total(_kernels)),
        temporary_bytes=temporary_bytes(compiled) or 0,
        compile_seconds=seconds,
    )


@cache
def _devices(target: Target) -> Any:
    if target == "h100":
        described = f'gpu_device_info {{ {_H100} }} platform_name: "CUDA"'
        options: dict[str, Any] = {"topology": "1x1x1", "target_config": described}
        package, platform = "jax[cuda12]", "cuda"
    else:
        # A compiler without chips; several processes may hold it.
        os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
        os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-4")
        os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
        os.environ.setdefault("TPU_WORKER_ID", "0")
        os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "true")
        options = {"topology_name": CHIPS[target].topology}
        package, platform = "jax[tpu]", "tpu"
    try:
        return topologies.get_topology_desc(platform=platform, **options).devices
    except Exception as reason:
        raise InputError(
            f"the compiler for {target} is not here (pip install '{package}=={jax.__version__}', "
            f"in an environment of its own): {reason}"
        ) from reason


class CompiledProgram:
    """A compiled program as text: its computations, and how often each runs.

    Args:
      text: the program.
      open_trips: as for `cost`.
    """

    def __init__(self, text: str, open_trips: int | None = None):
        self.open_trips = open_trips
        self.computations: dict[str, list[str]] = {}
        self.entry, name = "", ""
        for line in text.splitlines():
            begins = re.match(r"(ENTRY )?%?([\w.\-<>]+) \(.*\) -> .* \{$", line)
            if begins:
                name = begins.group(2)
                self.computations[name] = []
                self.entry = name if begins.group(1) else self.entry
            elif line == "}":
                name = ""
            elif name:
                self.computations[name].append(line)

    def total(self, of_line: Callable[[str], float], name: str | None = None) -> float:
        """The sum over all operations, as often as they run; of branches the dearest counts."""
        total = 0.0
        for line in self.computations.get(name or self.entry, ()):
            total += of_line(line)
            loop = re.search(r" while\(.*condition=%?([\w.\-]+), body=%?([\w.\-]+)", line)
            if loop:
                total += self.trips(line, loop.group(1)) * self.total(of_line, loop.group(2))
            if " conditional(" in line:
                branches = re.search(r"branch_computations=\{([^}]*)\}", line)
                names = branches.group(1) if branches else " ".join(_BRANCHES.findall(line))
                found = re.findall(r"[\w.\-]+", names)
                total += max((self.total(of_line, branch) for branch in found), default=0.0)
            if called := re.search(r" call\(.*to_apply=%?([\w.\-]+)", line):
                total += self.total(of_line, called.group(1))
        return total

    def trips(self, line: str, condition: str) -> int:
        """How often a loop runs: as the compiler says, or as its condition compares."""
        known = re.search(r'"known_trip_count":\{"n":"(\d+)"', line)
        if known:
            return int(known.group(1))
        if self.open_trips is not None:
            return self.open_trips
        lines = self.computations.get(condition, [])
        constants = dict(
            re.findall(r"%([\w.\-]+) = s32\[\]\S* constant\((-?\d+)\)", "\n".join(lines))
        )
        return max((abs(int(value)) for value in constants.values()), default=1)


_BRANCHES = re.compile(r"(?:true|false)_computation=%?([\w.\-]+)")
_LAUNCHED = re.compile(
    r" (fusion|custom-call|copy|dynamic-slice|dynamic-update-slice|transpose|reduce|sort|scatter|"
    r"convert|select|broadcast|concatenate|pad|triangular-solve|cholesky)\("
)


def _cycles(line: str) -> float:
    found = re.search(r'"estimated_cycles":"(\d+)"', line)
    return float(found.group(1)) if found else 0.0


def _launches(line: str) -> float:
    return float(bool(_LAUNCHED.search(line)))


def _kernels(line: str) -> float:
    return float('custom_call_target="tpu_custom_call"' in line)
