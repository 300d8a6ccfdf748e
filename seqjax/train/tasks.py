"""The tasks, by the word that follows `seqjax train`."""

import dataclasses
from collections import deque
from collections.abc import Callable
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
    forecasting,
    language,
    pictures,
    synthetic,
    tagging,
    transcription,
    translation,
)
from seqjax.train.config import RunConfig
from seqjax.train.devices import make_mesh
from seqjax.train.files import Data, find_data, hold_out, read_examples
from seqjax.train.forecasting import Forecasting
from seqjax.train.run import Saved, load_model
from seqjax.train.supervised import Predictor, Split, SupervisedTask, lengths_of
from seqjax.train.task import Report, Task

PREDICTED_ROWS = 256
"""Rows of a batch in prediction."""


class Kind(NamedTuple):
    """What the commands need to know of a task.

    `config` is the class of its settings, `task(config, say)` reads its data as they say,
    `evaluate(folder, saved, paths, checkpoint)` says how good a trained model is on the files
    in `paths`, or on its test data if there are none. `restore(config, settings)` is what is
    predicted for an example, None where it is not examples that are learned from.
    """

    config: type[RunConfig]
    task: Callable[[Any, Callable[[str], None]], Task]
    evaluate: Callable[[Path, Saved, tuple[Path, ...], str], Report]
    restore: Any = None


def classify(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train classify`."""
    data = find_data(config, classification.from_source, say)
    problem = classification.Classification.of(config, data.train)
    grouped = config.columns.target == "class"
    groups = [str(example.target) if grouped else "" for example in data.train]
    return _encoded("classify", config, problem, data, groups, say)


def tag(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train tag`."""
    data = find_data(config, tagging.from_source, say)
    problem = tagging.Tagging.of(config, data.train)
    return _encoded("tag", config, problem, data, [""] * len(data.train), say)


def translate(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train translate`."""
    data = translation.parallel(config, say) or find_data(config, translation.from_source, say)
    problem = translation.of(config, data.train)
    return _encoded("translate", config, problem, data, [""] * len(data.train), say)


def transcribe(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train transcribe`."""
    data = find_data(config, transcription.from_source, say)
    problem = transcription.Transcription.of(config, data.train)
    return _encoded("transcribe", config, problem, data, [""] * len(data.train), say)


def caption(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train caption`."""
    data = find_data(config, captioning.from_source, say)
    problem = captioning.of(config, data.train)
    return _encoded("caption", config, problem, data, [""] * len(data.train), say)


def _encoded(kind, config, problem, data: Data, groups, say) -> SupervisedTask:
    train, validation = data.train, data.validation
    if validation is None:
        train, validation = hold_out(train, config.files.held_out, groups)
    parts, cut = [], config.sequences
    for what, examples in (("training", train), ("validation", validation), ("test", data.test)):
        encoded = [problem.encode(example) for example in examples]
        if cut.longest:
            encoded, report = truncate(encoded, cut.longest, cut.keep, sequences=problem.sequences)
            if report.summary():
                say(f"{what}: {report.summary()}")
        parts.append(encoded)
    if isinstance(problem, tagging.Tagging):
        flaw = f"tags that {problem.scheme} forbids", "--no-crf learns any tags."
        parts[0] = _possible(problem, parts[0], *flaw, say)
    if isinstance(problem, transcription.Transcription):
        flaw = "fewer steps than their transcript needs", "Is a step too long?"
        parts[0] = _possible(problem, parts[0], *flaw, say)
    return SupervisedTask(
        kind=kind,
        config=config,
        problem=problem,
        split=Split(*parts),
        data_name=data.name,
        settings={"problem": problem.settings(), "values": data.values},
        buckets=cut.buckets,
        notes=[],
    )


def _possible(problem: Any, encoded: list[Encoded], flaw: str, advice: str, say: Any) -> list:
    """The examples that the model can give any probability at all: the others cannot be learned."""
    possible = [example for example in encoded if problem.is_possible(example)]
    left_out = len(encoded) - len(possible)
    what = f"{left_out:,} of {len(encoded):,} training sequences have {flaw}"
    if not possible:
        raise InputError(f"{what}: nothing is left to learn from. {advice}")
    if left_out:
        say(f"{what}; they are left out. {advice}")
    return possible


def forecast(config: Any, say: Callable[[str], None]) -> SupervisedTask:
    """The task of `seqjax train forecast`."""
    data = find_data(config, forecasting.from_source, say)
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


def evaluate(folder: Path, saved: Saved, paths: tuple[Path, ...], checkpoint: str) -> Report:
    """How good a trained model is on files, or on the test data of its run."""
    config: Any = saved.config
    kind = KINDS[saved.kind]
    problem = kind.restore(config, saved.settings["problem"])
    model, step = load_model(folder, problem.model(config.seed), checkpoint)
    if paths:
        skip = config.files.skip_malformed
        examples = read_examples(paths, _fields(saved), skip=skip, say=print)
        if isinstance(problem, Forecasting):
            encoded = problem.judged(examples)
        else:
            encoded = [problem.encode(example) for example in examples]
        where = ", ".join(map(str, paths))
    else:
        task: Any = kind.task(config, print)
        encoded, where = task.split.test, f"the test data of {task.data_name}"
    if not len(encoded):
        raise InputError(f"The run in {folder} has no test data; name files with --input.")
    mesh = make_mesh(config.batch, config.devices)
    lengths = lengths_of(encoded, problem, 4)
    run = Predictor(problem, mesh, rows=config.batch, lengths=lengths, dtype=config.dtype)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    outputs = list(run(model, encoded))
    return Report(
        problem.scores(encoded, outputs),
        f"{len(encoded):,} examples of {where}",
        step,
        draw=lambda: pictures.pictures(problem, model, encoded, outputs),
    )


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

    Returns:
      The number of predictions.

    Raises:
      InputError: if the run has nothing to predict, or the file cannot be read; then nothing
        is written.
    """
    config: Any = saved.config
    kind = KINDS[saved.kind]
    if kind.restore is None:
        raise InputError(f"{folder} is a run of `train {saved.kind}`, which predicts no files.")
    problem = kind.restore(config, saved.settings["problem"])
    model, _ = load_model(folder, problem.model(config.seed), checkpoint)
    found = find_format(source)
    unanswered = dataclasses.replace(_fields(saved), require_target=False)
    fields = found.resolve(source, unanswered)
    mesh = make_mesh(PREDICTED_ROWS, config.devices)
    model = jax.device_put(model, NamedSharding(mesh, jax.P()))
    run = Predictor(problem, mesh, rows=PREDICTED_ROWS, lengths=None, dtype=config.dtype)
    waiting: deque[tuple[Example, Any]] = deque()

    def encoded():
        for example in found.read(source, fields, malformed):
            arrays = problem.encode(example, answered=False)
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


KINDS = {
    "lm": Kind(language.LanguageConfig, language.LanguageTask, language.evaluate),
    "classify": Kind(
        classification.ClassifyConfig, classify, evaluate, classification.Classification.restore
    ),
    "tag": Kind(tagging.TagConfig, tag, evaluate, tagging.Tagging.restore),
    "task": Kind(synthetic.SyntheticConfig, synthetic.SyntheticTask, synthetic.evaluate),
    "translate": Kind(translation.TranslateConfig, translate, evaluate, translation.restore),
    "caption": Kind(captioning.CaptionConfig, caption, evaluate, captioning.restore),
    "transcribe": Kind(
        transcription.TranscribeConfig, transcribe, evaluate, transcription.Transcription.restore
    ),
    "forecast": Kind(forecasting.ForecastConfig, forecast, evaluate, Forecasting.restore),
}
