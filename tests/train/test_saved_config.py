"""Configurations from JSON: what is unknown in them is named, what is old still loads."""

import json

import pytest

from seqjax.core.errors import InputError
from seqjax.train.saved_config import differences, from_json, to_json
from seqjax.train.tasks import TASKS

CONFIGS = {name: task.config for name, task in TASKS.items()}


@pytest.mark.parametrize("name", TASKS)
def test_a_round_trip(name):
    config = CONFIGS[name]()
    assert from_json(to_json(name, config), CONFIGS) == (name, config)
    assert differences(config, config) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"model": {"cel": "lstm"}}, r"no option 'model\.cel': did you mean 'model\.cell'\?"),
        ({"stepz": 3}, r"no option 'stepz': did you mean 'steps'\?"),
        ({"zzz": 3}, r"no option 'zzz': remove it"),
        ({"kind": "clasify"}, r"no task 'clasify'; the tasks are lm, classify"),
        ({"kind": None}, r"names no task, so it is not that of a run; `seqjax import` makes"),
        ({"version": 99}, r"saved in version 99, this seqjax reads versions 1 to"),
        ({"model": {"features": "8"}}, r"model\.features must be of type int, got '8'"),
        ({"model": "gru"}, r"model must be an object, got 'gru'"),
        ({"model": {"pooling": "sum"}}, r"model\.pooling must be one of last, mean, max, att"),
        ({"batch": 0}, r"--batch must be above 0, got 0"),
    ],
)
def test_mistakes(values, message):
    """A misspelt option must not be taken for the default."""
    text = json.dumps({"version": 3, "kind": "classify"} | values)
    with pytest.raises(InputError, match=message):
        from_json(text, CONFIGS)


def test_an_option_that_is_left_out_has_its_default():
    _, config = from_json('{"version": 3, "kind": "classify", "steps": 7}', CONFIGS)
    assert config == CONFIGS["classify"](steps=7)
