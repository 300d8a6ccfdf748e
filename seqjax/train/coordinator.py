"""JAX's coordination service in a process of its own, which outlives process 0.

Where it is a part of process 0, as JAX has it, the end of that process aborts all others before
they can say why.
"""

import subprocess
import sys
import time
from collections.abc import Callable

OUTLIVES = {"done": 1.0, "": 40.0}
"""Seconds that the service outlives process 0: if it has no more to do, or else, in which the
others find out that it has ended, which takes them 30 at most."""


READY = "ready\n"

HEARTBEAT = 120
"""Seconds after which the service itself gives a process up; the others find it lost before."""


def start_coordinator(port: int, processes: int) -> Callable[[], None]:
    """Starts the service on a port of this machine; it ends after this process has.

    Returns:
      To be called when nobody needs it any more.

    Raises:
      InputError: if the port is not free.
    """
    # Here, because the service has no need of the library, which imports JAX.
    from seqjax.core.errors import InputError

    # The end of this process closes the pipe, whatever its cause.
    service = subprocess.Popen(
        [sys.executable, "-P", __file__, str(port), str(processes)],
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


def _main(port: str, processes: str) -> None:
    from jaxlib import _jax  # type: ignore[attr-defined]

    service = _jax.get_distributed_runtime_service(
        f"[::]:{port}", int(processes), heartbeat_timeout=HEARTBEAT
    )
    print(READY, end="", flush=True)
    time.sleep(OUTLIVES[sys.stdin.read(4)])
    service.shutdown()


if __name__ == "__main__":
    _main(*sys.argv[1:])
