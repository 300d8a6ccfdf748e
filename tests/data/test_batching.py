"""Padding, bucketing and batching: nothing lost, nothing twice, few shapes, exact resume."""

import itertools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import seqjax as sj
from seqjax.core.errors import InputError
from seqjax.data.batching import (
    Batches,
    bucket_lengths,
    in_order,
    pack,
    pad,
    restore_order,
    truncate,
)
from tests.nn.drawn import drawn_params

LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=25)


def examples_of(lengths):
    """Example i has the steps i.0, i.1, ... and the label i, so that each can be told."""
    return [
        {
            "inputs": (100 * i + np.arange(n, dtype=np.float32))[:, None],
            "tags": np.full(n, i, np.int32),
            "label": np.int32(i),
        }
        for i, n in enumerate(lengths)
    ]


def batches_of(lengths, batch_size=4, seed=0, buckets=3, **options):
    lengths_of_buckets = None if buckets is None else bucket_lengths(lengths, buckets)
    return Batches(
        examples_of(lengths),
        batch_size=batch_size,
        seed=seed,
        bucket_lengths=lengths_of_buckets,
        sequences=("inputs", "tags"),
        **options,
    )


def check_rows(batch, lengths):
    """Every row is the example that its label says; returns which were there."""
    seen = []
    for row in range(len(batch["lengths"])):
        count = batch["lengths"][row]
        assert not batch["inputs"][row, count:].any() and not batch["tags"][row, count:].any()
        if batch["weights"][row]:
            label = int(batch["label"][row])
            assert count == lengths[label]
            wanted = examples_of(lengths)[label]
            np.testing.assert_array_equal(batch["inputs"][row, :count], wanted["inputs"])
            np.testing.assert_array_equal(batch["tags"][row, :count], wanted["tags"])
            seen.append(label)
        else:
            assert count == 0
    return seen


@settings(max_examples=12)
@given(LENGTHS, st.integers(1, 5), st.integers(1, 4), st.integers(0, 3))
def test_every_example_once_an_epoch(lengths, batch_size, buckets, seed):
    batches = batches_of(lengths, batch_size, seed, buckets)
    for epoch in range(2):
        steps = range(epoch * batches.per_epoch, (epoch + 1) * batches.per_epoch)
        seen = [label for step in steps for label in check_rows(batches[step], lengths)]
        assert sorted(seen) == list(range(len(lengths)))
    shapes = {batches[step]["inputs"].shape[:2] for step in range(batches.per_epoch)}
    assert shapes == set(batches.shapes) and len(shapes) <= buckets


def test_epochs_and_seeds_differ_and_runs_do_not():
    lengths = [1 + i % 7 for i in range(60)]

    def order(seed, start=0):
        batches = batches_of(lengths, seed=seed)
        steps = range(start, start + batches.per_epoch)
        return [label for step in steps for label in check_rows(batches[step], lengths)]

    first = order(0)
    assert order(0) == first
    assert order(1) != first
    assert order(0, batches_of(lengths).per_epoch) != first
    # Batches do not come sorted by length.
    firsts = [batches_of(lengths, seed=seed)[0]["inputs"].shape for seed in range(8)]
    assert len(set(firsts)) > 1


def test_examples_meet_others_in_every_epoch():
    batches = batches_of([3] * 24)
    epochs = [
        {frozenset(batches[step]["label"].tolist()) for step in range(start, start + 6)}
        for start in (0, 6, 12)
    ]
    assert all(len(a & b) < 6 for a, b in itertools.combinations(epochs, 2))


def test_without_shuffling_the_order_is_kept():
    batches = batches_of([3, 3, 3, 3, 3], batch_size=2, shuffle=False)
    assert [batches[step]["label"].tolist() for step in range(3)] == [[0, 1], [2, 3], [4, 0]]
    assert batches[2]["weights"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("stopped", [0, 3, 17])
def test_a_run_goes_on_exactly_in_mid_epoch(stopped):
    lengths = [1 + i % 7 for i in range(30)]
    whole = list(itertools.islice(batches_of(lengths).iterate(), 22))
    rest = list(itertools.islice(batches_of(lengths).iterate(stopped), 22 - stopped))
    for step, (a, b) in enumerate(zip(whole[stopped:], rest, strict=True), stopped):
        chex.assert_trees_all_equal(a, b)
        chex.assert_trees_all_equal(a, batches_of(lengths)[step])


@pytest.mark.parametrize("parts", [[[0, 1], [2, 3]], [[0, 3], [1], [2]]])
def test_rows_made_apart_are_those_of_one_batch(parts):
    """Those of processes that share it; the last batch of an epoch has too few examples for all."""
    lengths = [3, 1, 2, 3, 2, 2, 1, 3, 3]
    whole = batches_of(lengths, shuffle=False)
    shares = [batches_of(lengths, shuffle=False, rows=rows) for rows in parts]
    order = np.argsort([row for rows in parts for row in rows])
    for step in range(whole.per_epoch):
        found = [share[step] for share in shares]
        joined = {name: np.concatenate([one[name] for one in found])[order] for name in found[0]}
        chex.assert_trees_all_equal(joined, whole[step])
    found = zip(
        in_order(examples_of(lengths), 4, sequences=("inputs", "tags")),
        in_order(examples_of(lengths), 4, sequences=("inputs", "tags"), rows=parts[0]),
        strict=True,
    )
    for (places, one), (same, share) in found:
        assert places.tolist() == same.tolist()
        chex.assert_trees_all_equal(share, {name: one[name][parts[0]] for name in one})


@pytest.mark.parametrize("buckets", [1, 2, 4])
def test_a_run_compiles_no_more_programs_than_buckets(buckets):
    lengths = [1 + i * i % 23 for i in range(50)]
    batches = batches_of(lengths, buckets=buckets)
    chex.clear_trace_counter()

    @jax.jit
    @chex.assert_max_traces(n=buckets)
    def total(batch):
        mask = sj.length_mask(batch["lengths"], batch["inputs"].shape[1])
        return jnp.sum(jnp.where(mask[..., None], batch["inputs"], 0))

    steps = range(2 * batches.per_epoch)
    found = sum(float(total(batches[step])) for step in steps)
    wanted = 2 * sum(example["inputs"].sum() for example in examples_of(lengths))
    assert found == wanted
    assert len(batches.shapes) == buckets


def brute_force(lengths, buckets, batch_size):
    distinct = sorted({max(1, length) for length in lengths})
    costs = []
    for count in range(1, min(buckets, len(distinct)) + 1):
        for chosen in itertools.combinations(distinct[:-1], count - 1):
            groups = dict.fromkeys((*chosen, distinct[-1]), 0)
            for length in lengths:
                groups[min(end for end in groups if end >= length)] += 1
            costs.append(sum(-(-n // batch_size) * batch_size * end for end, n in groups.items()))
    return min(costs)


@given(LENGTHS, st.integers(1, 4), st.integers(1, 3))
def test_bucket_lengths_waste_the_least(lengths, buckets, batch_size):
    chosen = bucket_lengths(lengths, buckets, batch_size)
    assert chosen == sorted(set(chosen)) and len(chosen) <= buckets
    assert chosen[-1] == max(1, *lengths)
    groups = dict.fromkeys(chosen, 0)
    for length in lengths:
        groups[min(end for end in chosen if end >= length)] += 1
    cost = sum(-(-count // batch_size) * batch_size * end for end, count in groups.items())
    assert cost == brute_force(lengths, buckets, batch_size)


def test_one_bucket_is_padding_to_the_longest():
    assert bucket_lengths([3, 1, 8, 2], 1) == [8]
    assert batches_of([3, 1, 8, 2], buckets=None).shapes == ((4, 8),)


def test_very_many_lengths_are_thinned_out():
    chosen = bucket_lengths(np.arange(1, 5000), 4)
    assert chosen[-1] == 4999 and len(chosen) == 4
    np.testing.assert_allclose(np.diff([0, *chosen]), 1250, atol=20)


@given(LENGTHS, st.integers(1, 4), st.sampled_from([None, (4,), (2, 5, 9)]))
def test_a_stream_comes_back_in_order(lengths, batch_size, buckets):
    """Each example once, few shapes, and never more than a window read ahead."""
    read = 0

    def stream():
        nonlocal read
        for example in examples_of(lengths):
            read += 1
            yield example

    def results():
        done = 0
        found = in_order(stream(), batch_size, buckets, window=2, sequences=("inputs", "tags"))
        for positions, batch in found:
            assert read - done <= 2 * batch_size
            done += len(positions)
            labels = check_rows(batch, lengths)
            assert labels == positions.tolist()
            shapes.add(batch["inputs"].shape)
            yield from zip(positions.tolist(), labels, strict=True)

    shapes: set = set()
    assert list(restore_order(results())) == list(range(len(lengths)))
    assert len(shapes) <= 4


def test_a_window_has_at_most_one_batch_with_empty_rows():
    lengths = [1, 9, 1, 9, 4, 4, 4, 1]
    found = [
        (len(positions), batch["inputs"].shape[1])
        for positions, batch in in_order(examples_of(lengths), 3, (2, 5, 9))
    ]
    assert found == [(3, 2), (3, 5), (2, 9)]


def test_a_longer_example_than_any_bucket_doubles_the_length():
    found = [b["inputs"].shape[1] for _, b in in_order(examples_of([3, 17, 9]), 1, (2, 4))]
    assert found == [4, 16, 32]


def test_a_missing_result_is_noticed():
    with pytest.raises(ValueError, match="No result came for position 1"):
        list(restore_order([(0, "a"), (2, "c")]))


def test_truncation_keeps_head_or_tail_and_reports():
    lengths = [0, 3, 5, 9]
    for side, kept in (("head", slice(4)), ("tail", slice(-4, None))):
        cut, report = truncate(examples_of(lengths), 4, side, sequences=("inputs", "tags"))
        for before, after in zip(examples_of(lengths), cut, strict=True):
            np.testing.assert_array_equal(after["inputs"], before["inputs"][kept])
            assert after["label"] == before["label"] and len(after["tags"]) <= 4
        assert (report.examples, report.of_examples) == (2, 4)
        assert (report.steps, report.of_steps) == (6, 17)
        assert "2 of 4 sequences were cut to 4 steps; they lost 6 of 17" in report.summary()
    assert truncate(examples_of([2]), 4)[1].summary() == ""


@given(st.lists(st.integers(0, 7), min_size=1, max_size=20).filter(any))
def test_packing_loses_nothing(lengths):
    examples = examples_of(lengths)
    packed = pack(examples, 7, sequences=("inputs", "tags"))
    for place, example in enumerate(examples):
        mine = packed["example_ids"] == place
        np.testing.assert_array_equal(packed["inputs"][mine], example["inputs"])
        np.testing.assert_array_equal(packed["tags"][mine], example["tags"])
        np.testing.assert_array_equal(packed["positions"][mine], np.arange(lengths[place]))
        assert len(np.unique(np.nonzero(mine)[0])) <= 1
    np.testing.assert_array_equal(packed["segment_ids"] > 0, packed["example_ids"] >= 0)
    # Any two rows hold more than fits into one.
    filled = (packed["segment_ids"] > 0).sum(1)
    assert all(a + b > 7 for a, b in itertools.combinations(filled.tolist(), 2))


def test_nothing_bleeds_between_packed_sequences():
    rng = np.random.default_rng(0)
    examples = [
        {"inputs": rng.normal(size=(n, 2)).astype(np.float32)} for n in (3, 1, 5, 2, 4, 2, 7)
    ]
    packed = pack(examples, 8)
    cell = sj.gru(3)
    params = drawn_params(cell, 2)

    @jax.jit
    def run(xs, ids=None):
        options = {}
        if ids is not None:
            options = {"resets": sj.segment_starts(ids), "mask": ids > 0}
        return sj.scan(cell, params, xs, **options)[1]

    ys = np.asarray(run(packed["inputs"], jnp.asarray(packed["segment_ids"])))
    for place, example in enumerate(examples):
        alone = run(example["inputs"])
        np.testing.assert_allclose(ys[packed["example_ids"] == place], alone, atol=1e-6)
    assert len(packed["inputs"]) < len(examples)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: pad([]), "at least one example"),
        (lambda: pad(examples_of([3]), 2), "3 steps and the longest length is 2"),
        (lambda: pad(examples_of([3, 3]), batch_size=1), "do not fit into a batch of 1"),
        (lambda: pad([{"x": np.zeros(2)}]), "no 'inputs'; it has x"),
        (lambda: pad([{"inputs": np.zeros(2)}, {"inputs": np.zeros((2, 3))}]), "has shape"),
        (lambda: pad([{"inputs": np.zeros(2)}, {"inputs": np.zeros(2), "x": 1}]), "entries"),
        (
            lambda: pad(
                [{"inputs": np.zeros(2), "tags": np.zeros(3)}], sequences=("inputs", "tags")
            ),
            "equally long",
        ),
        (lambda: batches_of([1], batch_size=0), "batch_size must be at least 1"),
        (lambda: Batches(examples_of([5]), batch_size=1, seed=0, bucket_lengths=[4]), "5 steps"),
        (
            lambda: Batches(examples_of([5]), batch_size=1, seed=0, bucket_lengths=[9, 4]),
            "ascending",
        ),
        (lambda: pack(examples_of([5]), 4), "5 steps and a row 4"),
        (lambda: pack(examples_of([0]), 4), "at least one step"),
        (lambda: truncate(examples_of([1]), 0), "at least 1"),
        (lambda: truncate(examples_of([1]), 1, "middle"), "'head' or 'tail'"),
        (lambda: bucket_lengths([], 2), "at least one"),
        (lambda: bucket_lengths([1], 0), "at least 1"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_no_example_at_all():
    with pytest.raises(InputError, match="no example"):
        Batches([], batch_size=1, seed=0, bucket_lengths=None)


def test_without_grain_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "grain", None)
    with pytest.raises(ImportError, match=r"pip install 'seqjax\[train\]'"):
        batches_of([1])


# What is to be written has a length of its own.


def pairs():
    random = np.random.default_rng(0)
    return [
        {
            "inputs": np.full(int(random.integers(1, 9)), row + 1),
            "target": np.full(int(random.integers(0, 9)), -row - 1),
        }
        for row in range(40)
    ]


def test_answers_have_lengths_of_their_own():
    batch = pad(
        [{"inputs": np.ones(2), "target": np.ones(4)}], 3, batch_size=2, targets={"target": 5}
    )
    assert batch["inputs"].shape == (2, 3) and batch["target"].shape == (2, 5)
    assert batch["lengths"].tolist() == [2, 0] and batch["target_lengths"].tolist() == [4, 0]


def test_buckets_are_as_long_as_the_longer_of_both():
    examples = pairs()
    batches = Batches(examples, batch_size=4, seed=0, bucket_lengths=[4, 8], targets=("target",))
    shapes, seen = set(), []
    for step in range(batches.per_epoch):
        batch = batches[step]
        shapes.add((batch["inputs"].shape, batch["target"].shape))
        for row in range(4):
            length, count = int(batch["lengths"][row]), int(batch["target_lengths"][row])
            if batch["weights"][row]:
                name = int(batch["inputs"][row, 0]) - 1
                seen.append(name)
                assert length == len(examples[name]["inputs"])
                assert (batch["target"][row, :count] == -name - 1).all()
                assert count == len(examples[name]["target"])
            assert (batch["target"][row, count:] == 0).all()
    assert len(shapes) == 2 and sorted(seen) == list(range(40))


def test_examples_without_sequences():
    """Pictures have no time axis; what is written about them has."""
    examples = [{"inputs": np.full((2, 2, 1), i), "target": np.ones(i + 1)} for i in range(4)]
    batches = Batches(
        examples, batch_size=2, seed=0, bucket_lengths=[2, 4], sequences=(), targets=("target",)
    )
    assert {batches[step]["target"].shape for step in range(2)} == {(2, 2), (2, 4)}
    assert batches[0]["inputs"].shape == (2, 2, 2, 1)
    found = list(in_order([{"inputs": np.zeros((2, 2, 1))}] * 3, 2, [5], sequences=()))
    assert [batch["inputs"].shape for _, batch in found] == [(2, 2, 2, 1)] * 2
