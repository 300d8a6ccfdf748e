"""A process waits until all others have started."""

import contextlib
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import NoReturn, TextIO

from seqjax.core.errors import InputError
from seqjax.train.coordinator import GO, JOINED, LOST, WELCOME, WRONG, keep_alive
from seqjax.train.lost_processes import ENDED_WITH_OTHERS

PAUSE = 0.5
"""Seconds between two attempts to reach process 0."""


def join(address: str, processes: int, process: int, timeout: float) -> Callable[[], None]:
    """Waits for the others. This process ends if that is in vain.

    Args:
      address: HOST:PORT of process 0.
      processes: how many there are.
      process: the number of this one.
      timeout: seconds in which process 0 must be found.

    Returns:
      To be called when they are together; until then, the end of one ends all.

    Raises:
      InputError: if the processes do not go together.
    """
    host, _, port = address.rpartition(":")
    until = time.monotonic() + timeout
    while True:
        try:
            connection = socket.create_connection((host.strip("[]"), int(port)), timeout=5)
            keep_alive(connection)
            connection.settimeout(None)
            connection.sendall(f"{process} {processes}\n".encode())
        except OSError as error:
            why = f"process 0 does not answer at {address} ({error})"
        else:
            lines = connection.makefile(encoding="utf-8", errors="replace")
            told = _next(lines)
            if told.startswith((WELCOME, WRONG)):
                break
            lines.close()
            connection.close()
            # What is left of a run before, which is gone soon.
            why = f"what answers at {address} does not wait for processes"
        if time.monotonic() > until:
            _end(f"after {timeout:.0f} seconds {why}")
        time.sleep(PAUSE)
    told = _next(lines) if told == WELCOME else told
    if told != GO:
        lines.close()
        connection.close()
    if told.startswith(WRONG):
        raise InputError(f"--distributed: {told.removeprefix(WRONG)}.")
    if told != GO:
        _end(told.removeprefix(LOST) or f"process 0, at {address}, has ended")

    def watch() -> None:
        with connection, lines:
            told = _next(lines)
        if told.startswith(LOST):
            _end(told.removeprefix(LOST))

    threading.Thread(target=watch, daemon=True).start()

    def joined() -> None:
        with contextlib.suppress(OSError):
            connection.sendall(f"{JOINED}\n".encode())

    return joined


def _next(lines: TextIO) -> str:
    """The next line; empty if the connection is closed."""
    with contextlib.suppress(OSError):
        return lines.readline().rstrip("\n")
    return ""


def _end(why: str) -> NoReturn:
    print(f"error: --distributed: {why}.", file=sys.stderr, flush=True)
    os._exit(ENDED_WITH_OTHERS)
