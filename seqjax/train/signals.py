"""Ctrl-C and SIGTERM as a wish to stop after the current step."""

import signal
from types import FrameType


class StopSignals:
    """Within its block, the first signal sets `received`; a second one acts as usual."""

    def __init__(self):
        self.received: signal.Signals | None = None
        self._before: dict[signal.Signals, object] = {}

    def __enter__(self) -> "StopSignals":
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._receive)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def goes_on(self, step: int) -> bool:
        """Whether this step is to be done."""
        return self.received is None

    def _receive(self, number: int, _: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}
