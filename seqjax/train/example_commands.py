"""The commands for tasks whose data are examples: train, evaluate, predict."""

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
from jax.sharding import NamedSharding

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.formats import Writer, find_format
from seqjax.data.formats.regular_series import GridReport, on_grid
from seqjax.data.on_demand import answers_of
from seqjax.data.padding import Encoded
from seqjax.train.commands import EvaluateConfig, Log, PredictConfig, Report, TaskCommands
from seqjax.train.connection import process_count
from seqjax.train.devices import make_mesh, multiple_of_processes, own_mesh, put_whole
from seqjax.train.example_task import ExampleTask, as_in_training
from seqjax.train.example_training import prepare
from seqjax.train.predictor import Predictor, lengths_of
from seqjax.train.processes import from_first, is_first, together
from seqjax.train.run_folder import SavedRun, load_model
from seqjax.train.shares import in_shares
from seqjax.train.unknown_tokens import UnknownTokens

PREDICTED_BATCH = 256
"""Sequences of a batch in prediction."""

WINDOW = 16
"""Batches of examples in prediction that are looked at together, at least."""

EVALUATED_LENGTHS = 4
"""At most this many lengths of batches are compiled in evaluation."""


def example_commands(task: type[ExampleTask]) -> TaskCommands:
    """The row of `TASKS` for a task that learns from examples."""
    return TaskCommands(
        task.name,
        task.config_type,
        prepare=partial(prepare, task),
        load=task.load,
        fit=task.prepare,
        evaluate=partial(evaluate, task),
        evaluate_options=task.evaluate_options,
        predict=partial(predict, task),
        predict_options=task.predict_options,
        has_test_data=task.has_test_data,
    )


def evaluate(
    task_type: type[ExampleTask], run: SavedRun, config: EvaluateConfig, log: Log
) -> Report:
    """How good a trained model is on files, or on the test data of its run."""
    task, model, step = _trained(task_type, run, config)
    if config.input:
        malformed = Malformed(config.skip_malformed)
        fields = as_in_training(task.config.columns.fields, run.preprocessing)
        examples = task.read(config, fields, malformed, log)
        encoded = task.evaluation_examples(examples, malformed, log)
        if malformed.count:
            log(malformed.summary())
        where = ", ".join(map(str, config.input))
    else:
        training = prepare(task_type, run.config, log)
        encoded, where = training.split.test, f"the test data of {training.data_name}"
    if not len(encoded):
        raise InputError(f"The run in {run.folder} has no test data; name files with --input.")
    batch_size = multiple_of_processes(run.config.batch)
    mesh = make_mesh(batch_size, None)
    lengths = lengths_of(encoded, task, EVALUATED_LENGTHS)
    predictor = Predictor(
        task, mesh, batch_size=batch_size, lengths=lengths, dtype=run.config.dtype
    )
    placed = put_whole(model, NamedSharding(mesh, jax.P()))
    start = time.perf_counter()
    outputs = list(predictor(placed, encoded))
    rate = len(encoded) / (time.perf_counter() - start)
    scores = from_first(lambda: task.scores(answers_of(encoded), outputs))
    return Report(
        scores,
        f"{len(encoded):,} examples of {where}",
        step,
        notes=(f"{rate:,.0f} examples a second, compilation included", *task.verdict(scores)),
        draw=lambda: task.pictures(model, encoded, outputs),
    )


def predict(task_type: type[ExampleTask], run: SavedRun, config: PredictConfig, log: Log) -> int:
    """Writes what a trained model predicts for a file, into another of the same format.

    Both are read and written as they go by: memory does not grow with the file.

    Returns:
      The number of predictions.

    Raises:
      InputError: if the file cannot be read, or holds nothing; then nothing is written.
    """
    if config.input is None:
        raise InputError("Name the file to predict for: --input FILE.")
    source = config.input
    task, model, _ = _trained(task_type, run, config)
    fields = as_in_training(task.config.columns.fields, run.preprocessing)
    fields = dataclasses.replace(fields, require_target=False)
    file_format = find_format(source, fields)
    target = config.output or default_output(source, file_format.written_as)
    written_as = file_format.written_as
    if written_as is not None and target.suffixes[-1:] not in ([written_as], [".gz"]):
        raise InputError(
            f"--output {target}: predictions for {file_format.name} are JSON lines, and the name "
            f"must end in {written_as}."
        )
    if target.resolve() == source.resolve():
        raise InputError("--output must not be the input itself.")
    description = file_format.describe(source, fields)
    fields = description.fields
    for line in description.lines():
        log(line)
    malformed = Malformed(config.skip_malformed)
    examples = file_format.index(source, fields, malformed)
    report = GridReport(fields.time or "")
    if fields.time is not None:
        examples = on_grid(examples, fields, malformed, report)
    unknown = UnknownTokens(task.input_vocabulary)
    count = 0

    with ExitStack() as stack:

        def begin() -> Writer | None:
            writing = file_format.writer(target, source, fields) if is_first() else nullcontext()
            return stack.enter_context(writing)

        def use(example: Example, found: Any) -> None:
            nonlocal count
            flaw, prediction, looked = found
            if flaw is not None:
                malformed.report(example.where, flaw.removeprefix(f"{example.where}: "))
                return
            if looked is not None:
                unknown.add(looked)
            assert writer is not None
            task.write(writer, example, prediction)
            count += 1

        writer = together(begin)
        work = _predictor(task, run, model, config, unknown)
        in_shares(examples, PREDICTED_BATCH * max(WINDOW, process_count()), work, use)
        count = from_first(lambda: count)
        if not count:
            raise InputError(f"{source} holds nothing to predict. {malformed.summary()}".strip())
    if malformed.count:
        log(malformed.summary())
    for line in (*report.lines(source), unknown.line(source)):
        if line is not None:
            log(line)
    log(f"{count:,} predictions in {target}")
    return count


def default_output(source: Path, written_as: str | None = None) -> Path:
    """Where predictions for a file go by default; `written_as` is the suffix if it is another.

    Example:
      >>> from pathlib import Path
      >>> from seqjax.train.example_commands import default_output
      >>> print(default_output(Path("readings.csv.gz")))
      readings.predicted.csv.gz
    """
    suffixes = "".join(source.suffixes)
    stem = source.name.removesuffix(suffixes)
    return source.with_name(f"{stem}.predicted{written_as or suffixes}")


def _trained(
    task_type: type[ExampleTask], run: SavedRun, config: EvaluateConfig | PredictConfig
) -> tuple[ExampleTask, Any, int]:
    """`(task, model, step)` of a saved run."""
    task = task_type.restore(run.config, run.preprocessing["problem"])
    if config.beams is not None:
        task = task.searching(config.beams)
    return task, *load_model(run, lambda: task.model(run.config.seed), config.checkpoint)


def _predictor(
    task: ExampleTask, run: SavedRun, model: Any, config: PredictConfig, unknown: UnknownTokens
) -> Callable[[Iterator[Example]], Iterator[Any]]:
    """Finds for each example `(flaw, prediction, unknown tokens)`, in order, where the flaw of one
    that does not fit the task is all there is; only those on their way are held.

    Each process predicts on its own devices: none waits for the batches of another one.
    """
    mesh = own_mesh(PREDICTED_BATCH)
    model = put_whole(model, NamedSharding(mesh, jax.P()))
    predictor = Predictor(
        task, mesh, batch_size=PREDICTED_BATCH, lengths=None, dtype=run.config.dtype
    )

    def predict(examples: Iterator[Example]) -> Iterator[Any]:
        waiting: deque[tuple[str | None, Encoded, list[Any] | None]] = deque()

        def inputs() -> Iterator[Encoded]:
            for example in examples:
                try:
                    read = example.loaded()
                    encoded = task.encode_input(read)
                except InputError as error:
                    if not config.skip_malformed:
                        raise
                    waiting.append((str(error), {}, None))
                    continue
                tokens = encoded.get("inputs")
                looked = None if tokens is None else unknown.look(read.inputs, tokens)
                waiting.append((None, encoded, looked))
                yield encoded

        outputs = predictor(model, inputs())
        # Asked for first: it fills what is waiting.
        for output in outputs:
            while waiting[0][0] is not None:
                yield waiting.popleft()
            _, encoded, looked = waiting.popleft()
            prediction = task.prediction(output, encoded)
            if not config.probability:
                prediction.pop("probability", None)
            yield None, prediction, looked
        yield from waiting

    return predict
