"""Processes share the encoding of examples, and make the batches of one process."""

import collections
import hashlib
import itertools
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from seqjax.core.errors import InputError
from seqjax.data import windows
from seqjax.data.formats import audio, folders, images
from seqjax.data.on_demand import OnDemand, answers_of
from seqjax.train import encoded_parts, example_training, processes, shares, stored_inputs
from seqjax.train.options import parse
from seqjax.train.tasks import TASKS
from tests.many_processes import TASKS as FILES

BATCH, PROCESSES = 8, 2


def sounds(path):
    """A folder of sounds for each label."""
    draw = np.random.default_rng(0)
    for number in range(20):
        folder = path / ("high" if number % 2 else "low")
        folder.mkdir(parents=True, exist_ok=True)
        samples = draw.normal(size=600 + 100 * (number % 4)).astype(np.float32)
        soundfile.write(folder / f"{number}.wav", samples / 8, 8000)


def pictures(path):
    """Pictures and captions."""
    draw = np.random.default_rng(0)
    lines = []
    for number in range(20):
        values = draw.integers(0, 255, (4, 6, 3), np.uint8)
        Image.fromarray(values).save(path.with_name(f"{number}.png"))
        lines.append(json.dumps({"image": f"{number}.png", "caption": f"it is {number % 3}"}))
    path.write_text("\n".join(lines))


def reviews(path):
    """A folder of texts for each label."""
    for number in range(20):
        folder = path / ("good" if number % 2 else "bad")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.txt").write_text("very " * (number % 4) + folder.name)


STORED = {
    "classify": ("sounds", sounds, ["--train", "sounds", "--audio", "file", "--mel-bands", "4"]),
    "caption": ("pictures.jsonl", pictures, ["--train", "pictures.jsonl"]),
    "texts": ("reviews", reviews, ["--train", "reviews", "--text", "text"]),
}
"""Data whose inputs stay in files."""


class Group:
    """Threads for processes, the store of what they say, and how many examples each encodes."""

    def __init__(self, monkeypatch):
        self.number = threading.local()
        self.counts: collections.Counter = collections.Counter()
        self.store: dict[str, str] = {}
        self.lock = threading.Lock()
        self.together = False
        own = {
            "is_connected": lambda: self.together,
            "process_count": lambda: PROCESSES if self.together else 1,
            "process_number": lambda: getattr(self.number, "own", 0),
            "client": lambda: self,
        }
        for module in (processes, shares, encoded_parts, stored_inputs):
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

    def key_value_increment(self, name, step):
        with self.lock:
            self.store[name] = str(int(self.store.get(name, 0)) + step)
            return int(self.store[name])

    def key_value_try_get(self, name):
        return self.store[name]

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


def options_of(kind, *more, files=FILES):
    name, write, options = files[kind]
    if not Path(name).exists():
        write(Path(name))
    return parse(task_of(kind).config, [*options, "--batch", str(BATCH), *more], f"train {kind}")


def task_of(kind):
    return TASKS["classify" if kind == "texts" else kind]


def prepared(kind, config):
    return task_of(kind).prepare(config, lambda line: None, None)


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
    # To know the lengths.
    looks = 0 if kind == "forecast" else 1
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


@pytest.mark.parametrize("kind", STORED)
def test_each_process_reads_its_share_of_files(group, monkeypatch, kind):
    config = options_of(kind, files=STORED)
    alone = prepared(kind, config)
    for module, name in ((audio, "log_mel"), (images, "_picture"), (folders, "_text")):
        monkeypatch.setattr(module, name, group.counted(getattr(module, name)))
    several = group.run(lambda number: prepared(kind, config))
    # To know what they are like, and how long they are; all read texts for their vocabulary.
    most = 2 * (20 // PROCESSES + 1) + 20 * (kind == "texts")
    for number, one in enumerate(several):
        assert 0 < group.counts.pop(number) <= most
        assert one.digest == alone.digest and one.lengths == alone.lengths
        assert one.preprocessing == several[0].preprocessing
        assert one.task.model(0) is not None
    wanted_rows = 0
    for step in range(3):
        wanted = alone.own_batches(range(BATCH))[step]
        half = BATCH // PROCESSES
        rows = [range(half), range(half, BATCH)]
        batches = [one.own_batches(own)[step] for one, own in zip(several, rows, strict=True)]
        for name, value in wanted.items():
            joined = np.concatenate([batch[name] for batch in batches])
            np.testing.assert_allclose(joined, value, rtol=2e-7, err_msg=name)
        wanted_rows += int(wanted["weights"].sum())
    # Read in each step anew, each row by one process; one without a row looks at another's.
    assert wanted_rows <= group.counts.total() <= wanted_rows + step + 1
    # For scores, the first process has the targets.
    group.counts.clear()
    task, part = several[0].task, several[0].split.validation
    for wanted, found in zip(alone.split.validation, answers_of(part), strict=True):
        assert found.keys() == wanted.keys() - {"inputs"}
        for name, value in found.items():
            np.testing.assert_array_equal(value, wanted[name])
            assert value.dtype == wanted[name].dtype
    assert group.counts.total() == 0 and task.inputs == ("inputs",)


@pytest.mark.parametrize("skip", [False, True])
def test_what_one_process_cannot_read_is_known_to_all(group, skip):
    options = ["--skip-malformed"] * skip
    config = options_of("classify", *options, files=STORED)
    Path("sounds/low/4.wav").write_bytes(b"RIFF")
    found = group.run(lambda number: prepared("classify", config))
    if skip:
        assert [sum(map(len, one.split)) for one in found] == [19, 19]
    else:
        told = sorted(str(error).startswith("In process") for error in found)
        assert told == [False, True]
        assert all("cannot read sounds/low/4.wav" in str(error) for error in found)


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
    # What all have read is not kept: there is the last turn alone.
    assert len(group.store) == 3


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


def test_a_run_of_an_older_digest_goes_on(group):
    rows = [("a", "x"), ("b", "y"), ("c", "x")]
    Path("data.csv").write_text("text,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    content = b"part" + "".join(f"{a!r}{b!r}" for a, b in rows).encode() + b"part" * 2
    run: Any = SimpleNamespace(data={"sha256": "content of that time"})
    found = TASKS["classify"].prepare(options_of("classify"), lambda line: None, run)
    assert found.digest == f"content {hashlib.sha256(content).hexdigest()}"


def test_damaged_data_are_found_by_their_digest(group):
    digests = set()
    for text in ("text,label\na,x\nb,y\nc,x\n", "text,label\na,x\nb,y\nc,y\n"):
        Path("data.csv").write_text(text)
        digests.add(prepared("classify", options_of("classify")).digest)
    assert len(digests) == 2 and all(map(str.__str__, digests))
    assert all(digest.startswith(example_training.FORM) for digest in digests)
