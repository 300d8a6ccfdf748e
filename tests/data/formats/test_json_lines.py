"""JSON Lines: what an example may look like, and what it may not."""

import json

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.formats import Fields, find_format
from tests.data.formats.table import complaint, read

TEXT = Fields(text="text", label="label")
TAGS = Fields(tokens="words", tag="tags")
SERIES = Fields(values=("x",))


def write(tmp_path, *rows):
    path = tmp_path / "a.jsonl"
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def inputs(path, fields):
    return [example.inputs for example in read(path, fields)[0]]


def test_texts_tokens_and_labels(tmp_path):
    path = write(tmp_path, {"text": "a\nb", "label": 3, "words": ["a b", "c"], "tags": ["X", "Y"],
                            "many": ["p", "q"], "n": 2}, "", {"text": "c", "label": True,
                            "words": "a b", "tags": "X Y", "many": [], "n": 0.5})  # fmt: skip
    assert [(e.inputs, e.target) for e in read(path, TEXT)[0]] == [("a\nb", "3"), ("c", "true")]
    tagged = read(path, TAGS)[0]
    assert [e.inputs for e in tagged] == [("a b", "c"), ("a", "b")]
    assert [e.target for e in tagged] == [("X", "Y"), ("X", "Y")]
    many = read(path, Fields(text="text", label="many"))[0]
    assert [e.target for e in many] == [("p", "q"), ()]
    assert [e.target for e in read(path, Fields(text="text", number="n"))[0]] == [2.0, 0.5]
    assert [e.where[-6:] for e in many] == ["line 1", "line 3"]


def test_a_list_of_objects_and_keys_inside_objects(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[{"text": "a", "label": 1},\n {"text": "b", "label": 2}]')
    found, _ = read(path, TEXT)
    assert [(e.inputs, e.target, e.where[-6:]) for e in found] == [
        ("a", "1", "item 1"),
        ("b", "2", "item 2"),
    ]
    path.write_text('[{"text": "a"')
    assert "expected a list of objects in JSON, but" in complaint(path, TEXT)
    path.write_text('{"translation": {"de": "ja", "en": "yes"}}\n')
    inner = Fields(text="translation.de", label="translation.en")
    assert [(e.inputs, e.target) for e in read(path, inner)[0]] == [("ja", "yes")]
    assert "expected the key 'translation.fr'" in complaint(path, Fields(text="translation.fr"))
    # By its content, whatever it is called.
    (tmp_path / "reviews.dump").write_text('{"text": "a"}\n')
    assert find_format(tmp_path / "reviews.dump").name == "JSON Lines"


def test_series_of_every_shape(tmp_path):
    (one,) = inputs(write(tmp_path, {"x": [1, 2.5]}), SERIES)
    np.testing.assert_array_equal(one, np.float32([[1], [2.5]]))
    (two,) = inputs(write(tmp_path, {"x": [[1, 2], [3, 4], [5, 6]]}), SERIES)
    assert two.shape == (3, 2) and two.dtype == np.float64
    (three,) = inputs(write(tmp_path, {"x": [1, 2], "y": [3, 4]}), Fields(values=("y", "x")))
    np.testing.assert_array_equal(three, [[3, 1], [4, 2]])
    (four,) = inputs(write(tmp_path, {"x": 1, "y": 2, "name": "a"}), Fields())
    np.testing.assert_array_equal(four, [[1], [2]])
    # Where there are lists, numbers beside them are something else.
    path = write(tmp_path, {"id": 7, "x": [1, 2]})
    assert find_format(path).describe(path, Fields()).fields.values == ("x",)


def test_time_steps(tmp_path):
    rows = [
        {"s": "a", "x": 1, "l": "u"},
        {"s": "a", "x": 2, "l": "u"},
        {"s": "b", "x": 3, "l": "v"},
    ]
    found, _ = read(write(tmp_path, *rows), Fields(series="s", label="l"))
    assert [(e.inputs[:, 0].tolist(), e.target) for e in found] == [([1, 2], "u"), ([3], "v")]


def test_missing_values(tmp_path):
    path = write(tmp_path, '{"x": [1, null, NaN, "NA"]}')
    (found,) = inputs(path, Fields(values=("x",), missing=True))
    np.testing.assert_array_equal(found[:, 0], [1, np.nan, np.nan, np.nan])


MALFORMED = {
    "blank": (["", " "], TEXT, "has only blank lines"),
    "not JSON": (["text"], TEXT, "line 1: expected JSON, but at character 1"),
    "cut off": (['{"text": "a'], TEXT, "line 1: expected JSON, but at character 10"),
    "single quotes": (["{'text': 'a'}"], TEXT, "expected JSON, but at character 2"),
    "two objects": (["{} {}"], TEXT, "expected JSON, but at character 4: Extra data"),
    "a list": (["[1, 2]"], TEXT, "item 1: expected an object in braces, got 1"),
    "a text": (['"a"'], TEXT, "expected an object in braces"),
    "nothing": (["null"], TEXT, "expected an object in braces, got null"),
    "too deep": (["[" * 100_000], TEXT, "objects in JSON, but"),
    "too deep inside": (["{" + '"a":{' * 100_000], TEXT, "expected JSON, but"),
    "no key": (
        [{"text": "a", "label": "b"}, {"text": "a"}],
        TEXT,
        "line 2: expected the key 'label', got 'text'",
    ),
    "no key at all": (["{}"], TEXT, "expected the key 'text', got no key at all"),
    "a key twice": (['{"text": "a", "text": "b", "label": "c"}'], TEXT, "'text' more than once"),
    "no label": ([{"text": "a", "label": None}], TEXT, "'label': expected a label, got nothing"),
    "empty label": ([{"text": "a", "label": ""}], TEXT, "'label': expected a label, got nothing"),
    "label of a wrong kind": ([{"text": "a", "label": {}}], TEXT, "expected a label, got {}"),
    "text of a wrong kind": ([{"text": 3, "label": "a"}], TEXT, "'text': expected a text, got 3"),
    "empty text": ([{"text": "", "label": "a"}], TEXT, "expected a text, got an empty one"),
    "zero byte": ([{"text": "a\0", "label": "a"}], TEXT, "zero byte at character 2"),
    "half a character": (
        [{"text": "a\ud800", "label": "a"}],
        TEXT,
        "got half a character .0xd800. at character 2",
    ),
    "NaN": (['{"x": [1, NaN]}'], SERIES, "expected a finite number, got NaN"),
    "Infinity": (['{"x": [-Infinity]}'], SERIES, "expected a finite number, got -Infinity"),
    "too large": (['{"x": [1e400]}'], SERIES, "'x': expected a finite number in float32"),
    "very long": (['{"x": [' + "9" * 5000 + "]}"], SERIES, "expected"),
    "text in numbers": ([{"x": [1, "two"]}], SERIES, "'x': expected a number, got 'two'"),
    "thousands": ([{"x": [1, "1,000"]}], SERIES, "thousands separators"),
    "true in numbers": ([{"x": [1, True]}], SERIES, "'x': expected a number, got True"),
    "null in numbers": ([{"x": [1, None]}], SERIES, "'x': expected a number, got nothing"),
    "empty list": ([{"x": []}], SERIES, "'x': expected at least one step, got an empty list"),
    "empty step": ([{"x": [[]]}], SERIES, "expected 1 channels in every step"),
    "ragged": (
        [{"x": [[1, 2], [3]]}],
        SERIES,
        "expected 2 channels in every step, .* got 1 in step 2",
    ),
    "number among lists": ([{"x": [[1], 2]}], SERIES, "expected 1 channels .* got 2 in step 2"),
    "list among numbers": ([{"x": [1, [2]]}], SERIES, "expected a number, got \\[2\\]"),
    "other channels": (
        [{"x": [[1, 2]]}, {"x": [[1]]}],
        SERIES,
        "line 2: expected 2 channels, .* got 1",
    ),
    "channels of other lengths": (
        [{"x": [1], "y": [1, 2]}],
        Fields(values=("x", "y")),
        "equally long, got 'x' 1, 'y' 2",
    ),
    "number beside list": (
        [{"x": [1], "y": 2}],
        Fields(values=("x", "y")),
        "expected a list of numbers",
    ),
    "no numbers": ([{"name": "a"}], Fields(), r"no column holds numbers, .*'name' \('a'\)"),
    "fewer tags": ([{"words": ["a", "b"], "tags": ["X"]}], TAGS, "'tags': expected 2 tags"),
    "tags of a wrong kind": (
        [{"words": ["a"], "tags": [1.5]}],
        TAGS,
        "'tags': expected a list of words",
    ),
    "no tags": ([{"words": ["a"], "tags": []}], TAGS, "'tags': expected a label, got nothing"),
    "no words": ([{"words": [], "tags": []}], TAGS, "'words': expected at least one word"),
    "an empty word": ([{"words": [""], "tags": ["X"]}], TAGS, "'words': expected a list of words"),
    "series apart": (
        [*[{"s": 1, "x": i % 3} for i in range(500)], {"s": 2, "x": 1}, {"s": 1, "x": 1}],
        Fields(series="s"),
        "line 502: 's': expected the rows of a series together",
    ),
}


@pytest.mark.parametrize(("rows", "fields", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(rows, fields, message, tmp_path):
    path = write(tmp_path, *rows)
    with pytest.raises(InputError, match=message):
        read(path, fields)
    assert complaint(path, fields).startswith("a.jsonl")


def test_malformed_lines_are_skipped_and_counted(tmp_path):
    path = write(
        tmp_path, "{", {"text": "a", "label": "b"}, [], {"text": "c"}, {"text": "", "label": "x"}
    )
    found, malformed = read(path, TEXT, skip=True)
    assert [e.inputs for e in found] == ["a"] and malformed.count == 4
    lines = [message.split(": ")[0].rpartition(" ")[2] for message in malformed.messages]
    assert lines == ["1", "3", "4", "5"]
