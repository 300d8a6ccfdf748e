"""The tasks, by the word that follows `seqjax train`."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import NamedSharding

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.padding import Encoded, truncate
from seqjax.train import (
    captioning,
    classification,
    forecast_config,
    language,
    pictures,
    synthetic,
    tagging,
    transcription,
    translation,
)
from seqjax.train.config import RunConfig
from seqjax.train.devices import make_mesh
from seqjax.train.files import Data, SequenceConfig, find_data, hold_out, read_examples
from seqjax.train.forecasting import Forecasting
from seqjax.train.run import Saved, load_model
from seqjax.train.supervised import Predictor, Split, SupervisedTask, lengths_of
from seqjax.train.task import EvaluateConfig, Report, Task

PREDICTED_ROWS = 256
"""Rows of a batch in prediction."""


class Kind(NamedTuple):
    """What the commands need to know of a task.

    `config` is the class of its settings, `task(config, log)` reads its data as they log,
    `evaluate(saved, asked)` says how good a trained model is. `restore(config, settings)` is what
    is predicted for an example, None where it is not examples that are learned from.
    """

    config: type[RunConfig]
    task: Callable[[Any, Callable[[str], None]], Task]
    evaluate: Callable[[Saved, EvaluateConfig], Report]
    restore: Any = None


def _from_examples(
    kind: str, find: Callable[[Any, Callable[[str], None]], Data], of: Callable[..., Any]
) -> Callable[[Any, Callable[[str], None]], SupervisedTask]:
    """The task of learning from examples.

    Args:
      kind: the word after `seqjax train`.
      find: reads the data that the settings name.
      of: `(config, training examples, held-out examples) -> problem`.
    """

    def task(config: Any, log: Callable[[str], None]) -> SupervisedTask:
        data = find(config, log)
        train, validation, held = data.train, data.validation, []
        if validation is None:
            classes = kind == "classify" and config.columns.target == "class"
            groups = [str(example.target) if classes else "" for example in train]
            train, validation = hold_out(train, config.files.held_out, groups)
            held = validation
        problem = of(config, train, held)
        parts = [
            cut(problem, [problem.encode(example) for example in examples], what, log)
            for what, examples in (
                ("training", train),
                ("validation", validation),
                ("test", data.test),
            )
        ]
        if isinstance(problem, tagging.Tagging):
            flaw = f"tags that {problem.scheme} forbids", "--no-crf learns any tags."
            parts[0] = _possible(problem, parts[0], *flaw, log)
        if isinstance(problem, transcription.Transcription):
            flaw = "fewer steps than their transcript needs", "Is a step too long?"
            parts[0] = _possible(problem, parts[0], *flaw, log)
        return SupervisedTask(
            kind=kind,
            config=config,
            problem=problem,
            split=Split(*parts),
            data_name=data.name,
            settings={"problem": problem.settings(), "values": data.values},
            buckets=config.sequences.buckets,
            notes=[],
        )

    return task


def cut(problem: Any, encoded: list[Encoded], what: str, log: Callable[[str], None]) -> list:
    """The examples with no more steps than the settings of the run allow."""
    config: SequenceConfig = problem.config.sequences
    if not config.max_length:
        return encoded
    kept, report = truncate(
        encoded, config.max_length, config.truncate_side, sequences=problem.sequences
    )
    if report.summary():
        log(f"{what}: {report.summary()}")
    return kept


def _possible(problem: Any, encoded: list[Encoded], flaw: str, advice: str, log: Any) -> list:
    """The examples that the model can give any probability at all: the others cannot be learned."""
    possible = [example for example in encoded if problem.is_possible(example)]
    left_out = len(encoded) - len(possible)
    what = f"{left_out:,} of {len(encoded):,} training sequences have {flaw}"
    if not possible:
        raise InputError(f"{what}: nothing is left to learn from. {advice}")
    if left_out:
        log(f"{what}; they are left out. {advice}")
    return possible


def forecast(config: Any, log: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train forecast`."""
    data = find_data(config, forecast_config.from_source, log)
    problem = Forecasting.of(config, data.train, data.values)
    season = f", season {problem.season}" if problem.season else ""
    look = f"{problem.history} steps read, {problem.horizon} predicted{season}"
    return SupervisedTask(
        kind="forecast",
        config=config,
        problem=problem,
        split=problem.split(data.train, data.validation, data.test),
        data_name=data.name,
        settings={"problem": problem.settings(), "values": data.values},
        buckets=1,
        notes=[("windows", look)],
    )


def evaluate(saved: Saved, asked: EvaluateConfig) -> Report:
    """How good a trained model is on files, or on the test data of its run."""
    config: Any = saved.config
    kind = TASKS[saved.kind]
    problem = with_beams(kind.restore(config, saved.settings["problem"]), asked.beams)
    model, step = load_model(asked.run, problem.model(config.seed), asked.checkpoint)
    if asked.input:
        malformed = Malformed(asked.skip_malformed)
        if asked.targets:
            examples = translation.pairs("input", asked.input, asked.targets, print)
        else:
            examples = read_examples(asked.input, _fields(saved), malformed)
        if isinstance(problem, Forecasting):
            encoded = problem.judged(examples)
        else:
            encoded = [
                arrays for _, arrays in _encoded(problem, examples, malformed, answered=True)
            ]
            encoded = cut(problem, encoded, "input", print)
        if malformed.count:
            print(malformed.summary())
        where = ", ".join(map(str, asked.input))
    else:
        task: Any = kind.task(config, print)
        encoded, where = task.split.test, f"the test data of {task.data_name}"
    if not len(encoded):
        raise InputError(f"The run in {asked.run} has no test data; name files with --input.")
    mesh = make_mesh(config.batch, None)
    lengths = lengths_of(encoded, problem, 4)
    run = Predictor(problem, mesh, rows=config.batch, lengths=lengths, dtype=config.dtype)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    start = time.perf_counter()
    outputs = list(run(model, encoded))
    rate = len(encoded) / (time.perf_counter() - start)
    return Report(
        problem.scores(encoded, outputs),
        f"{len(encoded):,} examples of {where}",
        step,
        notes=(f"{rate:,.0f} examples a second, compilation included",),
        draw=lambda: pictures.pictures(problem, model, encoded, outputs),
    )


def with_beams(problem: Any, beams: int | None) -> Any:
    """The problem, searched with another number of beams if one is asked for.

    Raises:
      InputError: if nothing is searched for.
    """
    if beams is None:
        return problem
    if not hasattr(problem, "beams"):
        raise InputError("--beams is for runs that write: translate, caption and transcribe.")
    return dataclasses.replace(problem, beams=beams)


def _encoded(
    problem: Any, examples: Iterable[Example], malformed: Malformed, *, answered: bool
) -> Iterator[tuple[Example, Encoded]]:
    """Examples with their arrays; those that do not fit the problem are malformed."""
    for example in examples:
        try:
            arrays = problem.encode(example, answered=answered)
        except InputError as error:
            if not malformed.skip:
                raise
            malformed.report(example.where, str(error).removeprefix(f"{example.where}: "))
        else:
            yield example, arrays


def _fields(saved: Saved) -> Fields:
    """What the columns of a file mean: the same as in training."""
    config: Any = saved.config
    values = saved.settings["values"]
    if values is None:
        return config.columns.fields
    return dataclasses.replace(config.columns.fields, values=tuple(values))


def predict(
    folder: Path,
    saved: Saved,
    source: Path,
    target: Path,
    *,
    checkpoint: str,
    malformed: Malformed,
    probability: bool = False,
    beams: int | None = None,
) -> int:
    """Writes what a trained model predicts for a file, into another of the same format.

    Both are read and written as they go by: memory does not grow with the file.

    Args:
      folder: of the run.
      saved: what the run has written down of itself.
      source: the file to predict for.
      target: the file to write.
      checkpoint: `"best"`, `"last"`, or a step.
      malformed: told of rows that cannot be read.
      probability: whether to write how sure each prediction is.
      beams: of the search, for runs that write; by default as many as the run says.

    Returns:
      The number of predictions.

    Raises:
      InputError: if the run has nothing to predict, or the file cannot be read; then nothing
        is written.
    """
    config: Any = saved.config
    kind = TASKS[saved.kind]
    if kind.restore is None:
        raise InputError(f"{folder} is a run of `train {saved.kind}`, which predicts no files.")
    problem = with_beams(kind.restore(config, saved.settings["problem"]), beams)
    model, _ = load_model(folder, problem.model(config.seed), checkpoint)
    found = find_format(source)
    unanswered = dataclasses.replace(_fields(saved), require_target=False)
    fields = found.resolve(source, unanswered)
    mesh = make_mesh(PREDICTED_ROWS, None)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    run = Predictor(problem, mesh, rows=PREDICTED_ROWS, lengths=None, dtype=config.dtype)
    waiting: deque[tuple[Example, Any]] = deque()

    def encoded():
        examples = found.read(source, fields, malformed)
        for example, arrays in _encoded(problem, examples, malformed, answered=False):
            # Every token of a sentence gets its tag, however long the sentence is.
            if not isinstance(problem, (Forecasting, tagging.Tagging)):
                (arrays,) = cut(problem, [arrays], "input", lambda _: None)
            waiting.append((example, arrays))
            yield arrays

    count = 0
    with found.writer(target, source, fields) as writer:
        extend: Any = getattr(writer, "extend", None)
        if isinstance(problem, Forecasting) and extend is None:
            raise InputError(f"{source}: forecasts are written for .csv, .tsv and .jsonl files.")
        for output in run(model, encoded()):
            example, arrays = waiting.popleft()
            answer = problem.answer(output, arrays)
            if not probability:
                answer.pop("probability", None)
            if isinstance(problem, Forecasting):
                rows = example.raw[: problem.known(example)]
                extend(example._replace(raw=rows), answer)
            else:
                writer.write(example, answer)
            count += 1
        if not count:
            raise InputError(f"{source} holds nothing to predict. {malformed.summary()}".strip())
    return count


def _find(from_source: Callable[[str], Data]) -> Callable[[Any, Callable[[str], None]], Data]:
    return lambda config, log: find_data(config, from_source, log)


TASKS = {
    "lm": Kind(language.LanguageConfig, language.LanguageTask, language.evaluate),
    "classify": Kind(
        classification.ClassifyConfig,
        _from_examples(
            "classify", _find(classification.from_source), classification.Classification.of
        ),
        evaluate,
        classification.Classification.restore,
    ),
    "tag": Kind(
        tagging.TagConfig,
        _from_examples("tag", _find(tagging.from_source), tagging.Tagging.of),
        evaluate,
        tagging.Tagging.restore,
    ),
    "translate": Kind(
        translation.TranslateConfig,
        _from_examples("translate", translation.find, translation.of),
        evaluate,
        translation.restore,
    ),
    "caption": Kind(
        captioning.CaptionConfig,
        _from_examples("caption", _find(captioning.from_source), captioning.of),
        evaluate,
        captioning.restore,
    ),
    "transcribe": Kind(
        transcription.TranscribeConfig,
        _from_examples(
            "transcribe", _find(transcription.from_source), transcription.Transcription.of
        ),
        evaluate,
        transcription.Transcription.restore,
    ),
    "forecast": Kind(forecast_config.ForecastConfig, forecast, evaluate, Forecasting.restore),
    "synthetic": Kind(synthetic.SyntheticConfig, synthetic.SyntheticTask, synthetic.evaluate),
}
