"""Files in pieces: series or words in one file, classes or tags in another."""

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.formats import Fields
from seqjax.data.formats.file_access import FlawError
from seqjax.train.classify_options import ClassifyConfig, ClassifyFields
from seqjax.train.example_files import FilesConfig
from seqjax.train.paired_files import ParallelConfig, series_of
from seqjax.train.tag_options import TagConfig
from seqjax.train.tasks.classify import Classification
from seqjax.train.tasks.tag import Tagging

FILES = {
    "X_train.txt": "  1.5e+00 -2\n  3 4\n",
    "y_train.txt": "5\n2\n",
    "acc_y.txt": "7 8\n9 10\n",
    "short.txt": "7\n9\n",
    "seq.in": "fly to Rome\nstop\n",
    "seq.out": "O O B-city\nO\n",
    "label": "flight\nother\n",
    "one.txt": "1 2\n",
}


def load(task, config, train, targets, tmp_path, **columns):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    paths = [tuple(tmp_path / name for name in names) for names in (train, targets)]
    options = {"columns": ClassifyFields(**columns)} if task is Classification else {}
    config = config(
        files=FilesConfig(train=paths[0]),
        parallel=ParallelConfig(train_targets=paths[1]),
        **options,
    )
    return task.load(config, print)


def test_series_and_their_classes(tmp_path):
    found = load(Classification, ClassifyConfig, ["X_train.txt"], ["y_train.txt"], tmp_path)
    assert [example.target for example in found.train] == ["5", "2"]
    np.testing.assert_array_equal(found.train[0].inputs, [[1.5], [-2]])
    assert found.train[1].where.endswith("X_train.txt, line 2") and found.validation is None


def test_a_file_for_each_channel(tmp_path):
    train = ["X_train.txt", "acc_y.txt"]
    found = load(Classification, ClassifyConfig, train, ["y_train.txt"], tmp_path, target="number")
    assert [example.target for example in found.train] == [5.0, 2.0]
    np.testing.assert_array_equal(found.train[0].inputs, [[1.5, 7], [-2, 8]])


def test_texts_with_classes_and_words_with_tags(tmp_path):
    found = load(Classification, ClassifyConfig, ["seq.in"], ["label"], tmp_path, text="text")
    assert [(e.inputs, e.target) for e in found.train] == [
        ("fly to Rome", "flight"), ("stop", "other")]  # fmt: skip
    found = load(Tagging, TagConfig, ["seq.in"], ["seq.out"], tmp_path)
    assert found.train[0].inputs == ("fly", "to", "Rome")
    assert found.train[0].target == ("O", "O", "B-city")


@pytest.mark.parametrize(
    ("task", "config", "train", "targets", "message"),
    [
        (Classification, ClassifyConfig, ["seq.in"], ["label"], "expected a number, got 'fly'"),
        (Classification, ClassifyConfig, ["X_train.txt"], ["one.txt"], "2 lines and .* 1: line by"),
        (Classification, ClassifyConfig, ["X_train.txt"], ["label", "label"], "give one for each"),
        (Classification, ClassifyConfig, ["X_train.txt", "short.txt"], ["label"], "equally long"),
        (Tagging, TagConfig, ["seq.in"], ["label"], "line 1: expected 3 tags, as many as tokens"),
        (Tagging, TagConfig, ["seq.in", "seq.in"], ["label"], "one file of texts"),
        (Tagging, TagConfig, [], ["label"], "--train-targets goes with --train"),
    ],
)
def test_pieces_that_do_not_fit(task, config, train, targets, message, tmp_path):
    with pytest.raises(InputError, match=message):
        load(task, config, train, targets, tmp_path)


def test_decimal_commas_between_spaces_are_no_two_numbers():
    assert series_of(["1,2", "3, 4"], Fields()).tolist() == [[1, 3], [2, 4]]
    with pytest.raises(FlawError, match="got both in '1,5 2,5'"):
        series_of(["1,5 2,5"], Fields())


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int16])
def test_missing_values_of_pieces(dtype, tmp_path):
    """In an array as in lines; -99.9 of float32 is another number than that of float64."""
    sign = dtype(-99.9)
    np.save(tmp_path / "X.npy", np.array([[1, sign], [3, 4]], dtype))
    (tmp_path / "X.txt").write_text(f"1 {sign!s}\nNA 4\n")
    wanted = {"X.npy": [[1, np.nan], [3, 4]], "X.txt": [[1, np.nan], [np.nan, 4]]}
    for name, rows in wanted.items():
        missing = "-99" if dtype is np.int16 else "-99.9"
        train = load(
            Classification, ClassifyConfig, [name], ["y_train.txt"], tmp_path, missing=(missing,)
        ).train
        found = [example.inputs[:, 0] for example in train]
        np.testing.assert_array_equal(found, rows)
