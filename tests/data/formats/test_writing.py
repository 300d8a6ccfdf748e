"""Predictions in the format of the input: what was there stays, nothing half-written."""

import collections
import csv
import gzip
import json
import tracemalloc

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.batching import in_order, restore_order
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.predictions import cell_text, plain
from tests.data.formats.table import SAMPLES, read
from tests.data.formats.test_conllu import GOOD


def predict(path, out, fields, predicted, skip=False):
    """Reads a file and writes it again with predictions, one example at a time."""
    format = find_format(path)
    with format.writer(out, path, fields) as writer:
        for example in format.read(path, fields, Malformed(skip)):
            writer.write(example, predicted(example))


def write(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def inputs_and_predictions(path, out, fields, column):
    """What was read before and after must be the same, with predictions as targets."""
    before, after = read(path, fields)[0], read(out, column)[0]
    assert [str(e.inputs) for e in after] == [str(e.inputs) for e in before]
    return [e.target for e in after]


@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz"])
def test_csv_rows(tmp_path, name):
    content = b'id;text;label\r\n1;"a ""b""; c";x\r\n2;d;y\r\n'
    path = write(tmp_path, name, gzip.compress(content) if name.endswith(".gz") else content)
    fields, out = Fields(text="text", label="label"), tmp_path / f"out-{name}"
    predict(
        path, out, fields, lambda e: {"prediction": e.target * 2, "probability": np.float32(0.25)}
    )
    text = gzip.decompress(out.read_bytes()) if name.endswith(".gz") else out.read_bytes()
    added = b'id;text;label;prediction;probability\r\n1;"a ""b""; c";x;xx;0.25\r\n2;d;y;yy;0.25\r\n'
    assert text == added
    column = Fields(text="text", label="prediction")
    assert inputs_and_predictions(path, out, fields, column) == ["xx", "yy"]


def test_csv_steps_and_what_comes_after_them(tmp_path):
    path = write(tmp_path, "a.csv", "id,day,x\na,2020-01-30,1\na,2020-01-31,2\nb,2020-01-01,3\n")
    fields, out = Fields(series="id", time="day", values=("x",)), tmp_path / "out.csv"
    predict(path, out, fields, lambda e: {"prediction": "up", "step": list(range(len(e.inputs)))})
    assert list(csv.reader(out.read_text().splitlines()))[1:3] == [
        ["a", "2020-01-30", "1", "up", "0"], ["a", "2020-01-31", "2", "up", "1"]]  # fmt: skip
    format = find_format(path)
    with format.writer(out, path, fields) as writer:
        for example in format.read(path, fields, Malformed(False)):
            writer.extend(example, {"0.5": np.array([1.5, 2.5]), "0.9": [2, 3]})
    assert out.read_text() == (
        "id,day,x,0.5,0.9\na,2020-02-01,,1.5,2\na,2020-02-02,,2.5,3\nb,,,1.5,2\nb,,,2.5,3\n"
    )


@pytest.mark.parametrize(
    ("times", "later"),
    [
        (("1", "3"), ["5", "7"]),
        (("0.5", "1"), ["1.5", "2"]),
        (
            ("2010/12/31 22:00:00", "2010/12/31 23:00:00"),
            ["2011/01/01 00:00:00", "2011/01/01 01:00:00"],
        ),
        (("2010-01-01T00:00", "2010-01-01T00:30"), ["2010-01-01T01:00", "2010-01-01T01:30"]),
        (("Mon", "Tue"), ["", ""]),
        (("2020-01-01", "2020-02-01"), ["2020-03-01", "2020-04-01"]),
        (("30.11.2020", "31.12.2020"), ["31.01.2021", "28.02.2021"]),
    ],
)
def test_times_go_on(tmp_path, times, later):
    path = write(tmp_path, "a.csv", "t,x\n" + "".join(f"{time},1\n" for time in times))
    fields, out, format = Fields(time="t"), tmp_path / "out.csv", find_format(path)
    with format.writer(out, path, fields) as writer:
        for example in format.read(path, fields, Malformed(False)):
            writer.extend(example, {"prediction": [0, 0]})
    assert [row["t"] for row in csv.DictReader(out.read_text().splitlines())] == later


def test_json_lines(tmp_path):
    rows = [{"text": "a ☃", "label": "x", "more": [1, {"deep": None}]}, {"text": "b", "label": "y"}]
    path = write(tmp_path, "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n\n")
    fields, out = Fields(text="text", label="label"), tmp_path / "out.jsonl"
    added = {
        "prediction": "z",
        "probability": np.array([0.1, 1 / 3], np.float32),
        "nothing": float("nan"),
    }
    predict(path, out, fields, lambda _: added)
    plain = {"prediction": "z", "probability": [0.1, 0.333333], "nothing": None}
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {**row, **plain} for row in rows
    ]
    assert "☃" in out.read_text()


def test_numbers_keep_the_digits_they_have():
    """Those of float32 are six; a float64 may be a step of one around ten million."""
    values = [np.float32(1 / 3), 1 / 3, 123456789, np.float64(10000123.25), np.float32(1e7)]
    texts = ["0.333333", "0.333333", "123456789", "10000123.25", "10000000"]
    assert [cell_text(value) for value in values] == texts
    assert plain(np.array([[10000123.25, np.nan]])) == [[10000123.25, None]]


def test_json_steps_and_what_comes_after_them(tmp_path):
    path = write(tmp_path, "a.jsonl", '{"t": 1, "x": 3}\n{"t": 2, "x": 4}\n')
    fields, out, format = Fields(time="t", values=("x",)), tmp_path / "out.jsonl", find_format(path)
    with format.writer(out, path, fields) as writer:
        for example in format.read(path, fields, Malformed(False)):
            writer.write(example, {"all": "a", "each": ["p", "q"]})
            writer.extend(example, {"prediction": [5.0, 6.0]})
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"t": 1, "x": 3, "all": "a", "each": "p"}, {"t": 2, "x": 4, "all": "a", "each": "q"},
        {"t": 3, "prediction": 5.0}, {"t": 4, "prediction": 6.0}]  # fmt: skip


@pytest.mark.parametrize("ending", ["\n", "\r\n"])
@pytest.mark.parametrize("tag", ["upos", "biose"])
def test_conllu_is_the_same_but_for_the_tags(tmp_path, tag, ending):
    content = GOOD.replace("\n", ending).encode()
    path, fields, out = write(tmp_path, "a.conllu", content), Fields(tag=tag), tmp_path / "b.conllu"
    predict(path, out, fields, lambda e: {"prediction": e.target})
    assert out.read_bytes() == content
    predict(path, out, fields, lambda e: {"prediction": ["NEW"] * len(e.target)})
    assert {tag for e in read(out, fields)[0] for tag in e.target} == {"NEW"}
    before, after = content.split(ending.encode()), out.read_bytes().split(ending.encode())
    column = 3 if tag == "upos" else 9
    for old, new in zip(before, after, strict=True):
        cells, others = old.split(b"\t"), new.split(b"\t")
        changed = [i for i, (a, b) in enumerate(zip(cells, others, strict=True)) if a != b]
        assert changed in ([], [column])


def test_conllu_takes_more_than_tags(tmp_path):
    path = write(tmp_path, "a.conllu", "1\tgo\t_\t_\t_\t_\t_\t_\t_\t_")
    fields = Fields(tag="biose", require_target=False)
    out = tmp_path / "b.conllu"
    predict(path, out, fields, lambda _: {"prediction": ("O",), "sure": [0.5], "score": -1.25})
    assert out.read_text() == "# score = -1.25\n1\tgo\t_\t_\t_\t_\t_\t_\t_\tbiose=O|sure=0.5"
    with pytest.raises(ValueError, match="Expected 1 tags"):
        predict(path, out, fields, lambda _: {"prediction": ("O", "O")})


def test_ts_with_the_predicted_class(tmp_path):
    head = "# about\n@problemName a\n@univariate true\n"
    path = write(tmp_path, "a.ts", head + "@classLabel true x y\n@data\n1,2:x\n3,?:y\n")
    out = tmp_path / "out.ts"
    predict(path, out, Fields(), lambda e: {"prediction": "new one", "probability": 0.5})
    assert out.read_text() == (
        head + "@classLabel true x y new_one\n@data\n"
        "# probability=0.5\n1,2:new_one\n# probability=0.5\n3,?:new_one\n"
    )
    assert inputs_and_predictions(path, out, Fields(), Fields()) == ["new_one"] * 2
    path = write(tmp_path, "b.ts", "@classLabel false\n@data\n1,2\n")
    predict(path, out, Fields(require_target=False), lambda _: {"prediction": "x"})
    assert out.read_text() == "@classLabel true x\n@data\n1,2:x\n"
    path = write(tmp_path, "c.ts", "@targetLabel true\n@data\n1:2:0.5\n")
    predict(path, out, Fields(), lambda _: {"prediction": 0.75})
    assert out.read_text() == "@targetLabel true\n@data\n1:2:0.75\n"


def test_npz_with_more_arrays(tmp_path):
    arrays = {"inputs": np.arange(6.0).reshape(3, 2), "labels": np.array(["a", "b", "c"])}
    arrays["inputs"][1] = np.nan
    path, out = tmp_path / "a.npz", tmp_path / "out.npz"
    np.savez(path, **arrays)
    fields = Fields(label="labels")

    def predicted(example):
        return {"prediction": example.target * 2, "scores": np.ones(2) / 4, "rank": 1}

    predict(path, out, fields, predicted, skip=True)
    found = np.load(out, allow_pickle=False)
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert found["prediction"].tolist() == ["aa", "", "cc"]
    np.testing.assert_array_equal(found["scores"], [[0.25] * 2, [np.nan] * 2, [0.25] * 2])
    assert found["rank"].tolist() == [1, -1, 1] and found["scores"].dtype == np.float32


def test_texts(tmp_path):
    path, out = write(tmp_path, "a.txt", "warm\ncold\n"), tmp_path / "out.txt"
    predict(path, out, Fields(), lambda e: {"prediction": e.inputs[0], "probability": 0.5})
    assert out.read_text() == "warm\tw\t0.5\ncold\tc\t0.5\n"
    folder = tmp_path / "texts"
    (folder / "good").mkdir(parents=True)
    (folder / "good" / "a.txt").write_text("warm")
    predict(folder, out, Fields(), lambda e: {"prediction": e.target})
    assert json.loads(out.read_text()) == {"file": "good/a.txt", "prediction": "good"}


def sample_files(tmp_path):
    for key, sample in SAMPLES.items():
        yield key, write(tmp_path, sample.name, sample.content), sample.fields
    np.savez(tmp_path / "a.npz", inputs=np.ones((2, 3)))
    yield "npz", tmp_path / "a.npz", Fields()


def one_prediction(example):
    tagged = isinstance(example.inputs, tuple)
    return {"prediction": ["X"] * len(example.inputs) if tagged else "X"}


@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt, OSError])
def test_nothing_half_written_is_left_behind(tmp_path, error):
    for _, path, fields in sample_files(tmp_path):
        out = tmp_path / "out" / path.name
        out.parent.mkdir(exist_ok=True)
        calls = 0

        def broken(example):
            nonlocal calls
            calls += 1
            if calls == 2:
                raise error("stop")
            return one_prediction(example)

        with pytest.raises(error):
            predict(path, out, fields, broken)
        assert list(out.parent.iterdir()) == []
        out.write_text("from before")
        calls = 0
        with pytest.raises(error):
            predict(path, out, fields, broken)
        assert out.read_text() == "from before" and len(list(out.parent.iterdir())) == 1
        predict(path, out, fields, one_prediction)
        assert out.read_bytes() != b"from before" and len(list(out.parent.iterdir())) == 1
        out.unlink()


def test_places_that_cannot_be_written(tmp_path):
    for _, path, fields in sample_files(tmp_path):
        with pytest.raises(InputError, match="there is no folder"):
            predict(path, tmp_path / "nowhere" / path.name, fields, one_prediction)
        with pytest.raises(InputError, match="it is a folder"):
            predict(path, tmp_path, fields, one_prediction)


@pytest.mark.parametrize("key", ["csv", "jsonl", "npz"])
def test_a_column_that_is_there_already(tmp_path, key):
    _, path, fields = next(found for found in sample_files(tmp_path) if found[0] == key)
    out = tmp_path / ("out" + path.suffix)
    predict(path, out, fields, one_prediction)
    with pytest.raises(InputError, match="has 'prediction' already, the name of a"):
        predict(out, tmp_path / ("again" + path.suffix), fields, one_prediction)
    assert not (tmp_path / ("again" + path.suffix)).exists()


def test_an_input_where_every_row_is_malformed_leaves_a_header(tmp_path):
    path, out = write(tmp_path, "a.csv", "text,label\na\nb\n"), tmp_path / "out.csv"
    predict(path, out, Fields(text="text"), one_prediction, skip=True)
    assert out.read_text() == "text,label\n"


def test_predictions_must_have_the_same_names(tmp_path):
    path = write(tmp_path, "a.csv", "text\na\nb\n")
    names = iter(["prediction", "other"])
    with pytest.raises(ValueError, match="Expected predictions"):
        predict(path, tmp_path / "o.csv", Fields(text="text"), lambda _: {next(names): 1})


def test_memory_does_not_grow_with_the_file(tmp_path):
    """Read, batched, brought back into order and written: a window is all that is kept."""

    def peak(rows):
        path = write(
            tmp_path, "a.csv", "text\n" + "".join(f"{'x' * (i % 40 + 1)}\n" for i in range(rows))
        )
        format, fields = find_format(path), Fields(text="text")
        waiting = collections.deque()

        def encoded():
            for example in format.read(path, fields, Malformed(False)):
                waiting.append(example)
                yield {"inputs": np.zeros(len(example.inputs), np.uint8)}

        def results():
            for positions, batch in in_order(encoded(), 16):
                yield from zip(positions.tolist(), batch["lengths"].tolist(), strict=False)

        tracemalloc.start()
        with format.writer(tmp_path / "out.csv", path, fields) as writer:
            for length in restore_order(results()):
                writer.write(waiting.popleft(), {"prediction": length})
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        written = (tmp_path / "out.csv").read_text().splitlines()
        assert len(written) == rows + 1 and written[2] == "xx,2"
        return found

    assert peak(3200) < 1.2 * peak(800)
