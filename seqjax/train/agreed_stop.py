"""A signal to one of many processes stops all of them after the same step."""

import itertools
import json
import signal
import threading
from types import FrameType
from typing import Any

from seqjax.train.signals import StopSignals

INTERVAL = 0.5
"""Seconds between looks at whether another process was signalled."""

_turns = itertools.count()


class AgreedStop(StopSignals):
    """Within its block, `received` is set in all processes after the same step.

    A process that was signalled writes this down. Each that reads it begins no further step, and
    writes down which one it has begun last: others may already be further, and wait for it there.
    All go on to the last step that any of them has begun.

    Args:
      client: of JAX's coordination service.
      process: the number of this one.
      processes: how many there are.
    """

    def __init__(self, client: Any, process: int, processes: int):
        super().__init__()
        self._client, self._process, self._processes = client, process, processes
        self._folder = f"seqjax/stop/{next(_turns)}/"
        self._wish: signal.Signals | None = None
        self._turn, self._over = threading.Lock(), threading.Event()
        self._begun, self._last, self._halts = 0, 0, False
        self._agreed = threading.Event()

    def __enter__(self) -> "AgreedStop":
        super().__enter__()
        threading.Thread(target=self._run, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        super().__exit__()

    def goes_on(self, step: int) -> bool:
        """Whether this step is to be done; waits until that is agreed on."""
        with self._turn:
            if not self._halts:
                self._begun = step
                return True
        self._agreed.wait()
        if step > self._last:
            self.received = self._wish
        return step <= self._last

    def _receive(self, number: int, _: FrameType | None) -> None:
        self._wish = signal.Signals(number)
        self._restore()

    def _run(self) -> None:
        while not self._over.wait(INTERVAL):
            wishes = self._client.key_value_dir_get(f"{self._folder}wish/")
            if self._wish is not None:
                wishes.append(("", str(int(self._wish))))
                self._write("wish", int(self._wish))
            if wishes:
                self._wish = signal.Signals(int(min(value for _, value in wishes)))
                self._agree()
                return

    def _agree(self) -> None:
        with self._turn:
            self._halts = True
        self._write("begun", self._begun)
        begun: list[tuple[str, str]] = []
        while len(begun) < self._processes and not self._over.wait(0.05):
            begun = self._client.key_value_dir_get(f"{self._folder}begun/")
        self._last = max(json.loads(value) for _, value in begun) if begun else self._begun
        self._agreed.set()

    def _write(self, kind: str, value: int) -> None:
        self._client.key_value_set(f"{self._folder}{kind}/{self._process}", json.dumps(value))
