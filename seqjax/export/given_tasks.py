"""What is given away of a run of each task: programs, and what tells their meaning."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from seqjax.core.errors import InputError
from seqjax.core.masks import length_mask
from seqjax.data.tokenizer import Tokenizer
from seqjax.data.vocabulary import SPECIAL, UNKNOWN
from seqjax.export.portable import BATCH, TIME, Arrays, CarryForm, Entry, Program, portable
from seqjax.nn import pooling
from seqjax.nn.recursive_forecaster import RecursiveForecaster
from seqjax.train.run_folder import SavedRun, load_model
from seqjax.train.spelled_words import LETTERS
from seqjax.train.tasks import lm
from seqjax.train.tasks.classify import Classification
from seqjax.train.tasks.forecast import Forecasting
from seqjax.train.tasks.tag import Tagging
from seqjax.train.tasks.transcribe import Transcription

LENGTHS = Entry((BATCH,), jnp.int32)


@dataclasses.dataclass(frozen=True)
class Given:
    """What is given away of a run.

    Args:
      task: the word after `seqjax train`.
      model: as trained.
      step: of the checkpoint.
      programs: of the model.
      about: what tells the meaning of arrays: tokens, labels, means and scales; as JSON.
      carry: the carry before the first step, of one sequence, by name.
      notes: for the user of the command.
    """

    task: str
    model: Any
    step: int
    programs: tuple[Program, ...]
    about: dict[str, Any]
    carry: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()


def given(run: SavedRun, checkpoint: str) -> Given:
    """What is given away of a run.

    Raises:
      InputError: if models of its task are not.
    """
    if run.kind not in TASKS:
        *most, last = TASKS
        raise InputError(
            f"{run.folder} is a run of {run.kind}, whose outputs a search makes, not one program: "
            f"`seqjax export` is for runs of {', '.join(most)} and {last}."
        )
    return TASKS[run.kind](run, checkpoint)


def _tokens_of(tokenizer: Tokenizer) -> dict[str, Any]:
    """The text of every token, by number, and which of them begins a document."""
    return {
        "tokens": [tokenizer.decode([number]) for number in range(len(tokenizer))],
        "kind_of_tokens": tokenizer.kind,
        "begin": tokenizer.boundary,
        "unknown": UNKNOWN,
    }


def _standard(standardizer: Any) -> dict[str, Any]:
    return {
        "location": list(standardizer.location),
        "scale": list(standardizer.scale),
        "masked": list(standardizer.masked),
    }


def _language_model(run: SavedRun, checkpoint: str) -> Given:
    trained, tokenizer, step = lm.load(run, checkpoint)
    model = portable(trained)
    form = CarryForm(model.initial_carry())

    def one(arrays: Arrays) -> Arrays:
        carry, logits = model.step(form.join(arrays), arrays["token"])
        return {"logits": logits, **form.split(carry)}

    def whole(arrays: Arrays) -> Arrays:
        carry, logits = model(arrays["tokens"], form.join(arrays), lengths=arrays["lengths"])
        return {"logits": logits, **form.split(carry)}

    size, carry = len(tokenizer), form.entries()
    about = _tokens_of(tokenizer)
    # Published models have more rows than tokens, to a round number.
    about["tokens"] += [""] * (model.vocabulary_size - size)
    first = min(SPECIAL, size - 1)
    programs = (
        Program("step", one, {"token": Entry((BATCH,), jnp.int32, size, first), **carry}),
        Program(
            "prefill",
            whole,
            {
                "tokens": Entry((BATCH, TIME), jnp.int32, size, first),
                "lengths": LENGTHS,
                **carry,
            },
        ),
    )
    return Given("lm", trained, step, programs, about, form.initial)


def _restored(task_type: Any, run: SavedRun, checkpoint: str) -> tuple[Any, Any, int]:
    task = task_type.restore(run.config, run.preprocessing["problem"])
    model, step = load_model(run, lambda: task.model(run.config.seed), checkpoint)
    return task, model, step


def _inputs_of(task: Any, vocabulary: Tokenizer | None) -> tuple[Entry, dict[str, Any]]:
    """One step of what a task reads, and its meaning."""
    if vocabulary is not None:
        first = min(SPECIAL, len(vocabulary) - 1)
        return Entry((BATCH,), jnp.int32, len(vocabulary), first), _tokens_of(vocabulary)
    width = (*task.space, task.standardizer.features)
    return Entry((BATCH, *width), jnp.float32), _standard(task.standardizer)


def _in_time(entry: Entry) -> Entry:
    return entry._replace(shape=(BATCH, TIME, *entry.shape[1:]))


def _classifier(run: SavedRun, checkpoint: str) -> Given:
    task, trained, step = _restored(Classification, run, checkpoint)
    model, meaning = portable(trained), task.meaning
    entry, about = _inputs_of(task, task.vocabulary)
    about |= {"labels": list(task.labels), "target": task.target}
    about |= {"target_location": task.target_location, "target_scale": task.target_scale}
    if not model.rnn.cell.causal or model.pooling != "last":

        def everything(arrays: Arrays) -> Arrays:
            return meaning.predict(model(arrays["inputs"], lengths=arrays["lengths"]))

        inputs = {"inputs": _in_time(entry), "lengths": LENGTHS}
        why = "reads both ways" if not model.rnn.cell.causal else f"pools by {model.pooling}"
        return Given(
            "classify",
            trained,
            step,
            (Program("prefill", everything, inputs),),
            about,
            notes=(
                f"whole sequences alone, no step and no carry: the model {why}; --no-bidirectional "
                "--pooling last trains one that goes step by step",
            ),
        )

    def one(form: CarryForm, arrays: Arrays) -> Arrays:
        carry, y = model.rnn.step(form.join(arrays), _embedded(model, arrays["inputs"]))
        return {**meaning.predict(model.head(y)), **form.split(carry)}

    def whole(form: CarryForm, arrays: Arrays) -> Arrays:
        vectors, lengths = _embedded(model, arrays["inputs"]), arrays["lengths"]
        carry, ys = model.rnn(vectors, form.join(arrays), lengths=lengths)
        last = pooling.last(ys, length_mask(lengths, ys.shape[1]))
        return {**meaning.predict(model.head(last)), **form.split(carry)}

    return _streaming("classify", trained, step, model, {"inputs": entry}, one, whole, about)


def _embedded(model: Any, inputs: Any) -> Any:
    return inputs if model.embedding is None else model.embedding(inputs)


def _streaming(
    task: str,
    trained: Any,
    step: int,
    model: Any,
    entries: dict[str, Entry],
    one: Callable[[CarryForm, Arrays], Arrays],
    whole: Callable[[CarryForm, Arrays], Arrays],
    about: dict[str, Any],
) -> Given:
    """Step and prefill of a model that sees no future."""
    form = CarryForm(model.rnn.initial_carry())
    carry = form.entries()
    in_time = {name: _in_time(entry) for name, entry in entries.items()}
    programs = (
        Program("step", lambda arrays: one(form, arrays), {**entries, **carry}),
        Program(
            "prefill", lambda arrays: whole(form, arrays), {**in_time, "lengths": LENGTHS, **carry}
        ),
    )
    return Given(task, trained, step, programs, about, form.initial)


def _tagger(run: SavedRun, checkpoint: str) -> Given:
    task, trained, step = _restored(Tagging, run, checkpoint)
    model = portable(trained)
    entry, about = _inputs_of(task, task.spelled and task.spelled.words)
    entries = {"inputs": entry}
    about |= {"labels": list(task.tags), "scheme": task.scheme}
    if task.spelled is not None:
        letters = task.spelled.characters
        entries["characters"] = Entry((BATCH, LETTERS), jnp.int32, len(letters))
        about["characters"] = _tokens_of(letters)["tokens"]

    def vectors(arrays: Arrays) -> Any:
        if task.spelled is None:
            return _embedded(model, arrays["inputs"])
        return model.embedding((arrays["inputs"], arrays["characters"]))

    if model.rnn.cell.causal and not task.config.model.crf:

        def one(form: CarryForm, arrays: Arrays) -> Arrays:
            carry, y = model.rnn.step(form.join(arrays), vectors(arrays))
            emissions = model.head(y)
            found = model.predict(emissions, jnp.ones(emissions.shape[:1], bool))
            return {**found, **form.split(carry)}

        def whole(form: CarryForm, arrays: Arrays) -> Arrays:
            lengths = arrays["lengths"]
            carry, ys = model.rnn(vectors(arrays), form.join(arrays), lengths=lengths)
            found = model.predict(model.head(ys), length_mask(lengths, ys.shape[1]))
            return {**found, **form.split(carry)}

        return _streaming("tag", trained, step, model, entries, one, whole, about)

    def everything(arrays: Arrays) -> Arrays:
        lengths = arrays["lengths"]
        emissions = model.head(model.rnn(vectors(arrays), lengths=lengths)[1])
        return model.predict(emissions, length_mask(lengths, emissions.shape[1]))

    inputs = {**{name: _in_time(each) for name, each in entries.items()}, "lengths": LENGTHS}
    why = "has a conditional random field" if model.rnn.cell.causal else "reads both ways"
    note = (
        f"whole sequences alone, no step and no carry: the model {why}; --no-bidirectional "
        "--no-crf trains one that goes step by step"
    )
    program = Program("prefill", everything, inputs)
    return Given("tag", trained, step, (program,), about, notes=(note,))


def _transcriber(run: SavedRun, checkpoint: str) -> Given:
    task, trained, step = _restored(Transcription, run, checkpoint)
    model, standardizer = portable(trained), task.standardizer

    def everything(arrays: Arrays) -> Arrays:
        return {"logits": model(arrays["inputs"], lengths=arrays["lengths"])}

    entry = Entry((BATCH, TIME, standardizer.features), jnp.float32)
    program = Program("prefill", everything, {"inputs": entry, "lengths": LENGTHS})
    about = {**_standard(standardizer), **_tokens_of(task.vocabulary)}
    notes = ("logits of every step, blank 0; a search over them is left to the user",)
    return Given("transcribe", trained, step, (program,), about, notes=notes)


def _forecaster(run: SavedRun, checkpoint: str) -> Given:
    task, trained, step = _restored(Forecasting, run, checkpoint)
    model, levels = portable(trained), tuple(task.config.model.levels)
    targets, known, past = len(task.names), task.standardizer.features, task.past.features

    def everything(arrays: Arrays) -> Arrays:
        history, covariates = arrays["history"], arrays.get("covariates")
        found = model.quantiles(history, covariates, (0.5, *levels), arrays.get("past"))
        return {"prediction": found[..., 0], "quantiles": found[..., 1:]}

    inputs = {"history": Entry((BATCH, TIME, targets), jnp.float32)}
    if known:
        shape = (BATCH, f"{TIME} + {task.horizon}", known)
        inputs["covariates"] = Entry(shape, jnp.float32)
    if past:
        inputs["past"] = Entry((BATCH, TIME, past), jnp.float32)
    least = (f"{TIME} >= {max(1, task.season)}",)
    about: dict[str, Any] = {"names": list(task.names), "levels": list(levels)}
    about |= {"horizon": task.horizon, "steps_read_in_training": task.history}
    about |= {"covariates": _standard(task.standardizer), "past": _standard(task.past)}
    program = Program("prefill", everything, inputs, least, time=task.history)
    how = "draws samples" if isinstance(model, RecursiveForecaster) else "forecasts all at once"
    note = f"whole histories alone, no step and no carry: the model {how}, in units of the series"
    return Given("forecast", trained, step, (program,), about, notes=(note,))


TASKS: dict[str, Callable[[SavedRun, str], Given]] = {
    "lm": _language_model,
    "classify": _classifier,
    "tag": _tagger,
    "forecast": _forecaster,
    "transcribe": _transcriber,
}
"""By the word after `seqjax train`."""

__all__: Sequence[str] = ("TASKS", "Given", "given")
