"""Which windows of series are learned from, validated on and tested on."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.windows import Series, Windows
from seqjax.train.example_task import Split

SCORED_WINDOWS = 500
"""At most about this many windows of a part are scored: they are spread evenly."""


class Look(NamedTuple):
    """How far a window looks: steps that are read, steps that are predicted, and a season."""

    history: int
    horizon: int
    season: int


def split_windows(
    look: Look,
    series_of: Callable[[Example, int], Series],
    share: float,
    examples: Sequence[Example],
    validation: Sequence[Example] | None,
    test: Sequence[Example],
) -> Split:
    """Windows of the beginning, the middle and the end of each series.

    The end is to test on and the middle to validate on, unless there are series of their own for
    that.

    Args:
      look: back and ahead.
      series_of: an example as a series, whose first steps tell the naive error.
      share: of each series that is held out, twice.
      examples: to learn from.
      validation: to validate on, if any.
      test: to test on, if any.

    Raises:
      InputError: if no series is long enough, or there is no naive error to compare with.
    """
    series, first, second = [], [], []
    for example in examples:
        steps = len(example.inputs)
        held = max(look.horizon, round(share * steps))
        second.append(steps if test else steps - held)
        first.append(second[-1] if validation else second[-1] - held)
        series.append(series_of(example, max(1, first[-1])))
    start = [min(look.horizon, look.history)] * len(series)
    train = Windows(series, history=look.history, horizon=look.horizon, first=start, last=first)
    if not len(train):
        longest = max(len(example.inputs) for example in examples)
        raise InputError(
            f"The longest series has {longest} steps: too few to learn a horizon of "
            f"{look.horizon} and to hold out {share:g} of it twice. Give longer series, or a "
            "smaller --horizon; or --series-in-rows, if every row is a series."
        )
    ends = [len(one.values) for one in series]
    middle = (
        unseen_windows(look, series_of, validation)
        if validation
        else _spread(look, series, first, second)
    )
    last = unseen_windows(look, series_of, test) if test else _spread(look, series, second, ends)
    return Split(train, middle, last)


def unseen_windows(
    look: Look, series_of: Callable[[Example, int], Series], examples: Sequence[Example]
) -> Windows:
    """Windows of series that were not learned from.

    They begin after as many steps as are read, and after two seasons: those before tell the
    naive error.

    Raises:
      InputError: if no series is long enough, or there is no naive error to compare with.
    """
    begin = max(look.history, 2 * look.season)
    series = [series_of(example, begin) for example in examples]
    ends = [len(one.values) for one in series]
    if max(ends) < begin + look.horizon:
        raise InputError(
            f"{examples[0].where}: expected a series of at least {begin} + {look.horizon} "
            f"steps, to read from and to predict; the longest has {max(ends)}."
        )
    return _spread(look, series, [begin] * len(series), ends)


def _spread(look: Look, series: list[Series], first: list[int], last: list[int]) -> Windows:
    """At most about `SCORED_WINDOWS` windows, spread evenly."""
    if not any((one.naive_error > 0).any() for one in series):
        raise InputError(
            f"{series[0].name}: no value changes within a season ({max(1, look.season)} steps) "
            "of what is learned from, so there is no naive forecast to compare with. Is "
            "--season right?"
        )
    where = {"history": look.history, "horizon": look.horizon, "first": first, "last": last}
    every = Windows(series, **where)
    stride = max(1, len(every) // SCORED_WINDOWS)
    return Windows(series, **where, stride=stride)
