"""The folder of a run: configuration, preprocessing, checkpoints and logs."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from seqjax.core.errors import InputError
from seqjax.core.types import DTypeLike
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import RunConfig
from seqjax.train.saved_config import from_json, to_json

CONFIG, PREPROCESSING, DATA = "config.json", "preprocessing.json", "data.json"

PREPROCESSING_BEFORE = "settings.json"
"""Its name up to version 1 of the configuration."""


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is either as before or complete, whatever happens."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def new_folder(out: Path | None, kind: str) -> Path:
    """The folder for a new run: `out`, or the next free one below `runs/`."""
    if out is None:
        number = 1
        while (out := Path("runs") / f"{kind}-{number}").exists():
            number += 1
    if (out / CONFIG).exists():
        raise InputError(
            f"{out} already holds a run. Continue it with --resume {out}, or choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


class SavedRun(NamedTuple):
    """What a run has written down of itself, besides checkpoints and logs.

    `kind` is the word after `seqjax train`. `preprocessing` is all that its models need besides
    the configuration: vocabularies, labels, means and scales. `data` has the name and the digest
    of the training data; no digest if there is none.
    """

    folder: Path
    kind: str
    config: RunConfig
    preprocessing: dict[str, Any]
    data: dict[str, str]

    @property
    def imported(self) -> bool:
        """Whether its model was trained elsewhere, so that it has no data of its own."""
        return not self.data["sha256"]

    @property
    def stored_as(self) -> DTypeLike:
        """The dtype of parameters in its checkpoints, but for those that stay in float32."""
        return self.config.dtype if self.imported else "float32"


def save_run(run: SavedRun) -> None:
    """Writes what `load_run` reads."""
    preprocessing = json.dumps(run.preprocessing, ensure_ascii=False)
    write_whole(run.folder / PREPROCESSING, preprocessing)
    write_whole(run.folder / DATA, json.dumps(run.data, indent=2))
    # Last, because its presence says that there is a run.
    write_whole(run.folder / CONFIG, to_json(run.kind, run.config))


def load_run(folder: Path, configs: Mapping[str, type[RunConfig]]) -> SavedRun:
    """What `save_run` wrote, in this version or an earlier one.

    Args:
      folder: of the run.
      configs: the class of the configuration for each kind of task.

    Raises:
      InputError: if the folder is not a run, or its files are damaged.
    """
    if not (folder / CONFIG).exists():
        raise InputError(f"{folder} is not the folder of a run: it has no {CONFIG}.")
    preprocessing = folder / PREPROCESSING
    if not preprocessing.exists():
        preprocessing = folder / PREPROCESSING_BEFORE
    try:
        kind, config = from_json((folder / CONFIG).read_text(encoding="utf-8"), configs)
        return SavedRun(
            folder,
            kind,
            config,
            json.loads(preprocessing.read_text(encoding="utf-8")),
            json.loads((folder / DATA).read_text(encoding="utf-8")),
        )
    except InputError as error:
        raise InputError(f"{folder / CONFIG}: {error}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(
            f"The run in {folder} cannot be read ({error}); {CONFIG}, {preprocessing.name} and "
            f"{DATA} must be as they were written."
        ) from None


def load_model(
    run: SavedRun, build: Callable[[], Any], checkpoint: str = "best"
) -> tuple[Any, int]:
    """The trained model of a run.

    Args:
      run: from `load_run`.
      build: makes a new model of its configuration; only traced, for structure, shapes and dtypes.
      checkpoint: `"best"` in validation, `"last"`, or a step.

    Returns:
      `(model, step)`.

    Raises:
      InputError: if there is no such checkpoint, or it cannot be read.
    """
    folder = run.folder
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
        return checkpoints.load_model(step, jax.eval_shape(build)), step
    except InputError as error:
        others = [other for other in steps if other != step]
        hint = f" Others to try with --checkpoint: {others}." if others else ""
        raise InputError(f"{error}{hint}") from None
