"""How the processes of a run find each other."""

import atexit
import dataclasses
import os
from typing import Any

import jax
from jax._src import distributed
from jax._src.clusters import ClusterEnv

from seqjax.core.errors import InputError
from seqjax.train.bounds import NonNegativeInt, PositiveInt, check_bounds
from seqjax.train.coordinator import HEARTBEAT, start_coordinator
from seqjax.train.joining import join
from seqjax.train.lost_processes import Watch

watches: list[Watch] = []
"""The watch over the other processes, if there are any."""


@dataclasses.dataclass(frozen=True)
class ProcessesConfig:
    """Several processes, each started with the same command."""

    distributed: bool = False
    """Share the work among the processes that SLURM, Open MPI, Kubernetes or a TPU pod has
    started, or those of the three options below."""
    coordinator: str | None = None
    """HOST:PORT of process 0, with a free port, the same in all processes."""
    processes: PositiveInt | None = None
    """Number of processes; without --process, all of them are started on this machine."""
    process: NonNegativeInt | None = None
    """Number of this process, from 0."""
    join_timeout: PositiveInt = 300
    """Seconds in which all processes must have started."""
    restarts: NonNegativeInt = 0
    """Continue training at most this often after a process has ended or hangs."""

    def __post_init__(self):
        check_bounds(self)
        given = (self.coordinator, self.processes, self.process)
        if not self.distributed:
            if given != (None, None, None):
                raise InputError("--coordinator, --processes and --process need --distributed.")
            return
        incomplete = self.processes is None or (self.process is None) != (self.coordinator is None)
        if given != (None, None, None) and incomplete:
            raise InputError(
                "--coordinator, --processes and --process go together: give all, or --processes "
                "alone to start all of them on this machine."
            )
        if self.coordinator is not None and not self.coordinator.rpartition(":")[2].isdigit():
            raise InputError(
                f"--coordinator: expected HOST:PORT such as node0:1234, got {self.coordinator}."
            )
        if self.process is not None and self.process >= (self.processes or 0):
            raise InputError(
                f"--process {self.process}: {self.processes} processes are numbered from 0 to "
                f"{(self.processes or 0) - 1}."
            )

    @property
    def local(self) -> bool:
        """Whether all processes are to be started on this machine."""
        return self.processes is not None and self.process is None

    @property
    def supervised(self) -> bool:
        """Whether this process starts others, and does not train itself."""
        return self.restarts > 0 or self.local


def connect(config: ProcessesConfig) -> None:
    """Joins the other processes. Must run before JAX touches a device.

    Raises:
      InputError: if they cannot be found, or do not come.
    """
    if not config.distributed or is_connected():
        return
    coordinator, processes, process = _found(config)
    end_service = lambda: None  # noqa: E731
    if process == 0:
        own = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS", coordinator)
        port = int(own.rpartition(":")[2])
        end_service = start_coordinator(port, processes, config.join_timeout)
    joined = join(coordinator, processes, process, config.join_timeout)
    # Its handler of SIGTERM would replace ours.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        coordinator,
        processes,
        process,
        heartbeat_timeout_seconds=HEARTBEAT,
        # The service that JAX starts in process 0 has nothing to do.
        coordinator_bind_address="127.0.0.1:0" if process == 0 else None,
    )
    joined()
    watch = Watch(client(), process_number())
    watches.append(watch)

    def disconnect() -> None:
        watch.done()
        jax.distributed.shutdown()
        end_service()

    atexit.register(disconnect)


def _found(config: ProcessesConfig) -> tuple[str, int, int]:
    """The address of process 0, the number of processes and that of this one, from the options or
    from what has started them."""
    given = config.coordinator, config.processes, config.process
    if None in given:
        address = config.coordinator or os.environ.get("JAX_COORDINATOR_ADDRESS")
        given = ClusterEnv.auto_detect_unset_distributed_params(
            address, config.processes, config.process, None, None, config.join_timeout
        )[:3]
    coordinator, processes, process = given
    if coordinator is None or processes is None or process is None:
        raise InputError(
            "--distributed: no SLURM, Open MPI, Kubernetes or TPU pod was found. Give "
            "--coordinator HOST:PORT --processes N --process I."
        )
    return coordinator, processes, process


def is_connected() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized()


def client() -> Any:
    """That of JAX's coordination service; it keeps what processes tell each other."""
    return distributed.global_state.client


def process_number() -> int:
    """The number of this process; needs no device."""
    return distributed.global_state.process_id


def process_count() -> int:
    """How many processes there are; needs no device."""
    return distributed.global_state.num_processes
