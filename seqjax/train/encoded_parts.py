"""The examples of a part of the data as arrays, which processes share among themselves."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from seqjax.core.errors import InputError
from seqjax.data.examples import Example, Malformed
from seqjax.data.on_demand import Lengths, OnDemand, without
from seqjax.data.padding import Encoded, Truncation, steps_of
from seqjax.train.commands import Log
from seqjax.train.connection import process_count
from seqjax.train.processes import spread
from seqjax.train.shares import to_first

if TYPE_CHECKING:
    from seqjax.train.example_task import ExampleTask


class Learnable(NamedTuple):
    """Which training examples a model can give a probability above zero.

    `flaw` says what is wrong with the others, and `advice` what to do about it.
    """

    holds: Callable[[Encoded], bool]
    flaw: str
    advice: str


def encode_part(
    task: "ExampleTask",
    examples: Sequence[Example],
    part: str,
    log: Log,
    *,
    malformed: Malformed | None = None,
    learnable: Learnable | None = None,
    scored: bool = True,
) -> Sequence[Encoded]:
    """The examples of a part of the data, encoded and truncated.

    One process encodes all of them, once. Of several, each encodes its share to tell the others
    how long its sequences are, and keeps none: later, it encodes those that it asks for, which
    are in its rows of a batch. The first process keeps what scores look at.

    Args:
      task: how examples become arrays.
      examples: of the part.
      part: its name in reports.
      log: where they go.
      malformed: counts examples that do not fit the task; without it, they are errors.
      learnable: leaves others out.
      scored: whether there will be scores of them.

    Raises:
      InputError: if an example does not fit the task, or none is left.
    """
    kept: dict[int, Encoded] = {}

    def look(place: int) -> list[Any]:
        try:
            arrays = task.encode(examples[place].loaded())
        except InputError as error:
            if malformed is None or not malformed.skip:
                raise
            return [str(error)]
        short = task.truncated(arrays)
        if process_count() == 1:
            kept[place] = short
        elif scored:
            kept[place] = without([short], task.inputs)[0]
        steps = steps_of(arrays, task.sequences), steps_of(short, task.sequences)
        fits = learnable is None or bool(learnable.holds(short))
        numbers = {name: value.item() for name, value in short.items() if np.ndim(value) == 0}
        return [None, fits, numbers, *steps, *(len(short[name]) for name in task.targets)]

    found = spread(len(examples), look)
    for example, (flaw, *_) in zip(examples, found, strict=True):
        if flaw is not None and malformed is not None:
            malformed.report(example.where, flaw.removeprefix(f"{example.where}: "))
    places = [place for place, (flaw, *_) in enumerate(found) if flaw is None]
    sizes = np.array([found[place][3:] for place in places], int)
    sizes = sizes.reshape(len(places), 2 + len(task.targets))
    _report_truncation(task, sizes, part, log)
    if learnable is not None:
        fits = np.array([found[place][1] for place in places], bool)
        _report_unlearnable(learnable, fits, log)
        places, sizes = [p for p, fit in zip(places, fits, strict=True) if fit], sizes[fits]
    if process_count() == 1:
        return [kept[place] for place in places]
    # What only writers need is not kept.
    own = [examples[place]._replace(raw=None, times=()) for place in places]
    told = [found[place][2] for place in places]
    names = set.intersection(*map(set, told)) if told else set()
    lengths = Lengths(sizes[:, 1], dict(zip(task.targets, sizes[:, 2:].T, strict=True)))
    numbers = {name: np.array([one[name] for one in told]) for name in names}
    shares = to_first(lambda: [*kept.items()]) if scored else None
    every = {} if shares is None else {place: answer for share in shares for place, answer in share}
    return OnDemand(
        lambda number: task.truncated(task.encode(own[number].loaded())),
        lengths,
        numbers,
        [every[place] for place in places] if every else None,
    )


def _report_truncation(task: "ExampleTask", sizes: np.ndarray, part: str, log: Log) -> None:
    lost = sizes[:, 0] - sizes[:, 1]
    limit, cut = task.config.sequences.max_length if lost.any() else 0, int((lost > 0).sum())
    total = int(sizes[:, 0].sum())
    report = Truncation(limit, cut, len(sizes), int(lost.sum()), total).summary()
    if report:
        log(f"{part}: {report}")


def _report_unlearnable(learnable: Learnable, fits: np.ndarray, log: Log) -> None:
    left_out = int((~fits).sum())
    report = f"{left_out:,} of {len(fits):,} training sequences have {learnable.flaw}"
    if not fits.any():
        raise InputError(f"{report}: nothing is left to learn from. {learnable.advice}")
    if left_out:
        log(f"{report}; they are left out. {learnable.advice}")
