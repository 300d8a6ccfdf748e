"""Series of the Monash forecasting archive."""

import dataclasses
import json

import numpy as np
import pytest

from seqjax.data.formats import Fields, find_format
from tests.data.formats.table import complaint, read

HEAD = """# about
@relation tourism
@attribute series_name string
@attribute start_timestamp date
@frequency monthly
@data
"""
SERIES = Fields(missing=True, require_target=False)


def test_series_and_their_predictions(tmp_path):
    path, target = tmp_path / "a.tsf", tmp_path / "b.jsonl"
    path.write_text(HEAD + "T1:1979-01-01 00-00-00:1.5,?,3\nT2:1980-01-01 00-00-00:4\n")
    first, second = read(path, SERIES)[0]
    np.testing.assert_array_equal(first.inputs, [[1.5], [np.nan], [3]])
    np.testing.assert_array_equal(second.inputs, [[4]])
    fields = find_format(path).describe(path, dataclasses.replace(SERIES, one_series=True)).fields
    with find_format(path).writer(target, path, fields) as writer:
        writer.write(first, {"value_prediction": np.array([7.0])})
    start = "1979-01-01 00-00-00"
    wanted = {"series_name": "T1", "start_timestamp": start, "value_prediction": [7.0]}
    assert json.loads(target.read_text()) == wanted


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (HEAD + "T1:1,2\n", "line 7: expected 2 attributes before the values, got 1"),
        (HEAD + "T1:x:1,b\n", "line 7: 'value': expected a number, got 'b'"),
        (HEAD + "T1:x:?,?\n", "line 7: expected a number, got missing values alone"),
        (HEAD, "has no series below a line @data"),
        ("1,2\n", "line 1: expected a line that begins with @, got '1,2'"),
    ],
)
def test_malformed(content, message, tmp_path):
    path = tmp_path / "a.tsf"
    path.write_text(content)
    assert message in complaint(path, SERIES)
