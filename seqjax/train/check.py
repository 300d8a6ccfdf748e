"""`seqjax check`: how a file would be read, before anything trains."""

import dataclasses
import itertools
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError
from seqjax.data.formats import Description, Fields, find_format
from seqjax.data.survey import Survey
from seqjax.train.commands import Log, TaskCommands
from seqjax.train.likely_task import as_options, likely_task

SHOWN = 30
"""Number of columns that are listed."""

USAGE = """\
usage: seqjax check [TASK] FILE [OPTIONS]

Says how `seqjax train TASK` reads a file, its columns, lengths and labels, and what looks odd. It
reads the file as the training does, malformed rows left out, and takes the same options. Without
TASK, the file tells it, and columns of usual names are taken.

TASK is one of {tasks}; `seqjax check TASK --help` lists its options.
"""


def as_training(
    arguments: Sequence[str], tasks: Mapping[str, TaskCommands]
) -> tuple[TaskCommands, list[str]]:
    """The task, and the arguments of `seqjax train` that read the file of `seqjax check`.

    Args:
      arguments: after `check`.
      tasks: by name.

    Raises:
      InputError: if no file is named, no task takes all the options, or the file cannot be read.
    """
    tasks = {name: task for name, task in tasks.items() if task.reads_files}
    named = arguments[0] if arguments and arguments[0] in tasks else None
    rest = list(arguments if named is None else arguments[1:])
    files = list(itertools.takewhile(lambda word: not word.startswith("-"), rest))
    options = rest[len(files) :]
    if not files and "--help" not in options:
        raise InputError("Name the file: seqjax check [TASK] FILE [OPTIONS].")
    if len(files) > 1 and named is None and not Path(files[0]).exists():
        raise InputError(
            f"There is no task and no file {files[0]!r}; the tasks are {', '.join(tasks)}."
        )
    if named is not None:
        return tasks[named], [*_files(named, files), *options]
    given = given_options(options)
    kinds = tasks_with(given, tasks)
    if not kinds:
        unknown = [name for name in given if not tasks_with([name], tasks)]
        if unknown:
            raise InputError(f"No task has the option --{unknown[0].replace('_', '-')}.")
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise InputError(f"No task takes {names} together. Name one: seqjax check TASK FILE.")
    kind, roles = likely_task(Path(files[0]), given)
    if kind not in kinds:
        kind, roles = kinds[0], roles if kinds[0] == "classify" and "label" in given else {}
    roles = {name: value for name, value in roles.items() if name not in given}
    return tasks[kind], [*_files(kind, files), *as_options(roles), *options]


def _files(kind: str, files: Sequence[str]) -> list[str]:
    return ["--text" if kind == "lm" else "--train", *files] if files else []


def given_options(options: Sequence[str]) -> dict[str, list[str]]:
    """The values of each option, by its name.

    Example:
      >>> from seqjax.train.check import given_options
      >>> given_options(["--values", "a", "b", "--time=t"])
      {'values': ['a', 'b'], 'time': ['t']}
    """
    found: dict[str, list[str]] = {}
    values: list[str] = []
    for word in options:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            values = found.setdefault(name.replace("-", "_"), [])
            values += [value] if value else []
        else:
            values.append(word)
    return found


def tasks_with(names: Iterable[str], tasks: Mapping[str, TaskCommands]) -> list[str]:
    """The tasks that take all of some options."""
    return [
        kind
        for kind, task in tasks.items()
        if task.reads_files and _options(task.config) >= set(names)
    ]


def _options(config: type) -> set[str]:
    """The names of all options of a configuration."""
    found = set()
    for field in dataclasses.fields(config):
        inner = dataclasses.is_dataclass(field.default)
        found |= _options(type(field.default)) if inner else {field.name}
    return found


def check(task: TaskCommands, arguments: Sequence[str], config: Any, log: Log) -> None:
    """Writes the report on files.

    Args:
      task: that they are for.
      arguments: of `seqjax train` for this task.
      config: made of these arguments.
      log: where the lines go.

    Raises:
      InputError: if they cannot be read, or no example can.
    """
    log(f"{'task':11} {task.name}, as in: seqjax train {task.name} {shlex.join(arguments)}")
    first = ""
    if hasattr(config, "files"):
        # As in training, but malformed rows are counted.
        files = dataclasses.replace(config.files, skip_malformed=True)
        config = dataclasses.replace(config, files=files)
        first = files.train[0]
        if not (hasattr(config, "parallel") and config.parallel.train_targets):
            found = find_format(first, config.columns.fields)
            log(f"{'file':11} {first}: {found.name}")
            for line in _columns(found.describe(first, config.columns.fields)):
                log(line)
    survey, data = Survey(), None
    if task.documents is not None:
        for _, pieces in task.documents(config):
            survey.add_document(pieces)
    if task.load is not None:
        data = task.load(config, lambda line: log(line.removeprefix(f"{first}: ")))
        for example in data.train:
            survey.add(example)
    for line in survey.lines():
        log(line)
    odd = list(survey.odd())
    if task.fit is not None:
        try:
            task.fit(data, config, odd.append)
        except InputError as error:
            odd.append(f"training would end: {error}")
    if odd:
        log("odd")
        for line in odd:
            log(f"  {line}")


def _columns(description: Description) -> Iterator[str]:
    if not description.columns:
        return
    yield f"{'columns':11} {len(description.columns):,}, in the first {description.rows:,} rows:"
    roles = _roles(description.fields)
    width = max(len(column.name) for column in description.columns[:SHOWN])
    for column in itertools.islice(description.columns, SHOWN):
        facts = [
            roles.get(column.name, ""),
            f"{column.missing:,} missing" if column.missing else "",
            column.note,
        ]
        said = ", ".join(filter(None, facts))
        yield f"  {column.name:{width}}  {column.kind:13}  {column.sample!r}" + (
            f"  ({said})" if said else ""
        )
    if len(description.columns) > SHOWN:
        yield f"  and {len(description.columns) - SHOWN:,} more"


def _roles(fields: Fields) -> dict[str, str]:
    """The role of each column that has one."""
    names = ("text", "tokens", "image", "label", "number", "series", "time", "tag")
    found = dict.fromkeys(fields.values or (), "a value")
    return found | {getattr(fields, role): f"the {role}" for role in names if getattr(fields, role)}
