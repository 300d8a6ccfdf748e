"""When one process of a run ends or hangs: the others notice, say which one, and end, too.

A collective operation waits for all processes. Where one is killed, it fails in some of the others
and waits for ever in the rest; where one hangs, it waits for ever in all. So every process shows
signs of life in the key-value store of JAX's coordination service, and reads those of the others.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

ENDED_WITH_OTHERS = 75
"""Exit status of a process that ends because another one has; that of a temporary failure."""

INTERVAL, SILENT, IDLE = 2.0, 30.0, 45.0
"""Seconds between signs of life, without one until a process is lost, and without any work of any
process until all of them hang."""

WORK = 0.5
"""Seconds of processor time that are work; signs of life need less in all of `IDLE`."""

FOLDER = "seqjax/life/"


class Sign(NamedTuple):
    """A sign of life: its number, processor time so far, the step begun, and how the process ended.

    `ended` is empty as long as it runs, `"done"` after the last step, or its error.
    """

    number: int
    worked: float
    step: int
    ended: str


class Seen(NamedTuple):
    """The last sign of life of a process, when it came, and when the process last did work."""

    sign: Sign
    at: float
    working: Sign
    working_at: float


def saw(before: Seen | None, sign: Sign, now: float) -> Seen:
    """What is known of a process after one more look at its sign of life."""
    if before is None:
        return Seen(sign, now, sign, now)
    if sign == before.sign:
        return before
    works = sign.worked - before.working.worked > WORK or sign.step != before.working.step
    return Seen(sign, now, *((sign, now) if works else (before.working, before.working_at)))


def what_is_wrong(seen: Mapping[int, Seen], now: float, silent: float = SILENT) -> str | None:
    """Which process has ended, or hangs; None if all live.

    Args:
      seen: what is known of each process.
      now: the time.
      silent: seconds without a sign of life until a process is lost.

    Example:
      >>> from seqjax.train.lost_processes import Sign, saw, what_is_wrong
      >>> sign = Sign(number=1, worked=0.5, step=7, ended="")
      >>> seen = {0: saw(None, sign, now=0.0), 1: saw(None, sign, now=29.0)}
      >>> what_is_wrong(seen, now=31.0)
      'Process 0 has ended or hangs: it gave no sign of life for 31 seconds'
    """
    for process, (sign, at, _, _) in sorted(seen.items()):
        if sign.ended not in ("", "done"):
            return f"Process {process} has ended: {sign.ended}"
        if not sign.ended and now - at > silent:
            return (
                f"Process {process} has ended or hangs: it gave no sign of life for "
                f"{now - at:.0f} seconds"
            )
    idle = min(now - one.working_at for one in seen.values())
    if idle > IDLE:
        last = min(seen, key=lambda process: seen[process].sign.step)
        steps = ", ".join(str(one.sign.step) for _, one in sorted(seen.items()))
        return (
            f"All processes hang: none did anything for {idle:.0f} seconds. They are at the steps "
            f"{steps}; look at process {last}"
        )
    return None


class Watch:
    """Shows signs of life of this process, and ends it when another one is lost.

    Args:
      client: of JAX's coordination service.
      process: the number of this one.
    """

    def __init__(self, client: Any, process: int):
        self._client, self._process = client, process
        self._step, self._ended, self._number = 0, "", 0
        self._seen: dict[int, Seen] = {}
        self._turn = threading.Lock()
        self._over = threading.Event()
        self._look()
        threading.Thread(target=self._run, daemon=True).start()

    def begins(self, step: int) -> None:
        """Tells the others which step this process begins."""
        self._step = step

    def done(self) -> None:
        """Tells the others that there is no more to do."""
        self._end("done")

    def failed(self, error: str) -> None:
        """Tells the others that this process ends with an error of its own."""
        self._end(error)

    def why(self) -> str | None:
        """Which other process is to blame for an error of this one; waits until that is known."""
        until = time.monotonic() + 5 * INTERVAL
        while time.monotonic() < until:
            # One is silent before the others call it lost.
            found = what_is_wrong(self._others(), time.monotonic(), silent=2.5 * INTERVAL)
            if found is not None:
                return found
            time.sleep(INTERVAL / 4)
            try:
                self._look()
            except RuntimeError:
                return "The coordination service does not answer; it ends soon after process 0"
        return None

    def _others(self) -> dict[int, Seen]:
        return {process: seen for process, seen in self._seen.items() if process != self._process}

    def _end(self, how: str) -> None:
        if not self._over.is_set():
            self._over.set()
            self._ended = how
            self._look()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            # JAX ends this process where the service has ended, and not only is late.
            with contextlib.suppress(RuntimeError):
                self._look()
            found = what_is_wrong(self._seen, time.monotonic())
            # An error of all processes may not have been said in this one yet.
            if found is not None and not self._over.wait(INTERVAL / 2):
                print(f"\nerror: {with_advice(found)}", file=sys.stderr, flush=True)
                os._exit(ENDED_WITH_OTHERS)

    def _look(self) -> None:
        with self._turn:
            self._number += 1
            sign = Sign(self._number, time.process_time(), self._step, self._ended)
            name = f"{FOLDER}{self._process}"
            self._client.key_value_set(name, json.dumps(sign), allow_overwrite=True)
            now = time.monotonic()
            for key, value in self._client.key_value_dir_get(FOLDER):
                process = int(key.rpartition("/")[2])
                self._seen[process] = saw(self._seen.get(process), Sign(*json.loads(value)), now)


def with_advice(found: str) -> str:
    """What is wrong, and what the user can do."""
    return (
        f"{found.removesuffix('.')}. So this process ends, too. The last checkpoint is whole: "
        "continue with --resume."
    )
