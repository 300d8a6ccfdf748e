"""The tasks, by the word that follows `seqjax train`."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.train import language
from seqjax.train.config import RunConfig
from seqjax.train.run import Saved
from seqjax.train.task import Task


class Kind(NamedTuple):
    """What the commands need to know of a task.

    `config` is the class of its settings, `task(config, say)` reads its data as they say,
    `evaluate(folder, saved, paths, checkpoint)` gives lines that say how good a trained model
    is on the files in `paths`, or on its test data if there are none.
    """

    config: type[RunConfig]
    task: Callable[[Any, Callable[[str], None]], Task]
    evaluate: Callable[[Path, Saved, tuple[Path, ...], str], Iterable[str]]


KINDS = {
    "lm": Kind(language.LanguageConfig, language.LanguageTask, language.evaluate),
}
