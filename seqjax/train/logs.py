"""What a run writes down: lines of JSON, and events for TensorBoard."""

import json
from pathlib import Path
from typing import Any

from seqjax.core.extras import extra_module
from seqjax.train.processes import is_first
from seqjax.train.run_folder import write_whole


class Logs:
    """Numbers by step, in `log.jsonl` and in `tensorboard/`, written by the first process.

    Args:
      folder: of the run.
      step: the step the run starts or continues from; later lines, of steps that will be
        done again, are taken out.
    """

    def __init__(self, folder: Path, step: int):
        self._events: Any = None
        if not is_first():
            return
        writer: Any = extra_module("tensorboardX", "train").SummaryWriter
        path = folder / "log.jsonl"
        if path.exists():
            kept = [line for line in path.read_text("utf-8").splitlines() if _step(line) <= step]
            write_whole(path, "".join(f"{line}\n" for line in kept))
        self._file = path.open("a", encoding="utf-8")
        self._events = writer(str(folder / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, **values: float | str) -> None:
        """Logs numbers and texts of a step."""
        if self._events is None:
            return
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()
        for name, value in values.items():
            if isinstance(value, str):
                self._events.add_text(name, value, step)
            else:
                self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Writes what is left."""
        if self._events is not None:
            self._file.close()
            self._events.close()


def _step(line: str) -> int | float:
    """The step of a line; a line cut short by a kill is beyond every step."""
    try:
        return json.loads(line)["step"]
    except (ValueError, KeyError, TypeError):
        return float("inf")
