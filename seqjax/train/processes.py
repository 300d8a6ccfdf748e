"""Several processes that work on one run, on one host or on many.

All run the same command, and the same program on devices that they share. The first one writes and
prints. What they must agree on goes through the key-value store of JAX's coordination service.
"""

import atexit
import dataclasses
import itertools
import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
from jax._src import distributed

from seqjax.core.errors import InputError
from seqjax.train.agreed_stop import AgreedStop
from seqjax.train.bounds import NonNegativeInt, PositiveInt, check_bounds
from seqjax.train.coordinator import HEARTBEAT, start_coordinator
from seqjax.train.lost_processes import ENDED_WITH_OTHERS, Watch
from seqjax.train.signals import StopSignals

Result = TypeVar("Result")

CONNECTION = 300
"""Seconds in which all processes must have started."""


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
    bind, end_service = None, lambda: None
    if config.coordinator is not None and config.process == 0:
        end_service = start_coordinator(
            int(config.coordinator.rpartition(":")[2]), config.processes or 1
        )
        # The service that JAX starts in this process has nothing to do.
        bind = "127.0.0.1:0"
    # Its handler of SIGTERM would replace ours.
    jax.config.update("jax_enable_preemption_service", False)
    # JAX, which waits longer, would abort without a word of use.
    patience = threading.Timer(CONNECTION, _give_up)
    patience.start()
    try:
        jax.distributed.initialize(
            config.coordinator,
            config.processes,
            config.process,
            initialization_timeout=2 * CONNECTION,
            heartbeat_timeout_seconds=HEARTBEAT,
            coordinator_bind_address=bind,
        )
    except ValueError as error:
        raise InputError(
            f"--distributed: no SLURM, Open MPI, Kubernetes or TPU pod was found ({error}). Give "
            "--coordinator HOST:PORT --processes N --process I."
        ) from None
    finally:
        patience.cancel()
    watch = Watch(_client(), process_number())
    _watches.append(watch)

    def disconnect() -> None:
        watch.done()
        jax.distributed.shutdown()
        end_service()

    atexit.register(disconnect)


def _give_up() -> None:
    """Ends this process where the others do not come."""
    address = distributed.global_state.coordinator_address or ""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
        why = f"process 0 answers at {address}, but not all of the others have started"
    except OSError as error:
        why = f"process 0 does not answer at {address} ({error})"
    print(f"error: --distributed: after {CONNECTION} seconds {why}.", file=sys.stderr, flush=True)
    os._exit(ENDED_WITH_OTHERS)


_watches: list[Watch] = []


def _client() -> Any:
    return distributed.global_state.client


def begins(step: int) -> None:
    """Tells the other processes which step this one begins."""
    for watch in _watches:
        watch.begins(step)


def why_others() -> str | None:
    """Which other process is to blame for an error of this one; None if none is."""
    return next((watch.why() for watch in _watches), None)


def leave(status: int, how: str) -> None:
    """Ends this process with a status if there are others, who are told how it ended.

    They would be waited for in vain in the usual way out.
    """
    for watch in _watches:
        watch.failed(how)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def stop_signals() -> StopSignals:
    """The signals that stop a run, in all of its processes after the same step."""
    if not is_connected():
        return StopSignals()
    return AgreedStop(_client(), process_number(), distributed.global_state.num_processes)


def is_connected() -> bool:
    """Whether there are other processes."""
    return jax.distributed.is_initialized()


def process_number() -> int:
    """The number of this process; needs no device."""
    return distributed.global_state.process_id


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return process_number() == 0


def say(line: str) -> None:
    """Prints a line, in the first process."""
    if is_first():
        print(line, flush=is_connected())


_turns = itertools.count()


def said_by_all(text: str) -> list[str]:
    """What every process says, in the order of their numbers; all must call it together."""
    if not is_connected():
        return [text]
    client = _client()
    folder = f"seqjax/said/{next(_turns)}/"
    client.key_value_set(f"{folder}{process_number()}", json.dumps(text))
    pause = 0.001
    while len(found := client.key_value_dir_get(folder)) < distributed.global_state.num_processes:
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
    in_order = sorted(found, key=lambda entry: int(entry[0].rpartition("/")[2]))
    return [json.loads(value) for _, value in in_order]


def together(work: Callable[[], Result]) -> Result:
    """The result of some work that every process does; where it fails in one, it fails in all.

    Raises:
      InputError: with the number of the process in which it failed and its error.
    """
    if not is_connected():
        return work()
    try:
        result = work()
    except BaseException as error:
        said_by_all("it ended" if isinstance(error, SystemExit) else str(error) or repr(error))
        raise
    for process, problem in enumerate(said_by_all("")):
        if problem:
            raise InputError(f"In process {process}: {problem}")
    return result


def from_first(work: Callable[[], Result]) -> Result:
    """The result, as JSON has it, of some work that the first process does, in all of them."""
    if not is_connected():
        return work()
    found = together(lambda: json.dumps(work() if is_first() else None))
    return json.loads(said_by_all(found)[0])


def require_same(facts: Mapping[str, Any]) -> None:
    """Raises `InputError` in all processes unless all have the same facts, by name."""
    own = json.loads(json.dumps(facts, default=str))
    first = from_first(lambda: own)

    def compare() -> None:
        other = list(_differences(first, own))
        if other:
            raise InputError(f"{'; '.join(other)}. All processes need the same.")

    together(compare)


def _differences(first: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    for name in {**first, **own}:
        before, after = first.get(name), own.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(
                {f"--{inner}": value for inner, value in before.items()},
                {f"--{inner}": value for inner, value in after.items()},
            )
        elif before != after:
            yield f"{name.rstrip('_').replace('_', '-')} is {after}, and {before} in process 0"
