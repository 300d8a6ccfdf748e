"""The folder of a run: settings, checkpoints and logs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.core.errors import InputError
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import RunConfig
from seqjax.train.saved_config import from_json, to_json


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is either as before or complete, whatever happens."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def new_folder(out: Path | None, kind: str) -> Path:
    """The folder for a new run: the one asked for, or the next free one below `runs/`."""
    if out is None:
        number = 1
        while (out := Path("runs") / f"{kind}-{number}").exists():
            number += 1
    if (out / "config.json").exists():
        raise InputError(
            f"{out} already holds a run. Continue it with --resume {out}, or choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


class Saved(NamedTuple):
    """What a run has written down of itself.

    `settings` is what its models need besides the configuration: vocabularies, labels,
    scales. `data` says by name and digest what it was trained on.
    """

    kind: str
    config: RunConfig
    settings: dict[str, Any]
    data: dict[str, str]


def save_settings(folder: Path, saved: Saved) -> None:
    """Writes down what `load_settings` reads."""
    write_whole(folder / "settings.json", json.dumps(saved.settings, ensure_ascii=False))
    write_whole(folder / "data.json", json.dumps(saved.data, indent=2))
    # Last, because its presence says that there is a run.
    write_whole(folder / "config.json", to_json(saved.kind, saved.config))


def load_settings(folder: Path, kinds: Mapping[str, type[RunConfig]]) -> Saved:
    """What `save_settings` wrote.

    Args:
      folder: of the run.
      kinds: the configuration of each kind of task.

    Raises:
      InputError: if the folder is not a run, or its files are damaged.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not the folder of a run: it has no config.json.")
    try:
        kind, config = from_json((folder / "config.json").read_text(encoding="utf-8"), kinds)
        settings = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
        data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The settings in {folder} cannot be read ({error}); config.json, settings.json and "
            "data.json must be as they were written."
        ) from None
    return Saved(kind, config, settings, data)


def load_model(folder: Path, model: Any, checkpoint: str = "best") -> tuple[Any, int]:
    """The trained model of a run.

    Args:
      folder: of the run.
      model: a model of the run's settings, for structure, shapes and dtypes.
      checkpoint: `"best"` in validation, `"last"`, or a step.

    Returns:
      `(model, step)`.

    Raises:
      InputError: if there is no such checkpoint, or it cannot be read.
    """
    if not (folder / "checkpoints").exists():
        raise InputError(f"The run in {folder} has no checkpoint yet.")
    checkpoints = Checkpoints(folder / "checkpoints", read_only=True)
    steps = checkpoints.steps
    if not steps:
        raise InputError(f"The run in {folder} has no checkpoint yet.")
    named = {"last": steps[-1], "best": checkpoints.best or steps[-1]}
    if checkpoint in named:
        step = named[checkpoint]
    elif checkpoint.isdigit() and int(checkpoint) in steps:
        step = int(checkpoint)
    else:
        raise InputError(
            f"{folder} has no checkpoint {checkpoint!r}; it has best, last and the steps {steps}."
        )
    try:
        return checkpoints.load_model(step, model), step
    except InputError as error:
        others = [other for other in steps if other != step]
        hint = f" Others to try with --checkpoint: {others}." if others else ""
        raise InputError(f"{error}{hint}") from None
