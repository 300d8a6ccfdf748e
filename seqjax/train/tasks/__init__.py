"""The tasks: one file for each, one row here."""

from seqjax.train.commands import TaskCommands
from seqjax.train.tasks.caption import CAPTION
from seqjax.train.tasks.classify import CLASSIFY
from seqjax.train.tasks.forecast import FORECAST
from seqjax.train.tasks.lm import LM
from seqjax.train.tasks.synthetic import SYNTHETIC
from seqjax.train.tasks.tag import TAG
from seqjax.train.tasks.transcribe import TRANSCRIBE
from seqjax.train.tasks.translate import TRANSLATE

TASKS: dict[str, TaskCommands] = {
    task.name: task
    for task in (
        LM,
        CLASSIFY,
        TAG,
        FORECAST,
        TRANSLATE,
        CAPTION,
        TRANSCRIBE,
        SYNTHETIC,
    )
}
"""By the word that follows `seqjax train`."""

CONFIGS = {name: task.config for name, task in TASKS.items()}
"""The options of each."""
