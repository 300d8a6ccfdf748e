"""The folder of a run: settings, vocabulary, checkpoints and logs."""

import json
import os
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.vocabulary import SubwordVocabulary, Vocabulary, vocabulary_from_json
from seqjax.nn.language_model import LanguageModel
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.config import TrainConfig, from_json, to_json
from seqjax.train.model import build_model


def write_whole(path: Path, text: str) -> None:
    """Writes a file so that it is either as before or complete, whatever happens."""
    temporary = path.with_name(path.name + ".part")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def new_folder(out: Path | None) -> Path:
    """The folder for a new run: the one asked for, or the next free one below `runs/`."""
    if out is None:
        number = 1
        while (out := Path("runs") / f"lm-{number}").exists():
            number += 1
    if (out / "config.json").exists():
        raise InputError(
            f"{out} already holds a run. Continue it with --resume {out}, or choose another --out."
        )
    out.mkdir(parents=True, exist_ok=True)
    return out


def save_settings(
    folder: Path,
    config: TrainConfig,
    vocabulary: Vocabulary | SubwordVocabulary,
    data: dict[str, Any],
) -> None:
    """Writes the settings, the vocabulary and what is known of the data."""
    write_whole(folder / "vocabulary.json", vocabulary.to_json())
    write_whole(folder / "data.json", json.dumps(data, indent=2))
    # Last, because its presence says that there is a run.
    write_whole(folder / "config.json", to_json(config))


def load_settings(
    folder: Path,
) -> tuple[TrainConfig, Vocabulary | SubwordVocabulary, dict[str, Any]]:
    """What `save_settings` wrote.

    Raises:
      InputError: if the folder is not a run, or its files are damaged.
    """
    if not (folder / "config.json").exists():
        raise InputError(f"{folder} is not the folder of a run: it has no config.json.")
    try:
        config = from_json((folder / "config.json").read_text(encoding="utf-8"))
        vocabulary = vocabulary_from_json((folder / "vocabulary.json").read_text(encoding="utf-8"))
        data = json.loads((folder / "data.json").read_text(encoding="utf-8"))
    except InputError:
        raise
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise InputError(
            f"The settings in {folder} cannot be read ({error}); config.json, vocabulary.json and "
            "data.json must be as they were written."
        ) from None
    return config, vocabulary, data


def load_model(
    folder: Path, checkpoint: str = "best"
) -> tuple[LanguageModel, Vocabulary | SubwordVocabulary, TrainConfig, int]:
    """The trained model of a run.

    Args:
      folder: of the run.
      checkpoint: `"best"` in validation, `"last"`, or a step.

    Returns:
      `(model, vocabulary, config, step)`.

    Raises:
      InputError: if there is no such checkpoint, or it cannot be read.
    """
    config, vocabulary, _ = load_settings(folder)
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
    model = build_model(config.model, len(vocabulary), config.seed)
    try:
        return checkpoints.load_model(step, model), vocabulary, config, step
    except InputError as error:
        others = [other for other in steps if other != step]
        hint = f" Others to try with --checkpoint: {others}." if others else ""
        raise InputError(f"{error}{hint}") from None
