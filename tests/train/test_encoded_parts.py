"""Processes share the encoding of examples, and make the batches of one process."""

import collections
import itertools
import threading
from pathlib import Path

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data import windows
from seqjax.data.on_demand import OnDemand
from seqjax.train import encoded_parts, example_training, processes, shares
from seqjax.train.options import parse
from seqjax.train.tasks import TASKS
from tests.many_processes import TASKS as FILES

BATCH, PROCESSES = 8, 2


class Group:
    """Threads for processes, the store of what they say, and how many examples each encodes."""

    def __init__(self, monkeypatch):
        self.number = threading.local()
        self.counts: collections.Counter = collections.Counter()
        self.store: dict[str, str] = {}
        self.together = False
        own = {
            "is_connected": lambda: self.together,
            "process_count": lambda: PROCESSES if self.together else 1,
            "process_number": lambda: getattr(self.number, "own", 0),
            "client": lambda: self,
        }
        for module in (processes, shares, encoded_parts):
            monkeypatch.setattr(module, "_turns", map(self.turn, itertools.repeat(module)), False)
            for name, function in own.items():
                if hasattr(module, name):
                    monkeypatch.setattr(module, name, function)
        monkeypatch.setattr(shares, "is_first", lambda: own["process_number"]() == 0)

    def turn(self, module):
        turns = self.number.__dict__.setdefault("turns", collections.Counter())
        turns[module] += 1
        return turns[module] - 1

    def key_value_set(self, name, text):
        assert name not in self.store
        self.store[name] = text

    def key_value_dir_get(self, folder):
        return [(name, self.store[name]) for name in [*self.store] if name.startswith(folder)]

    def key_value_delete(self, start):
        for name in [name for name in self.store if name.startswith(start)]:
            del self.store[name]

    def run(self, work):
        """What each process gets, or its error."""
        found: list = [None] * PROCESSES

        self.store.clear()

        def one(number):
            self.number.own = number
            try:
                found[number] = work(number)
            except InputError as error:
                found[number] = error

        self.together = True
        threads = [threading.Thread(target=one, args=(n,)) for n in range(PROCESSES)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=60)
        self.together = False
        return found

    def counted(self, function):
        def counting(*arguments, **options):
            self.counts[getattr(self.number, "own", 0)] += 1
            return function(*arguments, **options)

        return counting


@pytest.fixture
def group(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    return Group(monkeypatch)


def options_of(kind, *more):
    name, write, options = FILES[kind]
    if not Path(name).exists():
        write(Path(name))
    return parse(TASKS[kind].config, [*options, "--batch", str(BATCH), *more], f"train {kind}")


def prepared(kind, config):
    return TASKS[kind].prepare(config, lambda line: None, None)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("classify", ["--max-length", "6"]),
        ("tag", []),
        ("translate", []),
        ("forecast", []),
    ],
)
def test_each_process_encodes_its_share_and_batches_are_those_of_one(
    group, monkeypatch, kind, options
):
    config = options_of(kind, *options)
    alone = prepared(kind, config)
    encoder = (windows, "cut") if kind == "forecast" else (type(alone.task), "encode")
    monkeypatch.setattr(*encoder, group.counted(getattr(*encoder)))
    several = group.run(lambda number: prepared(kind, config))
    parts = [alone.split.train, alone.split.validation, alone.split.test]
    # To know the lengths; a classifier looks once more, at how frequent classes are.
    looks = {"forecast": 0, "classify": 2}.get(kind, 1)
    every = sum(map(len, parts))
    for number, one in enumerate(several):
        assert group.counts.pop(number, 0) <= looks * (every // PROCESSES + len(parts))
        assert all(isinstance(part, OnDemand) for part in one.split)
        assert one.digest == alone.digest and one.lengths == alone.lengths
        assert one.preprocessing == alone.preprocessing and one.criterion == alone.criterion
    whole = alone.own_batches(range(BATCH))
    own = [range(n * BATCH // PROCESSES, (n + 1) * BATCH // PROCESSES) for n in range(PROCESSES)]
    steps = range(2 * whole.per_epoch)
    found = [one.own_batches(rows) for one, rows in zip(several, own, strict=True)]
    for step in steps:
        wanted = whole[step]
        group.counts.clear()
        batches = [batches[step] for batches in found]
        assert group.counts.total() <= BATCH + PROCESSES - 1 + BATCH * (kind == "forecast")
        for name, value in wanted.items():
            joined = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_array_equal(joined, value, err_msg=name)


def test_an_error_in_the_share_of_one_process_is_that_of_all(group):
    def work(number):
        def fail(place):
            if place == 3:
                raise InputError("a.csv, line 5: no number")
            return place

        return processes.together(lambda: processes.spread(6, fail))

    first, second = group.run(work)
    assert str(first) == "In process 1: a.csv, line 5: no number"
    assert str(second) == "a.csv, line 5: no number"
    assert (
        group.run(lambda number: processes.spread(5, lambda place: 2 * place))
        == [[0, 2, 4, 6, 8]] * 2
    )


@pytest.mark.parametrize("count", [0, 1, 7, 8])
def test_what_goes_by_is_worked_on_in_shares_and_used_in_order(group, count):
    looked, used = [[], []], [[], []]

    def work(number, items):
        for item in items:
            looked[number].append(item)
            yield np.full(2, item, np.float32), str(item)

    def passes(number):
        def use(item, found):
            used[number].append((item, found[0].dtype, found[0].tolist(), found[1]))

        shares.in_shares(range(count), 3, lambda items: work(number, items), use)

    assert group.run(passes) == [None, None]
    assert used == [[(n, np.float32, [n, n], str(n)) for n in range(count)], []]
    # Of each three, the first process has the first and the last.
    assert looked[1] == [*range(1, count, 3)]
    assert sorted(looked[0] + looked[1]) == [*range(count)]
    # What all have read is not kept.
    assert len(group.store) == 2


def test_an_error_in_the_use_of_what_goes_by_is_that_of_all(group):
    def use(item, found):
        raise InputError(f"cannot write {item}")

    def passes(number):
        shares.in_shares(range(5), 2, lambda items: items, use)

    first, second = group.run(passes)
    assert (str(first), str(second)) == ("cannot write 0", "In process 0: cannot write 0")


def test_an_error_before_the_share_is_that_of_all(group):
    def work(number):
        if number == 1:
            raise InputError("no file")
        return processes.spread(2, lambda place: place)

    first, second = group.run(lambda number: processes.together(lambda: work(number)))
    assert (str(first), str(second)) == ("In process 1: no file", "no file")


def test_processes_with_other_numbers_of_examples(group):
    found = group.run(lambda number: processes.spread(2 + number, lambda place: place))
    assert [str(error).split(".")[0] for error in found] == [
        "Process 1 has 3 examples, and process 0 2",
        "Process 0 has 2 examples, and process 1 3",
    ]


def test_damaged_data_are_found_by_their_digest(group):
    digests = set()
    for text in ("text,label\na,x\nb,y\nc,x\n", "text,label\na,x\nb,y\nc,y\n"):
        Path("data.csv").write_text(text)
        digests.add(prepared("classify", options_of("classify")).digest)
    assert len(digests) == 2 and all(map(str.__str__, digests))
    assert all(digest.startswith(example_training.FORM) for digest in digests)
