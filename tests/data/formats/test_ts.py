"""`.ts`: one channel or several, equal lengths or not, classes, numbers, missing values."""

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.formats import Fields
from tests.data.formats.table import complaint, read

HEAD = "@problemName test\n@timeStamps false\n"
CLASSES = "@classLabel true x y\n"


def write(tmp_path, content):
    path = tmp_path / "a.ts"
    path.write_text(content)
    return path


def test_one_channel(tmp_path):
    path = write(
        tmp_path, HEAD + "@univariate true\n" + CLASSES + "@data\n1,2,3:x\n\n# aside\n4.5:y\n"
    )
    found, _ = read(path)
    assert [e.inputs.tolist() for e in found] == [[[1], [2], [3]], [[4.5]]]
    assert [e.target for e in found] == ["x", "y"]
    assert found[1].where == f"{path}, line 9" and found[0].inputs.dtype == np.float64


def test_several_channels_of_several_lengths(tmp_path):
    head = HEAD + "@univariate false\n@dimensions 2\n@equalLength false\n" + CLASSES
    found, _ = read(write(tmp_path, head + "@data\n1,2,3:4,5,6:x\n7:8:y\n"))
    np.testing.assert_array_equal(found[0].inputs, [[1, 4], [2, 5], [3, 6]])
    np.testing.assert_array_equal(found[1].inputs, [[7, 8]])


def test_missing_values_are_nan(tmp_path):
    (one,), _ = read(write(tmp_path, "@missing true\n" + CLASSES + "@data\n1, ? ,3:x\n"))
    np.testing.assert_array_equal(one.inputs[:, 0], [1, np.nan, 3])


def test_time_stamps(tmp_path):
    """Numbers or times of day, with a step that has no row, and one that a channel lacks."""
    content = "@timeStamps true\n" + CLASSES + "@data\n(0,1),(1,2.5),(3,4):(0,5),(1,?),(3,7):x\n"
    (one,), _ = read(write(tmp_path, content))
    np.testing.assert_array_equal(one.inputs, [[1, 5], [2.5, np.nan], [np.nan] * 2, [4, 7]])
    times = "(2024-01-01 00:00:00,1),(2024-01-01 00:05:00,2):(2024-01-01 00:00:00,3):y\n"
    (one,), _ = read(write(tmp_path, "@timeStamps true\n" + CLASSES + "@data\n" + times))
    np.testing.assert_array_equal(one.inputs, [[1, 3], [2, np.nan]])
    assert one.target == "y"


def test_numbers_to_predict_and_nothing_to_predict(tmp_path):
    found, _ = read(write(tmp_path, "@targetlabel true\n@data\n1,2:0.5\n3,4:-2\n"))
    assert [e.target for e in found] == [0.5, -2.0]
    path = write(tmp_path, "@classLabel false\n@data\n1,2\n")
    found, _ = read(path, Fields(require_target=False))
    assert found[0].target is None and found[0].inputs.shape == (2, 1)
    path = write(tmp_path, CLASSES + "@data\n1,2:?\n1:\n")
    assert [e.target for e in read(path, Fields(require_target=False))[0]] == [None, None]


def test_the_header_does_not_care_for_case(tmp_path):
    content = "@PROBLEMNAME a\n@UniVariate TRUE\n@CLASSLABEL True x\n@DATA\n1:x\n"
    assert read(write(tmp_path, content))[0][0].target == "x"


ONE = CLASSES + "@data\n"
MALFORMED = {
    "only a header": (ONE, "has no series below @data"),
    "only comments": ("# a\n# b\n", "has no line @data"),
    "no data": (CLASSES, "has no line @data"),
    "no header": ("1,2:x\n", "line 1: expected a line with @ before @data, got '1,2:x'"),
    "unknown word": ("@clasLabel true x\n@data\n1:x\n", "line 1: there is no @claslabel"),
    "a word twice": (CLASSES + ONE + "1:x\n", "line 2: @classlabel stands there twice"),
    "neither true nor false": ("@univariate yes\n" + ONE, "line 1: expected true or false after"),
    "nothing after a word": ("@missing\n" + ONE, "line 1: expected true or false after @missing"),
    "no number of channels": ("@dimensions two\n" + ONE, "line 1: expected a number above 0 after"),
    "no channels": ("@dimensions 0\n" + ONE, "line 1: expected a number above 0"),
    "length of none": ("@seriesLength\n" + ONE, "line 1: expected a number above 0"),
    "classes without names": ("@classLabel true\n@data\n1:x\n", "expected the classes after"),
    "classes, or not": (
        "@classLabel x y\n@data\n1:x\n",
        "expected true or false after @classLabel",
    ),
    "no time stamps": ("@timeStamps true\n" + ONE + "1,2:x\n", r"expected \(time,value\),.*'1,2'"),
    "half a time stamp": ("@timeStamps true\n" + ONE + "(0,1),3:x\n", r"expected \(time,value\)"),
    "time stamps that are uneven": (
        "@timeStamps true\n" + ONE + "(0,1),(1,2),(1.3,2),(7.1,2):x\n",
        "line 4: 'time stamps'",
    ),
    "a word with a time": ("@timeStamps true\n" + ONE + "(0,one):x\n", "expected a number, got"),
    "time stamps all the same": (ONE + "(0,1),(1,2):x\n", "line 3: .*time stamps in parentheses"),
    "no class": (ONE + "1,2\n", "line 3: expected a series and a class with a colon"),
    "unknown class": (
        ONE + "1,2:x\n1,2:z\n",
        "line 4: expected one of the classes 'x', 'y', got 'z'",
    ),
    "missing class": (ONE + "1,2:?\n", "line 3: expected a class at the end, got none"),
    "empty class": (ONE + "1,2:\n", "line 3: expected a class at the end, got none"),
    "no classes at all": ("@classLabel false\n@data\n1,2\n", "line 3: expected classes, but"),
    "too few channels": ("@dimensions 2\n" + ONE + "1:x\n", "line 4: expected 2 channels, got 1"),
    "too many channels": (
        "@univariate true\n" + ONE + "1:2:x\n",
        "line 4: expected 1 channels, got 2",
    ),
    "other channels than before": (ONE + "1:2:x\n1:x\n", "line 4: expected 2 channels, got 1"),
    "ragged": (
        "@dimensions 2\n" + ONE + "1,2:3:x\n",
        r"line 4: .*equally long, got the lengths \[2, 1\]",
    ),
    "no steps": (ONE + ":x\n", "line 3: expected at least one step, got none in channel 1"),
    "an empty channel": ("@dimensions 2\n" + ONE + "1: :x\n", "got none in channel 2"),
    "an empty step": (ONE + "1,,2:x\n", "line 3: 'channel 1': expected a number, got nothing"),
    "a word": (ONE + "1,two:x\n", "line 3: 'channel 1': expected a number, got 'two'"),
    "nan": (ONE + "1,nan:x\n", "line 3: 'channel 1': expected a finite number .*'nan'"),
    "NaN in the archives' way": (ONE + "1,NaN:x\n", "expected a finite number"),
    "infinite": (ONE + "inf:x\n", "line 3: 'channel 1': expected a finite number .*'inf'"),
    "too large": (ONE + "1e39:x\n", "line 3: 'channel 1': expected a finite number in float32"),
    "underscore": (ONE + "1_0:x\n", "expected a number, got '1_0'"),
    "wrong length": (
        "@equalLength true\n@seriesLength 3\n" + ONE + "1,2:x\n",
        "line 5: expected 3 steps, got 2",
    ),
    "target that is no number": (
        "@targetLabel true\n@data\n1:x\n",
        "'the target': expected a number",
    ),
}


@pytest.mark.parametrize(("content", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(content, message, tmp_path):
    path = write(tmp_path, content)
    with pytest.raises(InputError, match=message):
        read(path)
    assert complaint(path).startswith("a.ts")


def test_malformed_series_are_skipped_and_counted(tmp_path):
    path = write(tmp_path, ONE + "1,2:x\n1,2:z\n?,nope:x\n3:y\n")
    found, malformed = read(path, skip=True)
    assert [e.target for e in found] == ["x", "y"]
    assert [message.split(": ")[0][-6:] for message in malformed.messages] == ["line 4", "line 5"]
