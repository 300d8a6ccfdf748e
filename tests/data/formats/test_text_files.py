"""Texts: one in a line, and a folder for each label."""

import dataclasses
import os

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.audio import Audio
from tests.data.formats.table import complaint, read

LABEL = Fields(label="label")


@pytest.fixture
def folder(tmp_path):
    for name, text in {
        "good/b.txt": "warm",
        "good/deep/a.md": "kind\r\n",
        "bad/c.txt": "cold",
    }.items():
        path = tmp_path / "texts" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode())
    (tmp_path / "texts" / "good" / "picture.png").write_bytes(b"\x89PNG\0")
    (tmp_path / "texts" / ".hidden.txt").write_text("no")
    return tmp_path / "texts"


def test_one_text_in_a_line(tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("warm and kind \n  cold")
    found, _ = read(path)
    assert [e.inputs for e in found] == ["warm and kind ", "  cold"]
    tokens, _ = read(path, Fields(tokens="text"))
    assert [e.inputs for e in tokens] == [("warm", "and", "kind"), ("cold",)]


def test_a_folder_for_each_label(folder):
    found, _ = read(folder, LABEL)
    assert [(e.inputs, e.target) for e in found] == [
        ("cold", "bad"), ("warm", "good"), ("kind\n", "good")]  # fmt: skip
    assert [e.raw["file"] for e in found] == [
        os.path.join("bad", "c.txt"), os.path.join("good", "b.txt"),
        os.path.join("good", "deep", "a.md")]  # fmt: skip


def test_what_lies_beside_the_folders_of_labels_is_left_out_and_said(folder):
    for name in ("urls_neg.txt", "labeledBow.feat"):
        (folder / name).write_text("http://a\n")
    assert len(read(folder, LABEL)[0]) == 3
    (line,) = find_format(folder).describe(folder, LABEL).lines()
    assert "labels from 'bad', 'good'" in line
    assert line.endswith("left out beside them: 'labeledBow.feat', 'urls_neg.txt'")


def test_unlabelled_texts_and_the_parts_of_a_data_set(folder, tmp_path):
    for name in ("unsup", "good"):
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "z.txt").write_text("so")
    assert {example.target for example in read(folder, LABEL)[0]} == {"good", "bad"}
    (line,) = find_format(folder).describe(folder, LABEL).lines()
    assert line.endswith("left out beside them: 'unsup'")
    later = dataclasses.replace(LABEL, require_target=False)
    assert len(read(folder, later)[0]) == 5
    folder.rename(tmp_path / "train")
    whole = tmp_path / "whole"
    whole.mkdir()
    (tmp_path / "train").rename(whole / "train")
    assert "name the parts (whole/train) with --train" in complaint(whole, LABEL)


def test_folders_of_pictures_and_sounds(tmp_path):
    import soundfile
    from PIL import Image

    for label in ("cat", "dog"):
        (tmp_path / label).mkdir()
        Image.new("L", (4, 3), 255).save(tmp_path / label / "a.PNG")
        soundfile.write(tmp_path / label / "a.wav", np.zeros(800, np.float32), 8000)
    (tmp_path / "cat" / "list.csv").write_text("a")
    found, _ = read(tmp_path, Fields(label="label", image="file", image_size=(2, 2)))
    assert [(e.inputs.shape, e.target) for e in found] == [((2, 2, 1), "cat"), ((2, 2, 1), "dog")]
    sounds = Fields(label="label", audio=Audio("file", sample_rate=8000, mel_bands=5))
    assert [(e.inputs.shape, e.target) for e in read(tmp_path, sounds)[0]] == [
        ((8, 5), "cat"), ((8, 5), "dog")]  # fmt: skip
    said = complaint(tmp_path, LABEL)
    assert "It holds pictures: --frames file reads them. It holds sounds: --audio file" in said


def test_a_file_for_each_label(tmp_path):
    for name, text in {"French": "Abel\n\nAli\n", "Greek": "Adamou"}.items():
        (tmp_path / f"{name}.txt").write_text(text)
    found, _ = read(tmp_path, LABEL)
    assert [(e.inputs, e.target) for e in found] == [
        ("Abel", "French"), ("Ali", "French"), ("Adamou", "Greek")]  # fmt: skip
    assert found[1].where.endswith("French.txt, line 3")
    # Predictions are made for what the model was trained on: lines, or whole files.
    by_line = find_format(tmp_path).describe(tmp_path, LABEL).fields
    assert by_line.by_line and not Fields(label="label").by_line
    wanted = dataclasses.replace(LABEL, require_target=False)
    assert len(read(tmp_path, wanted)[0]) == 2
    assert len(read(tmp_path, dataclasses.replace(wanted, by_line=True))[0]) == 3


def test_texts_whose_names_have_no_suffix(tmp_path):
    for name in ("alt.atheism/49960", "sci.space/59848"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("From: somebody")
    assert [e.target for e in read(tmp_path, LABEL)[0]] == ["alt.atheism", "sci.space"]


def test_a_folder_without_labels(folder):
    found, _ = read(folder / "bad")
    assert [(e.inputs, e.target) for e in found] == [("cold", None)]


LINES = {
    "blank line": (b"a\n\nb\n", Fields(), "line 2: expected a text, got a blank line"),
    "spaces alone": (b"a\n  \n", Fields(), "line 2: expected a text, got a blank line"),
    "only line ends": (b"\n\n", Fields(), "line 1: expected a text, got a blank line"),
    "labels": (b"a\n", LABEL, "has no labels. Use a folder, or in a folder a file, for each"),
    "numbers": (b"a\n", Fields(number="n"), "has no labels"),
    "tags": (b"a\n", Fields(tag="t"), "has no labels"),
    "zero byte": (b"a\nb\0\n", Fields(), "line 2: expected text, got a zero byte at character 2"),
    "latin 1": (b"a\nb\n\xe9\n", Fields(), "line 3: expected UTF-8, got the byte 0xe9"),
    "windows quotes": (b"a \x93b\x94\n", Fields(), "line 1: expected UTF-8, got the byte 0x93"),
    "half a character": (b"caf\xc3\n", Fields(), "line 1: expected UTF-8, got the byte 0xc3"),
    "a surrogate": (b"\xed\xa0\x80\n", Fields(), "line 1: expected UTF-8, got the byte 0xed"),
}


@pytest.mark.parametrize(("content", "fields", "message"), LINES.values(), ids=LINES)
def test_malformed_lines(content, fields, message, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(content)
    assert message in complaint(path, fields)


FILES = {
    "empty": (b"", "c.txt is empty"),
    "blank": (b" \n", "c.txt is empty"),
    "zero byte": (b"a\0", "c.txt is not a text file (it has a zero byte at position 1)"),
    "latin 1": (b"caf\xe9", "c.txt is not UTF-8: byte 0xe9 at position 3"),
    "UTF-16": ("ab".encode("utf-16"), "c.txt is not a text file"),
}


@pytest.mark.parametrize(("content", "message"), FILES.values(), ids=FILES)
def test_malformed_files(content, message, folder):
    (folder / "bad" / "c.txt").write_bytes(content)
    with pytest.raises(InputError) as caught:
        read(folder, LABEL)
    assert message in str(caught.value) and "\n" not in str(caught.value)
    found, malformed = read(folder, LABEL, skip=True)
    assert (len(found), malformed.count) == (2, 1) and message in malformed.summary()


def test_folders_that_are_not_as_they_should_be(folder, tmp_path):
    reader = find_format(folder).read
    with pytest.raises(InputError, match="There is no folder"):
        list(reader(tmp_path / "nowhere", LABEL, Malformed(skip=False)))
    with pytest.raises(InputError, match="has no folders; expected one, or a file, for each label"):
        read(folder / "bad", LABEL)
    (tmp_path / "empty").mkdir()
    assert "holds no file that ends in .txt or .md" in complaint(tmp_path / "empty")
    (tmp_path / "empty" / "label").mkdir()
    assert "holds no file that ends in .txt or .md" in complaint(tmp_path / "empty", LABEL)


def test_a_folder_that_must_not_be_read(folder, monkeypatch):
    import pathlib

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    assert complaint(folder, LABEL) == "Cannot read texts: Permission denied."
