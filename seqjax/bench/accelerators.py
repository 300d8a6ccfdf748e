"""What programs cost on a TPU or a GPU, by the compilers of these alone: no device is needed.

The compiler for TPUs writes into the scheduled program how many cycles it expects each operation to
take; loops multiply them. Kernels have schedules of their own. XLA's compiler for GPUs tells
nothing of time, but each operation that is left is a launch. Both say how much temporary memory a
program takes. All but the seconds of compilation is the same on every machine, however busy, so
programs can be compared and pinned.
"""

import dataclasses
import math
import os
import re
import time
from collections.abc import Callable
from functools import cache, partial
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.experimental import topologies
from jax.sharding import SingleDeviceSharding

from seqjax.bench.compiled_program import CompiledProgram, Operation
from seqjax.bench.kernel_schedules import (
    is_kernel,
    kernel_cycles,
    schedule_folder,
    take_schedules,
)
from seqjax.bench.moved_bytes import MovedBytes
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

    On a TPU: `cycles` leave out waits for memory and what the `kernels` that are called take, which
    is `kernel_cycles` (NaN where it is unknown); `moved_bytes` go between the memories of the chip
    and of its core. On a GPU: `launches` count every operation as often as it runs.
    """

    temporary_bytes: int
    compile_seconds: float
    cycles: float = 0.0
    kernel_cycles: float = 0.0
    kernels: int = 0
    moved_bytes: float = 0.0
    launches: int = 0

    def seconds(self, chip: Chip) -> float:
        """The larger of the time to compute and the time to move bytes."""
        computing = (self.cycles + self.kernel_cycles) / chip.hertz
        return computing if math.isnan(computing) else max(computing, self.moved_bytes / chip.bytes)

    def ratio(self, ours: "Cost", target: Target) -> float:
        """How many times ours this one takes: launches on a GPU, seconds on a TPU."""
        if target not in CHIPS:
            return self.launches / max(ours.launches, 1)
        return self.seconds(CHIPS[target]) / (ours.seconds(CHIPS[target]) or math.nan)


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
    there = SingleDeviceSharding(devices_of(target)[0])
    shapes = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), arguments)
    lowered = jax.jit(function, in_shardings=there, out_shardings=there).lower(*shapes)
    start = time.perf_counter()
    compiled = lowered.compile()
    seconds = time.perf_counter() - start
    program = CompiledProgram(compiled.as_text() or "", open_trips)
    temporary = temporary_bytes(compiled) or 0
    if target == "h100":
        launches = int(program.total(_launches))
        return Cost(temporary_bytes=temporary, compile_seconds=seconds, launches=launches)
    bundles = take_schedules()
    return Cost(
        temporary_bytes=temporary,
        compile_seconds=seconds,
        cycles=program.total(_cycles),
        kernel_cycles=program.total(partial(kernel_cycles, bundles=bundles)),
        kernels=int(program.total(is_kernel)),
        moved_bytes=program.total(MovedBytes(program)),
    )


@cache
def devices_of(target: Target, topology: str | None = None) -> Any:
    """Devices that are not here, for their compiler.

    Args:
      target: their kind.
      topology: of TPUs, such as `"v5e:4x4"`, four hosts of four; by default the smallest.

    Raises:
      InputError: if the compiler is not installed.
    """
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
        schedule_folder()
        options = {"topology_name": topology or CHIPS[target].topology}
        package, platform = "jax[tpu]", "tpu"
    try:
        return topologies.get_topology_desc(platform=platform, **options).devices
    except Exception as reason:
        raise InputError(
            f"the compiler for {target} is not here (pip install '{package}=={jax.__version__}', "
            f"in an environment of its own): {reason}"
        ) from reason


_LAUNCHED = {
    "fusion", "custom-call", "copy", "dynamic-slice", "dynamic-update-slice", "transpose", "reduce",
    "sort", "scatter", "convert", "select", "broadcast", "concatenate", "pad", "triangular-solve",
    "cholesky",
}  # fmt: skip


def _cycles(operation: Operation) -> float:
    found = re.search(r'"estimated_cycles":"(\d+)"', operation.line)
    return float(found.group(1)) if found else 0.0


def _launches(operation: Operation) -> float:
    return float(operation.kind in _LAUNCHED)
