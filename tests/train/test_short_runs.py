"""Few steps, few examples, one example of a class: what a run says, and what it holds out."""

import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.train.config import RunConfig
from seqjax.train.example_files import hold_out
from seqjax.train.short_runs import (
    note_on_outcome,
    notes_on_examples,
    notes_on_groups,
    notes_on_steps,
)
from seqjax.train.task import Criterion


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 20, "validate_every": 500}, "the only validation is the one after the last"),
        ({"steps": 20, "validate_every": 500, "patience": 1}, "--patience cannot end the run"),
        ({"steps": 20, "validate_every": 20}, ""),
    ],
)
def test_steps_that_end_before_a_validation(options, message):
    assert message in "".join(notes_on_steps(RunConfig(**options)))
    assert bool(message) == bool(notes_on_steps(RunConfig(**options)))


@pytest.mark.parametrize(
    ("train", "validation", "messages"),
    [
        (5, 20, ["5 training examples are fewer than --batch 8"]),
        (8, 20, []),
        (80, 20, []),
        (81, 20, ["see 80 of the 81 training examples"]),
        (8, 3, ["3 validation examples: their scores say little"]),
    ],
)
def test_few_examples_and_many(train, validation, messages):
    found = notes_on_examples(RunConfig(steps=10, batch=8), train, validation)
    assert len(found) == len(messages)
    assert all(map(str.__contains__, found, messages))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_every_class_has_an_example_to_train_on(share):
    groups = ["a"] * 10 + ["b"] * 2 + ["c"] + ["d"] + ["e"]
    examples = [Example(place, name) for place, name in enumerate(groups)]
    train, validation = hold_out(examples, share, groups)
    assert {example.target for example in train} == set("abcde")
    assert validation and sorted([*train, *validation]) == examples
    found = notes_on_groups([e.target for e in train], [e.target for e in validation])
    assert "one training example only: " in found[0]
    assert "not in validation, which says nothing of them: " in found[1]
    assert "'c', 'd', 'e'" in found[0] and "'c', 'd', 'e'" in found[1]


def test_one_example_of_each_class_cannot_be_held_out():
    examples = [Example(place, str(place)) for place in range(4)]
    with pytest.raises(InputError, match="No group has more than one of the 4 examples"):
        hold_out(examples, 0.3, [example.target for example in examples])


@pytest.mark.parametrize(
    ("criterion", "best", "useless"),
    [
        (Criterion("accuracy", False, 0.6), 0.6, True),
        (Criterion("accuracy", False, 0.6), 0.61, False),
        (Criterion("bits_per_character", True, 4.0), 4.1, True),
        (Criterion("bits_per_character", True, 4.0), 3.9, False),
        (Criterion("accuracy", False), 0.0, False),
    ],
)
def test_a_model_no_better_than_one_answer_for_all(criterion, best, useless):
    said = note_on_outcome(criterion, criterion.cost(best), 10)
    assert bool(said) == useless
    if useless:
        assert f"{criterion.name.replace('_', ' ')} {best:.4f}" in said
