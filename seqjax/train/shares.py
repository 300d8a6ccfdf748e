"""Work on examples that go by, of which each process does its share."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import numpy as np

from seqjax.train.connection import process_count, process_number
from seqjax.train.processes import client, is_connected, is_first, said_in, together

Item = TypeVar("Item")

_turns = itertools.count()


def to_first(work: Callable[[], Any]) -> list[Any] | None:
    """What some work gives in each process, in the first one; None in the others.

    It may be made of what JSON has, and of arrays.

    Raises:
      InputError: in all processes, where the work fails in one.
    """
    if not is_connected():
        return [work()]
    folder = f"seqjax/first/{next(_turns)}/"

    def tell() -> None:
        text = json.dumps(work(), default=_as_json)
        client().key_value_set(f"{folder}{process_number()}", text)

    together(tell)
    if not is_first():
        return None
    found = said_in(client().key_value_dir_get(folder))
    client().key_value_delete(folder)
    return [json.loads(text, object_hook=_from_json) for text in found]


def in_shares(
    items: Iterable[Item],
    size: int,
    work: Callable[[Iterator[Item]], Iterable[Any]],
    use: Callable[[Item, Any], None],
) -> None:
    """Passes items by: each process works on its share, and the first uses what all have found.

    All must call it together.

    Args:
      items: the same in all processes; `size` of them are looked at before any is used.
      size: of a turn.
      work: what is found for each item of a share, in order; see `to_first`.
      use: takes an item and what was found for it, in order.

    Raises:
      InputError: in all processes, where items, work or use fail in one.

    Example:
      >>> from seqjax.train.shares import in_shares
      >>> in_shares("abc", 2, lambda letters: map(str.upper, letters), print)
      a A
      b B
      c C
    """
    stream, processes = iter(items), process_count()
    held: list[Item] = []
    before: list[tuple[Item, Any]] = []
    count = 0

    def own() -> Iterator[Item]:
        nonlocal count
        for count, item in enumerate(itertools.islice(stream, size), 1):
            if is_first():
                held.append(item)
            if (count - 1) % processes == process_number():
                yield item

    def share() -> list[Any]:
        # Meanwhile, the others are at work already.
        for item, found in before:
            use(item, found)
        return [*work(own())]

    while True:
        count = 0
        shares = to_first(share)
        if not count:
            return
        before.clear()
        if shares is not None:
            places = range(len(held))
            before.extend((held[i], shares[i % processes][i // processes]) for i in places)
        held.clear()


ARRAY, VALUES = "array of the dtype", "values"


def _as_json(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return {ARRAY: value.dtype.str, VALUES: value.tolist()}
    raise TypeError(f"{type(value).__name__} is neither JSON nor an array.")


def _from_json(found: dict[str, Any]) -> Any:
    return np.array(found[VALUES], found[ARRAY]) if found.keys() == {ARRAY, VALUES} else found
