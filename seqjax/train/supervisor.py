"""Starts the processes of a run on this machine, and again where one of them ends or hangs."""

import dataclasses
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from seqjax.core.errors import InputError
from seqjax.train.connection import ProcessesConfig
from seqjax.train.options import parse
from seqjax.train.run_folder import CONFIG, new_folder
from seqjax.train.signals import StopSignals

GRACE = 45.0
"""Seconds in which the others must have ended after one has."""

PAUSE = 45.0
"""Seconds before a start among processes on other machines: what is left of them must be gone."""

FIRST_SIGNAL = 128
"""Added to the number of a signal in the exit status of a run that was stopped by one."""


@dataclasses.dataclass(frozen=True)
class _Where:
    out: Path | None = None
    resume: Path | None = None


def supervise(arguments: Sequence[str], log: Callable[[str], None], failed: int) -> int:
    """Runs `seqjax train` in processes of its own, and again with `--resume` where one ends.

    An error that was said to the user, and a signal that stopped the run, are no reason to start
    again.

    Args:
      arguments: of `seqjax train`.
      log: where lines for the user go.
      failed: exit status of a command that ended with an error that was said to the user.

    Returns:
      The exit status.

    Raises:
      InputError: if it is not clear which folder the run is in.
    """
    config, options = parse(ProcessesConfig, arguments, "train", return_unknown_args=True)
    where, _ = parse(_Where, options, "train", return_unknown_args=True)
    folder = where.resume or where.out
    if folder is None:
        if config.distributed and not config.local:
            raise InputError("--restarts with --distributed needs --out, the folder of the run.")
        kind = options[0] if options and not options[0].startswith("-") else "run"
        folder = new_folder(None, kind)
        options = [*options, "--out", str(folder)]
    with StopSignals() as signals:
        for restart in range(config.restarts + 1):
            if restart and where.resume is None and (folder / CONFIG).exists():
                options = [*options, "--resume", str(folder)]
                where = _Where(resume=folder)
            if restart and config.distributed and not config.local:
                time.sleep(PAUSE)
            statuses = _run(options, config, signals)
            if signals.received is not None:
                return FIRST_SIGNAL + signals.received
            stopped = [status for status in statuses.values() if status > FIRST_SIGNAL]
            if failed in statuses.values() or stopped or not any(statuses.values()):
                return failed if failed in statuses.values() else max(statuses.values())
            log(f"{_how(statuses)}. {config.restarts - restart} restarts are left.")
    return failed


def _run(options: Sequence[str], config: ProcessesConfig, signals: StopSignals) -> dict[int, int]:
    """The exit status of each process by its number; negative where a signal killed it."""
    numbers = range(config.processes or 1) if config.local else [config.process]
    address = config.coordinator or f"127.0.0.1:{_free_port()}"
    children = {}
    for number in numbers:
        timeout = ["--join-timeout", str(config.join_timeout)]
        shared = ["--distributed", *timeout] if config.distributed else []
        if config.processes is not None:
            shared += ["--coordinator", address, "--processes", str(config.processes)]
            shared += ["--process", str(number)]
        # In a session of its own, so that Ctrl-C comes once, from here.
        children[number or 0] = subprocess.Popen(
            [*COMMAND, *options, *shared], start_new_session=True
        )
    try:
        return _wait(children, signals)
    finally:
        for child in children.values():
            child.kill()


COMMAND = (sys.executable, "-m", "seqjax.cli", "train")


def _wait(children: Mapping[int, subprocess.Popen], signals: StopSignals) -> dict[int, int]:
    statuses: dict[int, int] = {}
    told, until = False, float("inf")
    while len(statuses) < len(children):
        for number, child in children.items():
            if number not in statuses and child.poll() is not None:
                statuses[number] = child.returncode
                if child.returncode:
                    until = min(until, time.monotonic() + GRACE)
        if signals.received is not None and not told:
            # One tells all others.
            told = True
            children[min(children)].send_signal(signals.received)
        if time.monotonic() > until:
            for child in children.values():
                child.kill()
        time.sleep(0.1)
    return statuses


def _how(statuses: Mapping[int, int]) -> str:
    """Which process ended first, as far as its status tells."""
    killed = {number: status for number, status in statuses.items() if status < 0}
    number, status = next(iter((killed or statuses).items()))
    how = signal.Signals(-status).name if status < 0 else f"the status {status}"
    return f"Process {number} ended with {how}"


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]
