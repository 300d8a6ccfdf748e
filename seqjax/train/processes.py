"""Several processes that work on one run, on one host or on many.

All run the same command, and the same program on devices that they share. The first one writes and
prints. What they must agree on goes through the key-value store of JAX's coordination service.
"""

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from seqjax.core.errors import InputError
from seqjax.train.agreed_stop import AgreedStop
from seqjax.train.connection import client, is_connected, process_count, process_number, watches
from seqjax.train.signals import StopSignals

Result = TypeVar("Result")
Failure = TypeVar("Failure", bound=BaseException)


def begins(step: int) -> None:
    """Tells the other processes which step this one begins."""
    for watch in watches:
        watch.begins(step)


def why_others() -> str | None:
    """Which other process is to blame for an error of this one; None if none is."""
    return next((watch.why() for watch in watches), None)


def leave(status: int, how: str) -> None:
    """Ends this process with a status if there are others, who are told how it ended.

    They would be waited for in vain in the usual way out.
    """
    for watch in watches:
        watch.failed(how)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def stop_signals() -> StopSignals:
    """The signals that stop a run, in all of its processes after the same step."""
    if not is_connected():
        return StopSignals()
    return AgreedStop(client(), process_number(), process_count())


def is_first() -> bool:
    """Whether this process is the one that writes and prints."""
    return process_number() == 0


def say(line: str) -> None:
    """Prints a line, in the first process."""
    if is_first():
        print(line, flush=is_connected())


_turns = itertools.count()


def said_by_all(text: str) -> list[str]:
    """What every process says, in the order of their numbers; all must call it together."""
    if not is_connected():
        return [text]
    store, turn, own = client(), next(_turns), process_number()
    folder, count = "seqjax/said/{}/", "seqjax/speakers/{}"
    store.key_value_set(f"{folder.format(turn)}{own}", json.dumps(text))
    # What is said may be long, and is read once.
    speakers, pause = store.key_value_increment(count.format(turn), 1), 0.001
    while speakers < process_count():
        time.sleep(pause)
        pause = min(2 * pause, 0.5)
        speakers = int(store.key_value_try_get(count.format(turn)))
    found = store.key_value_dir_get(folder.format(turn))
    if turn:
        # Who speaks in this turn has read the one before.
        store.key_value_delete(f"{folder.format(turn - 1)}{own}")
        if own == 0:
            store.key_value_delete(count.format(turn - 1))
    return [json.loads(text) for text in said_in(found)]


def said_in(folder: list[tuple[str, str]]) -> list[str]:
    """What is in the entries of a folder of the store, each of which is named by a process."""
    return [text for _, text in sorted(folder, key=lambda one: int(one[0].rpartition("/")[2]))]


def together(work: Callable[[], Result]) -> Result:
    """The result of some work that every process does; where it fails in one, it fails in all.

    Raises:
      InputError: with the number of the process in which it failed and its error.
    """
    return _with_those_of_all(work, lambda result: "")[0]


def spread(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What some work gives for each of the numbers below `count`, as JSON has it.

    Each process does its share of the work, and all have all results; they must call it together,
    with the same numbers.

    Raises:
      InputError: in all processes, where the work fails in one, or counts differ.
    """
    own, processes = process_number(), process_count()
    if processes == 1:
        return [work(number) for number in range(count)]

    def share() -> list[Any]:
        return [count, *(work(number) for number in range(own, count, processes))]

    _, said = _with_those_of_all(share, json.dumps)
    found: list[Any] = [None] * count
    for process, text in enumerate(said):
        other, *results = json.loads(text)
        if other != count:
            # All find that some are not as many as their own.
            raise _known(
                InputError(
                    f"Process {process} has {other:,} examples, and process {own} {count:,}. All "
                    "processes need the same data."
                )
            )
        found[process::processes] = results
    return found


def _with_those_of_all(
    work: Callable[[], Result], told: Callable[[Result], str]
) -> tuple[Result, list[str]]:
    """The result of some work, and what each process tells of its own; where it fails in one, it
    fails in all.

    Work may have parts that all do together: an error that all know of is not told again.
    """
    if not is_connected():
        result = work()
        return result, [told(result)]
    try:
        result = work()
    except BaseException as error:
        if not getattr(error, KNOWN, False):
            ended = "it ended" if isinstance(error, SystemExit) else str(error) or repr(error)
            said_by_all(f"{FAILED}{ended}")
        _known(error)
        raise
    said = said_by_all(told(result))
    for process, text in enumerate(said):
        if text.startswith(FAILED):
            raise _known(InputError(f"In process {process}: {text.removeprefix(FAILED)}"))
    return result, said


KNOWN, FAILED = "is_known_to_all", "failed: "
"""The mark of an error that all processes know of, and how it is told to them."""


def _known(error: Failure) -> Failure:
    setattr(error, KNOWN, True)
    return error


def from_first(work: Callable[[], Result]) -> Result:
    """The result, as JSON has it, of some work that the first process does, in all of them."""
    if not is_connected():
        return work()
    _, said = _with_those_of_all(lambda: work() if is_first() else None, json.dumps)
    return json.loads(said[0])


def require_same(facts: Mapping[str, Any]) -> None:
    """Raises `InputError` in all processes unless all have the same facts, by name."""
    own = json.loads(json.dumps(facts, default=str))
    first = from_first(lambda: own)

    def compare() -> None:
        other = list(_differences(first, own))
        if other:
            raise InputError(f"{'; '.join(other)}. All processes need the same.")

    together(compare)


def _differences(first: dict[str, Any], own: dict[str, Any]) -> Iterator[str]:
    for name in {**first, **own}:
        before, after = first.get(name), own.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(
                {f"--{inner}": value for inner, value in before.items()},
                {f"--{inner}": value for inner, value in after.items()},
            )
        elif before != after:
            yield f"{name.rstrip('_').replace('_', '-')} is {after}, and {before} in process 0"
