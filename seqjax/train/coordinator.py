"""JAX's coordination service in a process of its own, which outlives process 0.

Where it is a part of process 0, as JAX has it, the end of that process aborts all others before
they can say why. And until all have come, it does not notice that one has ended: so they first meet
at its port, where each keeps a connection open, which its end closes.
"""

import contextlib
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Collection

OUTLIVES = {"done": 1.0, "": 40.0}
"""Seconds that the service outlives process 0: if it has no more to do, or else, in which the
others find out that it has ended, which takes them 30 at most."""


READY = "ready\n"
WELCOME, GO, JOINED = "welcome", "go", "joined"
LOST, WRONG = "lost ", "wrong "
"""Before what is told to all: why they wait in vain, and an error of the user."""

HEARTBEAT = 120
"""Seconds after which the service itself gives a process up; the others find it lost before."""


def start_coordinator(port: int, processes: int, timeout: float) -> Callable[[], None]:
    """Starts the service on a port of this machine; it ends after this process has.

    Args:
      port: that the others know.
      processes: how many there are.
      timeout: seconds in which all must have come.

    Returns:
      To be called when nobody needs it any more.

    Raises:
      InputError: if the port is not free.
    """
    # Here, because the service has no need of the library, which imports JAX.
    from seqjax.core.errors import InputError

    # The end of this process closes the pipe, whatever its cause.
    service = subprocess.Popen(
        [sys.executable, "-P", __file__, str(port), str(processes), str(timeout)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        text=True,
    )
    assert service.stdout is not None
    if service.stdout.readline() != READY:
        raise InputError(
            f"--distributed: the port {port} of this machine is not free. After a process 0 that "
            f"was killed it is free in {OUTLIVES['']:.0f} seconds; or take another one, by "
            "--coordinator, or by JAX_COORDINATOR_PORT for what a launcher starts."
        )
    return lambda: print("done", end="", file=service.stdin, flush=True)


def keep_alive(connection: socket.socket) -> None:
    """Has the system find out, in half a minute, whether the other host is still there."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (("TCP_KEEPIDLE", 10), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 4)):
        if hasattr(socket, name):
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class Meeting:
    """Where processes wait for each other.

    Args:
      port: of this machine; `OSError` if it is not free.
      processes: how many are expected.
    """

    def __init__(self, port: int, processes: int):
        self.processes = processes
        if socket.has_dualstack_ipv6():
            family = {"family": socket.AF_INET6, "dualstack_ipv6": True}
        else:
            family = {}
        self.door = socket.create_server(("", port), **family)
        self.inside = selectors.DefaultSelector()
        self.inside.register(self.door, selectors.EVENT_READ)
        self.come: dict[int, socket.socket] = {}
        self.joined: set[int] = set()

    def wait(self, here: Collection[int], until: float) -> str | None:
        """What ends the meeting; None if all processes are among those that are `here`."""
        while len(here) < self.processes:
            events = self.inside.select(max(0.0, until - time.monotonic()))
            if not events:
                absent = sorted({*range(self.processes)}.difference(here))
                names = ", ".join(map(str, absent[:8])) + (", ..." if len(absent) > 8 else "")
                number = "process" if len(absent) == 1 else "processes"
                return f"{LOST}{number} {names} of {self.processes} did not start in time"
            for key, _ in events:
                ended = self._look(key.fileobj)
                if ended is not None:
                    return ended
        return None

    def close_door(self) -> None:
        """No more processes are let in, and the port is free."""
        self.inside.unregister(self.door)
        self.door.close()

    def close(self) -> None:
        """Ends all connections."""
        for key in [*self.inside.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self.inside.close()

    def tell(self, line: str) -> None:
        """Tells all that have come."""
        for connection in self.come.values():
            _say(connection, line)

    def _look(self, where: object) -> str | None:
        if where is self.door:
            connection, _ = self.door.accept()
            keep_alive(connection)
            self.inside.register(connection, selectors.EVENT_READ)
            return None
        if not isinstance(where, socket.socket):
            return f"{LOST}process 0 has ended"
        try:
            text = where.recv(100).decode(errors="replace").strip()
        except OSError:
            text = ""
        number = next((one for one, other in self.come.items() if other is where), None)
        if number is None:
            return self._enter(where, text.split())
        if text == JOINED:
            self.joined.add(number)
            self._close(where)
            return None
        self._close(where)
        return f"{LOST}process {number} has ended"

    def _close(self, connection: socket.socket) -> None:
        self.inside.unregister(connection)
        connection.close()

    def _enter(self, where: socket.socket, words: list[str]) -> str | None:
        """Who comes says the number of the process, and how many it expects."""
        if len(words) != 2 or not all(map(str.isdecimal, words)):
            # A stranger.
            self._close(where)
            return None
        number, processes = map(int, words)
        if processes != self.processes or number in self.come:
            wrong = f"{WRONG}two processes have the number {number}"
            if processes != self.processes:
                wrong = (
                    f"{WRONG}process {number} is one of {processes}, and not of {self.processes}"
                )
            _say(where, wrong)
            return wrong
        self.come[number] = where
        _say(where, WELCOME)
        return None


def _say(connection: socket.socket, line: str) -> None:
    with contextlib.suppress(OSError):
        connection.sendall(f"{line}\n".encode())


def _main(port: str, processes: str, timeout: str) -> None:
    from jaxlib import _jax  # type: ignore[attr-defined]

    meeting, count = Meeting(int(port), int(processes)), int(processes)
    meeting.inside.register(sys.stdin, selectors.EVENT_READ)
    print(READY, end="", flush=True)
    until = time.monotonic() + float(timeout)
    ended = meeting.wait(meeting.come, until)
    if ended is None:
        meeting.close_door()
        service = _jax.get_distributed_runtime_service(
            f"[::]:{port}", count, heartbeat_timeout=HEARTBEAT
        )
        meeting.tell(GO)
        ended = meeting.wait(meeting.joined, until + float(timeout))
        if ended is None:
            meeting.close()
            time.sleep(OUTLIVES[sys.stdin.read(4)])
            service.shutdown()
            return
    meeting.tell(ended)
    # They read it before the connections are closed.
    time.sleep(1.0)


if __name__ == "__main__":
    _main(*sys.argv[1:])
