"""Synthetic tasks: targets by the definition, equal seeds, and their chance level."""

import itertools
from functools import partial

import numpy as np
import pytest

from seqjax.data import groups, synthetic_tasks

TASKS = {
    "adding": partial(synthetic_tasks.adding, time=21),
    "copying": partial(synthetic_tasks.copying, delay=7),
    "selective_copying": partial(synthetic_tasks.selective_copying, time=40),
    "associative_recall": partial(synthetic_tasks.associative_recall, time=64),
    "parity": partial(synthetic_tasks.parity, time=30),
    "modular_arithmetic": partial(synthetic_tasks.modular_arithmetic, time=31),
    "dyck": partial(synthetic_tasks.dyck, time=40, kinds=3, depth=4),
    "permutations": partial(synthetic_tasks.permutations, time=20),
    "generators": partial(synthetic_tasks.permutations, time=20, generators=True),
}


def draw(name, batch_size=400, seed=0):
    return TASKS[name](np.random.default_rng(seed), batch_size)


@pytest.mark.parametrize("name", TASKS)
def test_the_form_of_a_batch(name):
    batch, again, other = draw(name), draw(name), draw(name, seed=1)
    assert batch.mask.dtype == bool and batch.mask.any(1).all()
    assert batch.targets.shape == batch.mask.shape == batch.inputs.shape[:2]
    np.testing.assert_array_equal(batch.inputs, again.inputs)
    assert (batch.inputs != other.inputs).any()
    if batch.classes:
        assert batch.inputs.dtype == batch.targets.dtype == np.int32
        assert batch.inputs.min() >= 0 and batch.inputs.max() == batch.tokens - 1
        assert batch.targets.min() >= 0 and batch.targets.max() == batch.classes - 1


@pytest.mark.parametrize("name", [name for name in TASKS if name != "adding"])
def test_chance_is_the_frequency_of_the_likeliest_class(name):
    batch, other = draw(name), draw(name, seed=1)
    shares = np.bincount(other.targets[other.mask]) / other.mask.sum()
    assert abs(shares.max() - batch.chance) < 0.02


@pytest.mark.parametrize("name", TASKS)
def test_chance_does_not_depend_on_the_batch(name):
    assert (
        len({draw(name, batch_size, seed).chance for batch_size in (1, 3, 50) for seed in range(3)})
        == 1
    )


@pytest.mark.parametrize("time", [1, 8, 41])
@pytest.mark.parametrize(
    ("task", "options"),
    [
        *((synthetic_tasks.modular_arithmetic, {"modulus": m}) for m in (2, 5, 6)),
        *(
            (synthetic_tasks.dyck, {"kinds": k, "depth": d})
            for k, d in ((1, 1), (2, 8), (3, 1), (4, 3))
        ),
        *(
            (synthetic_tasks.permutations, {"generators": True, "even": even})
            for even in (True, False)
        ),
    ],
    ids=lambda value: " ".join(map(str, value.values())) if isinstance(value, dict) else None,
)
def test_chance_where_classes_are_not_equally_likely(task, options, time):
    """The closed form against the frequencies in many sequences, at each length."""
    batch = task(np.random.default_rng(0), 40_000, time, **options)
    met = np.bincount(batch.targets[batch.mask]) / batch.mask.sum()
    assert batch.chance == pytest.approx(met.max(), abs=0.006)


def test_adding():
    batch = draw("adding")
    marked = batch.inputs[..., 1].astype(bool)
    assert (marked[:, :10].sum(1) == 1).all() and (marked[:, 10:].sum(1) == 1).all()
    total = np.where(marked, batch.inputs[..., 0], 0).sum(1)
    np.testing.assert_allclose(batch.targets[batch.mask], total, rtol=1e-6)
    error = np.square(draw("adding", batch_size=20_000).targets[:, -1] - 1).mean()
    assert abs(error - batch.chance) < 0.005


def test_copying():
    batch = draw("copying")
    blank, signal = batch.tokens - 2, batch.tokens - 1
    for row, targets in zip(batch.inputs, batch.targets, strict=True):
        assert (row[10:16] == blank).all() and row[16] == signal and (row[17:] == blank).all()
        np.testing.assert_array_equal(targets[17:], row[:10])
    assert batch.mask[:, 17:].all() and not batch.mask[:, :17].any()


def test_selective_copying():
    batch = draw("selective_copying")
    for row, targets in zip(batch.inputs, batch.targets, strict=True):
        np.testing.assert_array_equal(row[row < 14], targets[40:])
        assert (row[40:] == 15).all() and not (row[:40] == 15).any()


def test_associative_recall():
    batch = draw("associative_recall")
    for row, targets, mask in zip(*batch[:3], strict=True):
        known = dict(zip(row[0:8:2], row[1:8:2], strict=True))
        assert len(known) == 4 and mask.sum() == 4 and not mask[:8].any()
        for t in np.flatnonzero(mask):
            assert targets[t] == known[row[t]] - 32
        assert {row[t] for t in np.flatnonzero(mask)} == set(known)


def test_parity():
    batch = draw("parity")
    for t in range(30):
        np.testing.assert_array_equal(batch.targets[:, t], batch.inputs[:, : t + 1].sum(1) % 2)


def test_modular_arithmetic():
    batch = draw("modular_arithmetic", batch_size=20)
    for row, targets, mask in zip(*batch[:3], strict=True):
        text = str(row[0])
        for t in range(2, 31, 2):
            text = f"({text}) {'+-*'[row[t - 1] - 5]} {row[t]}"
            assert targets[t] == eval(text) % 5
        assert mask[::2].all() and not mask[1::2].any()


def test_dyck():
    batch = draw("dyck")
    deepest = 0
    for row, targets in zip(batch.inputs, batch.targets, strict=True):
        opened = []
        for token, target in zip(row, targets, strict=True):
            if token < 3:
                opened.append(token)
            else:
                assert opened.pop() == token - 3
            deepest = max(deepest, len(opened))
            assert target == (opened[-1] if opened else 3)
    assert deepest == 4


def members_of_group(items, even):
    return [
        p for p in itertools.permutations(range(items))
        if not even or np.linalg.det(np.eye(items)[list(p)]) > 0
    ]  # fmt: skip


@pytest.mark.parametrize(("items", "even", "order"), [(5, True, 60), (5, False, 120), (3, True, 3)])
def test_permutations(items, even, order):
    batch = synthetic_tasks.permutations(np.random.default_rng(0), 30, 12, items=items, even=even)
    members = members_of_group(items, even)
    assert batch.classes == len(members) == order
    for row, targets in zip(batch.inputs, batch.targets, strict=True):
        state = list(range(items))
        for token, target in zip(row, targets, strict=True):
            state = [members[token][i] for i in state]
            assert members[target] == tuple(state)


@pytest.mark.parametrize(
    ("items", "even", "cycles"),
    [
        (5, True, ("12034", "12340")),
        (5, False, ("10234", "12340")),
        (4, True, ("1203", "0231")),
        (3, False, ("102", "120")),
        (6, True, ("120345", "023451")),
        (6, False, ("102345", "123450")),
    ],
)
def test_two_permutations_make_all_others(items, even, cycles):
    batch = synthetic_tasks.permutations(
        np.random.default_rng(0), 2000, 40, items=items, even=even, generators=True
    )
    members = members_of_group(items, even)
    assert batch.tokens == 2 and batch.classes == len(members)
    assert (np.bincount(batch.targets.ravel()) > 0).sum() == len(members)
    for row, targets in zip(batch.inputs[:100], batch.targets[:100], strict=True):
        state = range(items)
        for token, target in zip(row, targets, strict=True):
            state = [int(cycles[token][i]) for i in state]
            assert members[target] == tuple(state)


def test_five_items_make_a_group_that_is_not_solvable():
    table = groups.products(5, even=True)
    inverse = np.argmin(table, axis=1)
    commutators = {
        table[table[inverse[a], inverse[b]], table[a, b]] for a in range(60) for b in range(60)
    }
    assert len(commutators) == 60


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r: synthetic_tasks.adding(r, 2, 1), "at least 2"),
        (lambda r: synthetic_tasks.selective_copying(r, 2, 8), "at least 16"),
        (lambda r: synthetic_tasks.associative_recall(r, 2, 17), "even"),
        (lambda r: synthetic_tasks.permutations(r, 2, 4, items=9), "between 2 and 6"),
        (
            lambda r: synthetic_tasks.permutations(r, 2, 4, items=3, generators=True),
            "at least 4.*got 3",
        ),
        (
            lambda r: synthetic_tasks.permutations(r, 2, 4, generators="no"),
            "True or False, got 'no'",
        ),
        (lambda r: synthetic_tasks.modular_arithmetic(r, 2, 4, modulus=1), "at least 2"),
        (lambda r: synthetic_tasks.parity(r, 0, 4), "batch_size"),
        (
            lambda r: synthetic_tasks.associative_recall(r, 2, 20, tokens=8.0),
            "`tokens`.*whole number",
        ),
        (lambda r: synthetic_tasks.permutations(r, 2, 4, items=5.0), "`items`.*whole number"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make(np.random.default_rng(0))
