"""Commands in several processes at once, joined by JAX's distributed runtime."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAST = {
    "JAX_PLATFORMS": "cpu",
    "TF_CPP_MIN_LOG_LEVEL": "2",
    "PYTHONPATH": str(ROOT),
    "XLA_FLAGS": "--xla_backend_optimization_level=0",
    "JAX_COMPILATION_CACHE_DIR": str(Path.home() / ".cache" / "seqjax" / "jax_processes"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "0",
}


def free_address() -> str:
    """A port of this machine that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{found.getsockname()[1]}"


def start(
    commands: Sequence[Sequence[str]],
    folders: Sequence[Path],
    environment: Mapping[str, str] | None = None,
) -> list[subprocess.Popen]:
    """One process in each folder; each runs the commands, all together, one after the other.

    In the words of a command, `{process}` is the number of the process.

    What a process prints is in `out.txt` and `err.txt` of its folder, the exit status of each
    command in `status.json`.
    """
    address, found = free_address(), []
    for number, folder in enumerate(folders):
        shared = ["--distributed", "--coordinator", address, "--processes", str(len(folders)),
                  "--process", str(number)]  # fmt: skip
        shared = shared if len(folders) > 1 else []
        own = [
            [*(word.replace("{process}", str(number)) for word in command), *shared]
            for command in commands
        ]
        with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.train.process_pool", json.dumps(own)],
                cwd=folder,
                env=os.environ | FAST | dict(environment or {}),
                stdout=out,
                stderr=err,
            )
        found.append(process)
    return found


def _main(commands: list[list[str]]) -> None:
    from seqjax.cli import entry, main

    # A process that hangs, but whose threads live.
    signal.signal(signal.SIGUSR1, lambda *_: time.sleep(600))
    if len(commands) == 1:
        sys.argv[1:] = commands[0]
        entry()

    statuses = []
    for number, command in enumerate(commands):
        for stream in (sys.stdout, sys.stderr):
            print(f"command {number}", file=stream, flush=True)
        statuses.append(main(command))
        Path("status.json").write_text(json.dumps(statuses))


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
