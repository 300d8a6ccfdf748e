"""`.npz`: rows read one by one, wrong dtypes and shapes, and never a pickle."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields
from seqjax.data.formats.npz import NPZ
from tests.data.formats.table import complaint, read

NONE = Malformed(skip=False)
LABEL = Fields(label="labels")
SERIES = np.arange(12.0).reshape(2, 3, 2)


def write(tmp_path, save=np.savez_compressed, **arrays):
    path = tmp_path / "a.npz"
    save(path, **arrays)
    return path


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_series_with_lengths_labels_numbers_and_tags(tmp_path, save):
    path = write(
        tmp_path,
        save,
        inputs=SERIES,
        lengths=np.array([3, 1]),
        labels=np.array(["a", "bc"]),
        codes=np.array([7, 8]),
        numbers=np.array([0.5, 1.5]),
        several=np.ones((2, 4), np.float32),
        tags=np.array([["x", "y", "x"], ["z", "", ""]]),
    )
    found, _ = read(path, LABEL)
    np.testing.assert_array_equal(found[0].inputs, SERIES[0])
    np.testing.assert_array_equal(found[1].inputs, SERIES[1, :1])
    assert [e.target for e in found] == ["a", "bc"] and found[0].inputs.dtype == np.float64
    assert found[1].where == f"{path}, row 1"
    assert [e.target for e in read(path, Fields(label="codes"))[0]] == ["7", "8"]
    assert [e.target for e in read(path, Fields(number="numbers"))[0]] == [0.5, 1.5]
    assert read(path, Fields(number="several"))[0][0].target.shape == (4,)
    assert [e.target for e in read(path, Fields(tag="tags"))[0]] == [("x", "y", "x"), ("z",)]
    assert [e.inputs for e in read(path, Fields(text="labels"))[0]] == ["a", "bc"]


def test_one_channel_and_other_dtypes(tmp_path):
    path = write(tmp_path, x=np.arange(6, dtype=np.uint8).reshape(2, 3), b=np.array([True, False]))
    found, _ = read(path, Fields(values=("x",), label="b"))
    assert found[1].inputs.tolist() == [[3], [4], [5]]
    assert [e.target for e in found] == ["true", "false"]


def test_missing_values_in_the_precision_of_the_array(tmp_path):
    for dtype in (np.float32, np.float64):
        path = write(tmp_path, inputs=np.array([[1, -99.9, 1e20]], dtype))
        (example,), _ = read(path, Fields(missing=True, missing_names=("-99.90", "1e20")))
        np.testing.assert_array_equal(example.inputs[:, 0], [1, np.nan, np.nan])


def test_labels_that_need_not_be_there(tmp_path):
    path = write(tmp_path, inputs=SERIES)
    fields = Fields(label="labels", require_target=False)
    assert [e.target for e in read(path, fields)[0]] == [None, None]


def test_rows_of_an_uncompressed_array_stay_on_the_disk(tmp_path):
    path = write(tmp_path, np.savez, inputs=SERIES, pictures=np.ones((2, 3, 4)), more=SERIES + 1)
    for fields in (Fields(), Fields(values=("more",)), Fields(image="pictures")):
        first, second = NPZ.index(path, fields, NONE)
        assert first.stored is not None and second.stored is not None
        np.testing.assert_array_equal(second.inputs, list(NPZ.read(path, fields, NONE))[1].inputs)
    content = path.read_bytes()
    path.write_bytes(content.replace(np.float64(7).tobytes(), np.float64(9).tobytes(), 1))
    with pytest.raises(InputError, match="the array 'inputs' is damaged"):
        list(NPZ.index(path, Fields(), NONE))
    compressed = write(tmp_path, inputs=SERIES)
    assert all(one.stored is None for one in NPZ.index(compressed, Fields(), NONE))


def test_rows_are_read_one_by_one(tmp_path):
    path = write(tmp_path, inputs=np.zeros((1000, 1000), np.float32))
    tracemalloc.start()
    count = 0

    for _ in NPZ.read(path, Fields(), Malformed(skip=False)):
        count += 1
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 1000 and peak < 2_000_000


class Evil:
    """What a pickle would run when it is read."""

    def __reduce__(self):
        return (pytest.fail, ("the pickle was run",))


def objects(value):
    array = np.empty(2, object)
    array[:] = [value, value]
    return array


def flawed(place, value):
    series = SERIES.copy()
    series[place] = value
    return series


MALFORMED = {
    "no arrays": ({}, LABEL, "no array 'inputs'; the arrays are none"),
    "no inputs": ({"x": SERIES}, Fields(), "no array 'inputs'; the arrays are 'x'"),
    "no labels": ({"inputs": SERIES}, LABEL, "no array 'labels'; the arrays are 'inputs'"),
    "no array of values": ({"inputs": SERIES}, Fields(values=("x",)), "no array 'x'"),
    "two arrays of values": ({"inputs": SERIES}, Fields(values=("x", "y")), "expected one array"),
    "no rows": ({"inputs": SERIES[:0]}, Fields(), "has no rows"),
    "another number of labels": (
        {"inputs": SERIES, "labels": np.arange(3)},
        LABEL,
        "as many rows in every array, got {'inputs': 2, 'labels': 3}",
    ),
    "another number of lengths": (
        {"inputs": SERIES, "lengths": np.arange(1)},
        Fields(),
        "as many rows in every array",
    ),
    "pickled": (
        {"inputs": objects(np.zeros(3))},
        Fields(),
        "'inputs' holds pickled Python objects",
    ),
    "pickled labels": ({"inputs": SERIES, "labels": objects("a")}, LABEL, "'labels' holds pickled"),
    "pickle that runs": ({"inputs": objects(Evil())}, Fields(), "never read"),
    "texts": (
        {"inputs": np.array([["a"], ["b"]])},
        Fields(),
        "numbers .*'inputs', got the dtype <U1",
    ),
    "complex": ({"inputs": SERIES * 1j}, Fields(), "expected numbers .* got the dtype complex128"),
    "dates": ({"inputs": SERIES.astype("M8[s]")}, Fields(), "expected numbers"),
    "true and false": ({"inputs": SERIES > 3}, Fields(), "expected numbers .* got the dtype bool"),
    "records": ({"inputs": np.zeros((2, 3), [("a", "f4")])}, Fields(), "expected numbers"),
    "labels of half": ({"inputs": SERIES, "labels": np.array([0.5, 1])}, LABEL, "whole numbers"),
    "bytes": ({"inputs": SERIES, "labels": np.array([b"a", b"b"])}, LABEL, "got the dtype .S1"),
    "lengths of half": (
        {"inputs": SERIES, "lengths": np.ones(2)},
        Fields(),
        "whole numbers .*'lengths'",
    ),
    "one axis": (
        {"inputs": np.zeros(4)},
        Fields(),
        r"expected 2 or 3 axes .* got the shape \(4,\)",
    ),
    "no axis": ({"inputs": np.float32(1)}, Fields(), r"expected 2 or 3 axes .* got the shape \(\)"),
    "four axes": ({"inputs": np.zeros((1, 2, 3, 4))}, Fields(), "expected 2 or 3 axes"),
    "label in two axes": (
        {"inputs": SERIES, "labels": np.ones((2, 2), int)},
        LABEL,
        "expected 1 axes",
    ),
    "Fortran": ({"inputs": np.asfortranarray(SERIES)}, Fields(), "Fortran order"),
    "nan": ({"inputs": flawed((1, 2), np.nan)}, Fields(), "row 1: expected finite .* at step 2"),
    "infinite": ({"inputs": flawed((0, 1, 0), np.inf)}, Fields(), "row 0: expected finite numbers"),
    "too large": ({"inputs": flawed((0, 1, 0), 1e39)}, Fields(), "row 0: expected finite numbers"),
    "length of none": (
        {"inputs": SERIES, "lengths": np.array([1, 0])},
        Fields(),
        "row 1: expected a length from 1 to 3",
    ),
    "length too great": (
        {"inputs": SERIES, "lengths": np.array([4, 1])},
        Fields(),
        "row 0: expected a length .* got 4",
    ),
    "length below none": (
        {"inputs": SERIES, "lengths": np.array([-1, 1])},
        Fields(),
        "row 0: expected a length",
    ),
    "no steps": ({"inputs": np.zeros((2, 0, 3))}, Fields(), "row 0: expected a length from 1 to 0"),
    "empty label": (
        {"inputs": SERIES, "labels": np.array(["a", ""])},
        LABEL,
        "row 1: 'labels': expected",
    ),
    "empty text": ({"texts": np.array(["a", " "])}, Fields(text="texts"), "row 1: expected a text"),
    "number that is none": (
        {"inputs": SERIES, "n": np.array([1, np.nan])},
        Fields(number="n"),
        "row 1: 'n': expected a finite",
    ),
    "fewer tags": (
        {"inputs": SERIES, "t": np.array([["a"], ["b"]])},
        Fields(tag="t"),
        "row 0: expected 3 tags",
    ),
    "empty tag": (
        {"inputs": SERIES, "t": np.array([["a"] * 3, ["b", "", "c"]])},
        Fields(tag="t"),
        "row 1: 't': expected a tag at every step",
    ),
}


@pytest.mark.parametrize(("arrays", "fields", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(arrays, fields, message, tmp_path):
    path = write(tmp_path, **arrays)
    with pytest.raises(InputError, match=message):
        read(path, fields)
    assert complaint(path, fields).startswith("a.npz")


def test_files_that_are_no_archives(tmp_path, monkeypatch):
    path = tmp_path / "a.npz"
    assert complaint(path) == "There is no file a.npz."
    path.write_bytes(b"")
    assert "is empty" in complaint(path)
    path.write_bytes(b"text, not an archive")
    assert "is not an .npz file of numpy.savez, or is damaged" in complaint(path)
    whole = write(tmp_path, inputs=np.random.default_rng(0).normal(size=(50, 9))).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    assert "or is damaged" in complaint(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(damaged)
    assert "damaged" in complaint(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", b"not an array")
    assert "the array 'inputs' is damaged" in complaint(path)
    np.save(tmp_path / "b.npy", SERIES)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("inputs.npy", (tmp_path / "b.npy").read_bytes()[:-8])
    assert "row 1: the array 'inputs' ends too early" in complaint(path)
    path.unlink()
    path.mkdir()
    with pytest.raises(InputError, match="is a folder"):
        list(NPZ.read(path, Fields(), Malformed(skip=False)))


def test_malformed_rows_are_skipped_and_counted(tmp_path):
    path = write(tmp_path, inputs=flawed((0, 0), np.nan), lengths=np.array([3, 2]))
    found, malformed = read(path, skip=True)
    assert malformed.count == 1 and "row 0" in malformed.summary()
    np.testing.assert_array_equal(found[0].inputs, SERIES[1, :2])
    assert found[0].raw == 1
