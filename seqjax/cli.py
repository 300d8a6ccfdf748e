"""The commands: `seqjax train`, `import`, `check`, `generate`, `evaluate`, `predict`, `inspect`,
`export`, `bench`."""

import dataclasses
import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from seqjax.core.errors import InputError, MissingPackageError
from seqjax.data.examples import MalformedError
from seqjax.train.commands import EvaluateConfig, GenerateConfig, PredictConfig, TaskCommands
from seqjax.train.connection import is_connected
from seqjax.train.devices import use_cpu_cores
from seqjax.train.lost_processes import ENDED_WITH_OTHERS, with_advice
from seqjax.train.options import (
    join_processes,
    parse,
    parse_shared,
    processes_of,
    require_same_options,
)
from seqjax.train.processes import (
    is_first,
    leave,
    say,
    together,
    why_others,
)
from seqjax.train.run_folder import SavedRun
from seqjax.train.saved_config import differences

USAGE = """\
usage: seqjax COMMAND [OPTIONS]

{tasks}
  train --resume   continue a run
  train lm --from  train the language model of a run further, on other text
  import           a run of a published language model
  check            how `train` would read a file, and what looks odd in it
  generate         write text with a trained language model
  evaluate         how good a trained model is, on its test data or on your own
  predict          predictions for a file, in the format of the file
  inspect          what gradients, states and gates of a trained model do
  export           a trained model as files that run without seqjax
  bench            time and memory of a layer, beside other libraries

`seqjax COMMAND --help` lists the options of a command.
"""

FAILED = 2
"""Exit status after an error."""

STOPPED = 128
"""Added to the number of the signal for the exit status, as shells do."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 2 for an error, 128 + signal, 75 where
    another process of the same run ended or hangs."""
    arguments = sys.argv[1:] if arguments is None else arguments
    _escape_unencodable(sys.stdout, sys.stderr)
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = {
        "train": _train,
        "import": _import,
        "check": _check,
        "generate": _generate,
        "evaluate": _evaluate,
        "predict": _predict,
        "inspect": _inspect,
        "export": _export,
        "bench": _bench,
    }
    if command in ("", "-h", "--help"):
        print(_usage(), end="")
        return 0 if command else FAILED
    if command not in commands:
        print(f"error: there is no command {command!r}\n\n{_usage()}", end="", file=sys.stderr)
        return FAILED
    try:
        use_cpu_cores()
        return commands[command](rest)
    except BrokenPipeError:
        # Whoever read our output has read enough. Nothing more can be written to it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        leave(STOPPED + signal.SIGINT, "it was interrupted")
        return STOPPED + signal.SIGINT
    except (InputError, MissingPackageError, OSError) as error:
        print(f"error: {_explain(error)}", file=sys.stderr)
        return FAILED
    except Exception:
        others = why_others()
        if others is None:
            raise
        print(f"error: {with_advice(others)}", file=sys.stderr)
        return ENDED_WITH_OTHERS


def _escape_unencodable(*streams: Any) -> None:
    """Characters that a terminal or pipe cannot show become escapes instead of an exception."""
    for stream in streams:
        # A notebook's output is no TextIOWrapper, and takes every character.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _usage() -> str:
    """All commands; a task is described by the first line of its options' docstring."""
    from seqjax.train.tasks import CONFIGS

    first = {kind: str(config.__doc__).splitlines()[0] for kind, config in CONFIGS.items()}
    lines = (
        f"  train {kind:10} {line.removeprefix('Trains ').rstrip('.')}"
        for kind, line in first.items()
    )
    return USAGE.format(tasks="\n".join(lines))


def _explain(error: Exception) -> str:
    text = str(error)
    if isinstance(error, MalformedError):
        text = f"{text.removesuffix('.')}. --skip-malformed leaves such rows out."
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text = f"the disk is full ({error.filename or 'while writing the run'}). "
        text += "What was saved before is whole: make room, then continue with --resume."
    return text


def _train(arguments: Sequence[str]) -> int:
    from seqjax.train.repeat import repeat
    from seqjax.train.supervisor import supervise
    from seqjax.train.training_loop import train

    if processes_of(arguments).supervised:
        return supervise(arguments, print, FAILED)
    join_processes(arguments)
    task, config, run = together(lambda: _training(arguments))
    require_same_options(config)
    if config.repeat > 1:
        stopped = repeat(task, config, _load_run)
        return 0 if stopped is None else STOPPED + stopped
    outcome = train(together(lambda: task.prepare(config, say, run)), config)
    if outcome.stopped_by is not None:
        return STOPPED + outcome.stopped_by
    command = "evaluate" if task.generate is None else "generate"
    say(f"Done. Now try: seqjax {command} {outcome.folder}")
    return 0


def _training(arguments: Sequence[str]) -> tuple[TaskCommands, Any, SavedRun | None]:
    """The task, its options, and the run to continue or None."""
    from seqjax.train.tasks import TASKS

    kind, arguments, default, run = _which_task(arguments)
    task = TASKS[kind]
    config = parse_shared(task.config, arguments, f"train {kind}", default)[0]
    if run is not None:
        other = differences(run.config, config)
        if other:
            raise InputError(
                f"The run in {config.resume} was started with {'; '.join(other)}. Leave the option "
                "out to continue it as it was, or start a new run."
            )
    return task, config, run


def _which_task(
    arguments: Sequence[str],
) -> tuple[str, Sequence[str], Any, SavedRun | None]:
    """The task, the options, their defaults or None, and the run to continue or None.

    The configuration of a run is the default, whether it goes on or its model is trained further,
    so that only options that are given explicitly can differ from it.
    """
    from seqjax.train.tasks import TASKS

    named = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if named is not None and named not in TASKS:
        raise InputError(f"There is nothing to train called {named!r}; there is {_join(TASKS)}.")
    options = arguments if named is None else arguments[1:]
    if "--resume" in options[:-1]:
        run = _load_run(Path(options[options.index("--resume") + 1]))
        if named not in (None, run.kind):
            raise InputError(f"The run in {run.folder} is one of `train {run.kind}`, not {named}.")
        if run.imported:
            raise InputError(
                f"{run.folder} was imported, so there is no training that could go on. This trains "
                f"it further: seqjax train {run.kind} --from {run.folder} --text FILES"
            )
        return run.kind, options, dataclasses.replace(run.config, resume=run.folder), run
    if "--from" in options[:-1]:
        run = _load_run(Path(options[options.index("--from") + 1]))
        further = TASKS[run.kind].continued
        if further is None or named not in (None, run.kind):
            kinds = _join(kind for kind, task in TASKS.items() if task.continued is not None)
            raise InputError(
                f"`seqjax train {kinds} --from` is for runs of {kinds}; {run.folder} is a run of "
                f"{run.kind}."
            )
        return run.kind, options, further(run), None
    if named is None:
        if any(option in ("-h", "--help") for option in options):
            print(f"usage: seqjax train {{{','.join(TASKS)}}} [OPTIONS]; each has its --help.")
            sys.exit(0)
        raise InputError(f"Say what to train: seqjax train {_join(TASKS)}.")
    return named, options, None, None


def _join(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _load_run(folder: Path) -> SavedRun:
    from seqjax.train.run_folder import load_run
    from seqjax.train.tasks import CONFIGS

    return load_run(folder, CONFIGS)


def _check_options(
    config: Any, run: SavedRun, accepted: Callable[[TaskCommands], frozenset[str]]
) -> None:
    """Raises `InputError` if an option is given that the task of a run does not take.

    Args:
      config: of the command.
      run: that it is for.
      accepted: the options that a task takes, besides run and checkpoint.
    """
    from seqjax.train.tasks import TASKS

    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in ("run", "checkpoint") or value == field.default:
            continue
        if name not in accepted(TASKS[run.kind]):
            kinds = [kind for kind, task in TASKS.items() if name in accepted(task)]
            raise InputError(
                f"--{name.replace('_', '-')} is for runs of {_join(kinds)}; {config.run} is a run "
                f"of {run.kind}."
            )


def _import(arguments: Sequence[str]) -> int:
    from seqjax.train.importing import ImportConfig, import_model

    config = parse(ImportConfig, arguments, "import")
    import_model(config, print)
    print(f"Done. Now try: seqjax generate {config.run} --prompt TEXT")
    return 0


def _check(arguments: Sequence[str]) -> int:
    from seqjax.train.check import USAGE, as_training, check
    from seqjax.train.tasks import TASKS

    if arguments[:1] in (["-h"], ["--help"]):
        print(
            USAGE.format(tasks=_join(kind for kind, task in TASKS.items() if task.reads_files)),
            end="",
        )
        return 0
    task, arguments = as_training(arguments, TASKS)
    config = parse(task.config, arguments, f"check {task.name}")
    check(task, arguments, config, print)
    return 0


def _generate(arguments: Sequence[str]) -> int:
    from seqjax.train.tasks import TASKS

    config = parse(GenerateConfig, arguments, "generate")
    run = _load_run(config.run)
    generate = TASKS[run.kind].generate
    if generate is None:
        kinds = _join(kind for kind, task in TASKS.items() if task.generate is not None)
        raise InputError(
            f"`seqjax generate` is for runs of {kinds}; {config.run} is a run of {run.kind}."
        )
    for piece in generate(run, config):
        print(piece, end="", flush=True)
    print()
    return 0


def _evaluate(arguments: Sequence[str]) -> int:
    from seqjax.train.pictures import save_pictures
    from seqjax.train.tasks import TASKS

    def options() -> tuple[EvaluateConfig, SavedRun]:
        config = parse_shared(EvaluateConfig, arguments, "evaluate")[0]
        run = _load_run(config.run)
        _check_options(config, run, lambda task: task.evaluate_options)
        return config, run

    join_processes(arguments)
    config, run = together(options)
    require_same_options(config)
    report = TASKS[run.kind].evaluate(run, config, say)
    if not is_first():
        return 0
    for note in report.notes:
        print(note)
    print(f"{report.what}; checkpoint of step {report.step:,}")
    for name, value in report.scores.items():
        print(f"  {name.replace('_', ' '):28} {value:.4f}")
    if config.pictures:
        for path in save_pictures(report.draw(), config.run / "pictures"):
            print(f"picture {path}")
    return 0


def _predict(arguments: Sequence[str]) -> int:
    from seqjax.train.tasks import TASKS

    def options() -> tuple[Any, SavedRun, PredictConfig]:
        config = parse_shared(PredictConfig, arguments, "predict")[0]
        run = _load_run(config.run)
        predict = TASKS[run.kind].predict
        if predict is None:
            raise InputError(f"{config.run} is a run of {run.kind}, which predicts no files.")
        _check_options(config, run, lambda task: task.predict_options)
        return predict, run, config

    join_processes(arguments)
    predict, run, config = together(options)
    require_same_options(config)
    predict(run, config, say)
    return 0


def _inspect(arguments: Sequence[str]) -> int:
    from seqjax.train.inspection import InspectConfig, inspect
    from seqjax.train.pictures import save_pictures
    from seqjax.train.tasks import TASKS

    config = parse(InspectConfig, arguments, "inspect")
    run = _load_run(config.run)
    found = inspect(TASKS[run.kind].prepare(run.config, print, run), run, config)
    print("\n".join(found.lines))
    if config.pictures:
        for path in save_pictures(found.draw(), config.run / "pictures"):
            print(f"picture {path}")
    return 0


def _export(arguments: Sequence[str]) -> int:
    from seqjax.export.export_command import ExportConfig, export_run

    config = parse(ExportConfig, arguments, "export")
    export_run(_load_run(config.run), config, print)
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from seqjax.bench.command import BenchConfig, bench

    return bench(parse(BenchConfig, arguments, "bench"))


def entry() -> None:
    """`main` as a program: nothing but its own words reaches the terminal.

    When the disk is full, threads of the checkpoint and log writers fail too, and again at
    exit. What matters of it has reached `main` as an error.
    """
    threading.excepthook = lambda _: None
    # What is half-written is removed on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(STOPPED + number))
    try:
        status = main()
    except BaseException as error:
        code = error.code if isinstance(error, SystemExit) else 1
        if code == 1 and is_connected():
            traceback.print_exc()
        leave(code if isinstance(code, int) else FAILED, "it was stopped, or there was an error")
        raise
    if status in (FAILED, ENDED_WITH_OTHERS):
        leave(status, "there was an error")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    entry()
