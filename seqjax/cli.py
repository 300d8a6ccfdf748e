"""`seqjax train`, `generate`, `evaluate`, `predict`, `inspect`, `bench`."""

import dataclasses
import errno
import os
import signal
import sys
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax

from seqjax.core.errors import InputError, MissingPackageError
from seqjax.core.extras import extra_module
from seqjax.train.bounds import check_bounds
from seqjax.train.devices import use_cpu_cores
from seqjax.train.saved_config import differences

USAGE = """\
usage: seqjax COMMAND [OPTIONS]

  train lm         train a character language model, on Shakespeare or on your own text
  train classify   a classifier of series or texts
  train tag        a tagger of words: parts of speech, entities
  train forecast   a forecaster of series
  train translate  from one text to another: spelling, dates, languages
  train caption    from a picture, a clip or a vector to words
  train transcribe from a series to what it says, by CTC
  train synthetic  any cell on a synthetic task: parity, copying, recall, ...
  train --resume   continue a run
  generate         write text with a trained language model
  evaluate         how good a trained model is, on its test data or on your own
  predict          predictions for a file, in the format of the file
  inspect          what gradients, states and gates of a trained model do
  bench            time and memory of a layer, beside other libraries

`seqjax COMMAND --help` lists the options of a command.
"""

FAILED = 2
"""Exit status after an error."""

STOPPED = 128
"""Added to the number of the signal for the exit status, as shells do."""


@dataclasses.dataclass(frozen=True)
class GenerateConfig:
    """Writes text with a trained model, character by character, in constant memory."""

    run: Path
    """Folder of the run."""
    prompt: str = ""
    """What to continue; nothing starts a new document."""
    length: int = 1000
    """Characters to write."""
    temperature: float = 0.8
    """0 takes the likeliest character every time, 1 samples from the model as it is."""
    top_k: int | None = None
    """Sample from the k likeliest characters only."""
    top_p: float | None = None
    """Sample from the fewest characters whose probability adds up to p."""
    seed: int = 0
    """The same seed writes the same text."""
    checkpoint: str = "best"
    """best, last, or a step."""


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Writes the predictions of a trained model for a file, in the format of the file."""

    run: Path
    """Folder of the run."""
    input: Path | None = None
    """What to predict for, with the columns of the training data; the answers may be missing."""
    output: Path | None = None
    """Where to write; by default beside the input, with .predicted in its name."""
    probability: bool = False
    """Write how sure each prediction is, too."""
    beams: int | None = None
    """Beams of the search, for runs that write; by default as many as the run says."""
    checkpoint: str = "best"
    """best, last, or a step."""
    skip_malformed: bool = False
    """Leave rows out that cannot be read, and count them, instead of stopping there."""

    def __post_init__(self):
        check_bounds(self)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status: 0, 2 for an error, 128 + signal."""
    arguments = sys.argv[1:] if arguments is None else arguments
    command, rest = (arguments[0], arguments[1:]) if arguments else ("", [])
    commands = {
        "train": _train,
        "generate": _generate,
        "evaluate": _evaluate,
        "predict": _predict,
        "inspect": _inspect,
        "bench": _bench,
    }
    if command in ("", "-h", "--help"):
        print(USAGE, end="")
        return 0 if command else FAILED
    if command not in commands:
        print(f"error: there is no command {command!r}\n\n{USAGE}", end="", file=sys.stderr)
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
        return STOPPED + signal.SIGINT
    except (InputError, MissingPackageError, OSError) as error:
        print(f"error: {_explain(error)}", file=sys.stderr)
        return FAILED


def _explain(error: Exception) -> str:
    text = str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        text = f"the disk is full ({error.filename or 'while writing the run'}). "
        text += "What was saved before is whole: make room, then continue with --resume."
    return text


def _parse(kind: type, arguments: Sequence[str], command: str, **options: Any) -> Any:
    tyro: Any = extra_module("tyro", "train")
    return tyro.cli(
        kind,
        args=list(arguments),
        prog=f"seqjax {command}",
        config=(tyro.conf.OmitArgPrefixes, tyro.conf.PositionalRequiredArgs),
        **options,
    )


def _train(arguments: Sequence[str]) -> int:
    from seqjax.train.loop import train
    from seqjax.train.tasks import TASKS

    kind, arguments, saved = _which_task(arguments)
    config = _parse(TASKS[kind].config, arguments, f"train {kind}", default=saved)
    if saved is not None:
        other = differences(saved, config)
        if other:
            raise InputError(
                f"The run in {config.resume} was started with {'; '.join(other)}. Leave the option "
                "out to continue it as it was, or start a new run."
            )
    if config.repeat > 1:
        return _repeat(kind, config)
    outcome = train(TASKS[kind].task(config, print), config)
    if outcome.stopped_by is not None:
        return STOPPED + outcome.stopped_by
    if kind == "lm":
        print(f"Done. Now try: seqjax generate {outcome.folder}")
    else:
        print(f"Done. Now try: seqjax evaluate {outcome.folder}")
    return 0


def _repeat(kind: str, config: Any) -> int:
    """The same with several seeds: each a run of its own, and what they have in common."""
    from seqjax.train.loop import train
    from seqjax.train.repeat import mean_and_spread, save_results
    from seqjax.train.run import new_folder
    from seqjax.train.task import EvaluateConfig
    from seqjax.train.tasks import TASKS

    if config.resume is not None:
        raise InputError("--resume continues one run; leave --repeat out.")
    # Forecasts hold out the end of each series for the test.
    needs_files = TASKS[kind].restore is not None and kind != "forecast"
    if needs_files and config.files.train and not config.files.test:
        raise InputError(
            "--repeat reports how good the runs are on test data: name files with --test."
        )
    folder = new_folder(config.out, kind)
    found = []
    for seed in range(config.seed, config.seed + config.repeat):
        own = dataclasses.replace(config, seed=seed, repeat=1, out=folder / f"seed-{seed}")
        outcome = train(TASKS[kind].task(own, print), own)
        if outcome.stopped_by is not None:
            return STOPPED + outcome.stopped_by
        saved = _load_settings(outcome.folder)
        found.append(TASKS[kind].evaluate(saved, EvaluateConfig(outcome.folder)).scores)
    save_results(folder, found)
    print(f"{config.repeat} seeds, mean and standard deviation:")
    for name, words in mean_and_spread(found).items():
        print(f"  {name.replace('_', ' '):28} {words}")
    return 0


def _which_task(arguments: Sequence[str]) -> tuple[str, Sequence[str], Any]:
    """The kind of task, the options, and the settings of the run to continue or None.

    A run to continue tells what it learns and how: its settings are the defaults, so that
    only what is asked for explicitly can differ from them.
    """
    from seqjax.train.tasks import TASKS

    named = arguments[0] if arguments and not arguments[0].startswith("-") else None
    if named is not None and named not in TASKS:
        raise InputError(f"There is nothing to train called {named!r}; there is {_join(TASKS)}.")
    options = arguments if named is None else arguments[1:]
    if "--resume" in options[:-1]:
        folder = Path(options[options.index("--resume") + 1])
        saved = _load_settings(folder)
        if named not in (None, saved.kind):
            raise InputError(f"The run in {folder} is one of `train {saved.kind}`, not {named}.")
        return saved.kind, options, dataclasses.replace(saved.config, resume=folder)
    if named is None:
        if any(option in ("-h", "--help") for option in options):
            print(f"usage: seqjax train {{{','.join(TASKS)}}} [OPTIONS]; each has its --help.")
            sys.exit(0)
        raise InputError(f"Say what to train: seqjax train {_join(TASKS)}.")
    return named, options, None


def _join(names: Iterable[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} or {last}" if most else last


def _load_settings(folder: Path):
    from seqjax.train.run import load_settings
    from seqjax.train.tasks import TASKS

    return load_settings(folder, {name: kind.config for name, kind in TASKS.items()})


def _generate(arguments: Sequence[str]) -> int:
    from seqjax.data.vocabulary import BOUNDARY
    from seqjax.decode.sampling import check_sampling, generate
    from seqjax.train.language import restore
    from seqjax.train.run import load_model

    config = _parse(GenerateConfig, arguments, "generate")
    check_sampling(config.temperature, config.top_k, config.top_p)
    if config.length < 1:
        raise InputError(f"--length must be at least 1, got {config.length}.")
    saved = _load_settings(config.run)
    if saved.kind != "lm":
        raise InputError(f"{config.run} is a run of `train {saved.kind}`; only `lm` writes text.")
    model, vocabulary = restore(saved.config, saved.settings)
    unknown = vocabulary.unknown(config.prompt)
    if unknown:
        raise InputError(
            f"The model has never seen {', '.join(map(repr, unknown))}. It knows: "
            f"{''.join(vocabulary.tokens).strip()[:200]}"
        )
    model, _ = load_model(config.run, model, config.checkpoint)
    print(config.prompt, end="", flush=True)
    pieces = generate(
        model,
        vocabulary.encode(config.prompt),
        jax.random.key(config.seed),
        length=config.length,
        boundary=BOUNDARY,
        temperature=config.temperature,
        top_k=config.top_k,
        top_p=config.top_p,
    )
    for piece in pieces:
        print(vocabulary.decode(piece), end="", flush=True)
    print()
    return 0


def _evaluate(arguments: Sequence[str]) -> int:
    from seqjax.train.pictures import save_pictures
    from seqjax.train.task import EvaluateConfig
    from seqjax.train.tasks import TASKS

    config = _parse(EvaluateConfig, arguments, "evaluate")
    saved = _load_settings(config.run)
    if config.targets and not (config.input and saved.kind == "translate"):
        raise InputError("--targets goes with --input, for runs of `train translate`.")
    if config.beams is not None and TASKS[saved.kind].restore is None:
        raise InputError(f"--beams is for runs that write; {config.run} is one of {saved.kind}.")
    if config.test_lengths and saved.kind != "synthetic":
        raise InputError(
            f"--test-lengths is for `train synthetic`; {config.run} is of {saved.kind}."
        )
    report = TASKS[saved.kind].evaluate(saved, config)
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
    from seqjax.data.examples import Malformed
    from seqjax.train.tasks import predict

    config = _parse(PredictConfig, arguments, "predict")
    if config.input is None:
        raise InputError("Say what to predict for: --input FILE.")
    output = config.output
    if output is None:
        suffixes = "".join(config.input.suffixes)
        stem = config.input.name.removesuffix(suffixes)
        output = config.input.with_name(f"{stem}.predicted{suffixes}")
    if output.resolve() == config.input.resolve():
        raise InputError("--output must not be the input itself.")
    malformed = Malformed(config.skip_malformed)
    count = predict(
        config.run,
        _load_settings(config.run),
        config.input,
        output,
        checkpoint=config.checkpoint,
        malformed=malformed,
        probability=config.probability,
        beams=config.beams,
    )
    if malformed.count:
        print(malformed.summary())
    print(f"{count:,} predictions in {output}")
    return 0


def _inspect(arguments: Sequence[str]) -> int:
    from seqjax.train.inspection import InspectConfig, inspect
    from seqjax.train.pictures import save_pictures
    from seqjax.train.tasks import TASKS

    config = _parse(InspectConfig, arguments, "inspect")
    saved = _load_settings(config.run)
    found = inspect(TASKS[saved.kind].task(saved.config, print), saved, config)
    print("\n".join(found.lines))
    if config.pictures:
        for path in save_pictures(found.draw(), config.run / "pictures"):
            print(f"picture {path}")
    return 0


def _bench(arguments: Sequence[str]) -> int:
    from seqjax.bench.command import BenchConfig, bench

    return bench(_parse(BenchConfig, arguments, "bench"))


def entry() -> None:
    """`main` as a program: nothing but its own words reaches the terminal.

    When the disk is full, threads of the checkpoint and log writers fail too, and again at
    exit. What matters of it has reached `main` as an error.
    """
    threading.excepthook = lambda _: None
    # What is half-written is removed on the way out.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(STOPPED + number))
    status = main()
    if status == FAILED:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    sys.exit(status)


if __name__ == "__main__":
    entry()
