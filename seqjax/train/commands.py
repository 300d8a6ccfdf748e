"""What the commands ask of a task: a row of `TASKS`, and the options of those that use a run."""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from seqjax.core.errors import InputError
from seqjax.data.held_out import NamedPieces
from seqjax.train.bounds import PositiveInt, check_bounds
from seqjax.train.config import RunConfig
from seqjax.train.run_folder import SavedRun
from seqjax.train.task import Task

Log = Callable[[str], None]
"""Where lines for the user go."""


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """How good a trained model is, on data that it has not seen."""

    run: Path
    """Folder of the run."""
    input: tuple[Path, ...] = ()
    """Files or folders; by default the data held out from the run's training."""
    text: tuple[Path, ...] = ()
    """Files or folders of texts, for language models; by default those held out."""
    targets: tuple[Path, ...] = ()
    """Text files with the targets (translations, labels, tags) of --input, line by line."""
    beams: PositiveInt | None = None
    """Beams of the search, for translate, caption and transcribe; by default those of the run."""
    pictures: bool = False
    """Save figures of the predictions in the folder of the run, below pictures/."""
    test_lengths: tuple[PositiveInt, ...] = ()
    """Lengths to test at, for synthetic tasks; by default those of the run."""
    checkpoint: str = "best"
    """best, last, or the number of a step."""
    skip_malformed: bool = False
    """Skip and count rows that cannot be read, instead of stopping at the first."""

    def __post_init__(self):
        check_bounds(self)
        if self.targets and not self.input:
            raise InputError("--targets goes with --input: name the files of the sources.")


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Writes the predictions of a trained model for a file, in the format of the file."""

    run: Path
    """Folder of the run."""
    input: Path | None = None
    """The file to predict for, with the columns of the training data; targets may be missing."""
    output: Path | None = None
    """The file to write; by default beside the input, with .predicted in its name."""
    probability: bool = False
    """Write the probability of each prediction, too."""
    beams: PositiveInt | None = None
    """Beams of the search, for translate, caption and transcribe; by default those of the run."""
    checkpoint: str = "best"
    """best, last, or the number of a step."""
    skip_malformed: bool = False
    """Skip and count rows that cannot be read, instead of stopping at the first."""

    def __post_init__(self):
        check_bounds(self)


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Writes text with a trained language model, token by token, in constant memory."""

    run: Path
    """Folder of the run."""
    prompt: str = ""
    """Text to continue; by default a new document begins."""
    length: PositiveInt = 1000
    """Tokens to write: characters, or what the tokenizer of an imported model makes."""
    temperature: float = 0.8
    """0 takes the likeliest token every time, 1 samples from the model's distribution."""
    top_k: int | None = None
    """Sample from the k likeliest tokens only."""
    top_p: float | None = None
    """Sample from the fewest tokens whose probability adds up to p."""
    seed: int = 0
    """Seed of the samples; the same seed writes the same text."""
    checkpoint: str = "best"
    """best, last, or the number of a step."""

    def __post_init__(self):
        check_bounds(self)


class Report(NamedTuple):
    """How good a trained model is.

    `scores` are numbers by name, the most important first; `what` names the data, `step` the
    checkpoint, and `notes` are more lines for the user. `draw()` makes figures, by name.
    """

    scores: dict[str, float]
    what: str
    step: int
    notes: tuple[str, ...] = ()
    draw: Callable[[], dict[str, Any]] = dict


@dataclasses.dataclass(frozen=True)
class TaskCommands:
    """A row of `TASKS`: what the commands do for one task.

    Args:
      name: the word after `seqjax train`.
      config: the options of `seqjax train`.
      prepare: `(config, log, run) -> task`, its data read; `run` is the one that is continued or
        looked at, None for a new one.
      load: `(config, log) -> Data`, the examples of the files that the options name; None if it
        reads none.
      documents: `config -> (name, pieces) of each`, the texts of the files that the options name,
        which need not fit into memory; None if it reads none.
      fit: `(data, config, log) -> (task, split)`, fitted to these; None if there is nothing to fit.
      evaluate: `(run, config, log) -> report`.
      evaluate_options: fields of `EvaluateConfig` that it takes, besides run and checkpoint.
      predict: `(run, config, log) -> number of predictions`; None if it predicts no files.
      predict_options: fields of `PredictConfig` that it takes, besides run and checkpoint.
      generate: `(run, config) -> pieces of text`; None if it generates none.
      continued: `run -> config`, the options with which `--from` trains the model of a run
        further; None if it does not.
      has_test_data: `config -> bool`, whether such a run can be tested without other files.
    """

    name: str
    config: type[RunConfig]
    prepare: Callable[[Any, Log, SavedRun | None], Task]
    evaluate: Callable[[SavedRun, EvaluateConfig, Log], Report]
    load: Callable[[Any, Log], Any] | None = None
    documents: Callable[[Any], NamedPieces] | None = None
    fit: Callable[[Any, Any, Log], Any] | None = None
    evaluate_options: frozenset[str] = frozenset()
    predict: Callable[[SavedRun, PredictConfig, Log], int] | None = None
    predict_options: frozenset[str] = frozenset()
    generate: Callable[[SavedRun, GenerateConfig], Iterator[str]] | None = None
    continued: Callable[[SavedRun], RunConfig] | None = None
    has_test_data: Callable[[Any], bool] = lambda config: True

    @property
    def reads_files(self) -> bool:
        """Whether there are files that `seqjax check` can look into."""
        return self.load is not None or self.documents is not None
