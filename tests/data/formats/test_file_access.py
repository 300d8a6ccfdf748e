"""What is wrong with a file as such: the same clear message from every reader of text."""

import gzip
import os
import pathlib

import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import BINARY, FORMATS, Fields, find_format
from tests.data.formats.table import SAMPLES, complaint, read

every_format = pytest.mark.parametrize("sample", SAMPLES.values(), ids=SAMPLES)


@every_format
def test_a_file_as_it_should_be(sample, tmp_path):
    path = tmp_path / sample.name
    path.write_text(sample.content)
    found, malformed = read(path, sample.fields)
    assert len(found) == sample.examples and malformed.count == 0
    assert all(example.where.startswith(f"{path}, line ") for example in found)
    packed = tmp_path / (sample.name + ".gz")
    packed.write_bytes(gzip.compress(sample.content.encode()))
    assert [e.target for e in read(packed, sample.fields)[0]] == [e.target for e in found]


@every_format
@pytest.mark.parametrize("change", ["bom", "crlf", "no end", "utf-16"])
def test_harmless_differences(sample, change, tmp_path):
    content = sample.content.encode()
    if change == "bom":
        content = b"\xef\xbb\xbf" + content
    if change == "crlf":
        content = content.replace(b"\n", b"\r\n")
    if change == "no end":
        content = content.rstrip()
    if change == "utf-16":
        content = sample.content.encode("utf-16")
    path = tmp_path / sample.name
    path.write_text(sample.content)
    wanted = read(path, sample.fields)[0]
    path.write_bytes(content)
    for a, b in zip(wanted, read(path, sample.fields)[0], strict=True):
        assert str(a.inputs) == str(b.inputs) and a.target == b.target and a.where == b.where


@every_format
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; expected "),
        (b"\xff\xfe\0\0a\0\0\0", "is UTF-32 text; .*iconv -f utf-32"),
        (b"\xff\xfea\0b", "line 1: expected UTF-16, as its mark says"),
        (gzip.compress(b"text", mtime=0), "compressed by gzip; .*ends in .gz"),
        (b"PK\x03\x04rest", "a zip archive or a spreadsheet"),
        (b"\x89PNG\r\n", "is a picture"),
        (b"\x80\x04\x95a", "is a pickle; .* save its arrays with numpy.savez"),
        (b"\0\0\x08\x03\0", "is pictures in IDX, .* numpy.savez"),
        (b"<?xml version='1.0'?>\n<tmx>", "is XML; .* into a table"),
        (b"%PDF-1.4", "is a PDF document"),
    ],
)
def test_other_kinds_of_files(sample, content, message, tmp_path):
    path = tmp_path / sample.name
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"{path}.*{message}"):
        read(path, sample.fields)


@every_format
def test_gzip_that_is_damaged(sample, tmp_path):
    path = tmp_path / (sample.name + ".gz")
    noise = "".join(f"{os.urandom(40).hex()}\n" for _ in range(50)).replace("\n", "\n# ")
    packed = gzip.compress((sample.content + "# " + noise).encode())
    path.write_bytes(packed[: len(packed) // 2])
    assert "it ends too early" in complaint_at_end(path, sample)
    path.write_bytes(sample.content.encode())
    assert "is not compressed by gzip" in complaint(path, sample.fields)
    path.write_bytes(b"\x1f\x8b\x08\0\0\0\0\0\0\0" + b"\xff" * 50)
    assert "line 1: the compressed file is damaged" in complaint(path, sample.fields)
    path.write_bytes(gzip.compress(b""))
    assert "is empty" in complaint(path, sample.fields)


def complaint_at_end(path, sample):
    """What is said where the file breaks, when rows before it are skipped."""
    with pytest.raises(InputError) as caught:
        list(find_format(path).read(path, sample.fields, Malformed(skip=True)))
    return str(caught.value)


@every_format
def test_paths_that_are_not_files(sample, tmp_path):
    path = tmp_path / sample.name
    assert "There is no file" in complaint(path, sample.fields)
    path.mkdir()
    format = find_format(tmp_path / ("b" + path.suffix))
    with pytest.raises(InputError, match=f"{path} is a folder; expected "):
        list(format.read(path, sample.fields, Malformed(skip=False)))


@every_format
def test_a_file_that_must_not_be_read(sample, tmp_path, monkeypatch):
    path = tmp_path / sample.name
    path.write_text(sample.content)

    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    assert complaint(path, sample.fields) == f"Cannot read {path.name}: Permission denied."


@every_format
@pytest.mark.parametrize(
    ("byte", "message"),
    [
        (b"\xe9", "expected UTF-8, got the byte 0xe9 at character"),
        (b"\0", "a zero byte at character"),
    ],
)
def test_mixed_encodings_and_zero_bytes(sample, byte, message, tmp_path):
    path = tmp_path / sample.name
    path.write_bytes((sample.content + sample.bad).encode().replace(b"%", byte))
    line = sample.content.count("\n") + 1
    assert f"{path.name}, line {line}: " in complaint(path, sample.fields)
    assert message in complaint(path, sample.fields)
    found, malformed = read(path, sample.fields, skip=True)
    assert (len(found), malformed.count) == (sample.examples, 1)
    assert message in malformed.summary()


@every_format
def test_rows_after_a_malformed_one_are_read(sample, tmp_path):
    path = tmp_path / sample.name
    bad = sample.bad.encode().replace(b"%", b"\xff")
    rows = sample.content.encode()
    for _ in range(7):
        rows += bad
    path.write_bytes(rows + sample.bad.replace("%", "7").encode())
    found, malformed = read(path, sample.fields, skip=True)
    assert (len(found), malformed.count) == (sample.examples + 1, 7)
    assert malformed.summary().endswith("and 2 more")
    assert len(malformed.messages) == 5


def test_a_line_that_never_ends(tmp_path, monkeypatch):
    from seqjax.data.formats import file_access

    monkeypatch.setattr(file_access, "LONGEST_LINE", 100)
    path = tmp_path / "a.txt"
    path.write_text("short\n" + "x" * 200)
    assert "line 2: longer than 100 bytes" in complaint(path)


def test_formats_are_told_by_name(tmp_path):
    for format in FORMATS:
        for suffix in format.suffixes:
            assert find_format(f"x.y{suffix}") is format
            assert find_format(f"x{suffix.upper()}") is format
            if format not in BINARY:
                assert find_format(f"x{suffix}.gz") is format
    assert find_format(tmp_path).name == "a folder"
    for name in ("a", "a.docx", "a.gz", "a.npz.gz", "a.hdf5"):
        with pytest.raises(InputError, match=r"must end in \.csv, .*folder of texts"):
            find_format(name)


def test_readers_read_no_more_than_is_asked_for(tmp_path):
    """The error in the last row is met only when it is reached."""
    path = tmp_path / "a.csv"
    path.write_text("text\n" + "fine\n" * 10_000 + '"never closed\n')
    rows = find_format(path).read(path, Fields(text="text"), Malformed(skip=False))
    for _ in range(10_000):
        next(rows)
    with pytest.raises(InputError, match="line 10002: a quote is opened here and never closed"):
        next(rows)
