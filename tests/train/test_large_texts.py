"""Texts that are larger than memory learn and are held out as those in memory."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.core.errors import InputError
from seqjax.data import documents
from seqjax.data.kept_files import kept
from seqjax.data.vocabulary import Vocabulary
from seqjax.train import texts
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.large_texts import LargeTexts
from seqjax.train.texts import TextConfig, find_texts

LINES = "".join(f"line {i} of ☃ and łynx\r\n" for i in range(40))
WITHOUT = "é" * 301
FILES = {
    "one": {"a.txt": "\ufeff" + LINES},
    "two": {"a.txt": LINES, "b.txt": WITHOUT},
    "short": {"a.txt": "x", "b.txt": "\r\n\r\r\ny"},
    "many": {f"{i}.txt": f"number {i} " * (i + 3) for i in range(12)},
    "rows": {"a.jsonl": "".join(json.dumps({"text": f"row {i}\n☃"}) + "\n" for i in range(5))},
}


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch):
    """Seven bytes, so that characters and line ends are cut."""
    monkeypatch.setattr(documents, "PIECE", 7)


def write(folder, files):
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return TextConfig(tuple(folder / name for name in files), token_cache=folder / "cache")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("kind", ["characters", "bytes"])
def test_tokens_are_those_in_memory(name, kind, tmp_path, monkeypatch):
    config, said = write(tmp_path, FILES[name]), []
    memory = find_texts(config, print)
    monkeypatch.setattr(texts, "IN_MEMORY", 0)
    for _ in range(2):
        large = find_texts(config, said.append)
        assert isinstance(large, LargeTexts)
        tokenizer = large.vocabulary() if kind == "characters" else Vocabulary("bytes")
        assert tokenizer == (memory.vocabulary() if kind == "characters" else tokenizer)
        for side in (False, True):
            assert "".join(large.pieces(side)) == "".join(memory.pieces(side))
        found, wanted = large.corpora(tokenizer), memory.corpora(tokenizer)
        assert found.digest == wanted.digest
        for one, other in zip(found[:2], wanted[:2], strict=True):
            assert isinstance(one.tokens, np.memmap) and one.tokens.dtype == other.tokens.dtype
            np.testing.assert_array_equal(one.tokens, other.tokens)
            assert one.counts.tolist() == other.counts.tolist()
            assert one.excerpt == other.excerpt and one.characters == other.characters
            assert (one.documents, list(one.names)) == (other.documents, list(other.names))
    # Each start reads the files for their digest; all else is done once.
    assert [line.split()[0] for line in said].count("reading") == 2 + (kind == "characters")
    assert sum(line.startswith("writing") for line in said) == 1
    # What is read is the text of the files.
    whole = "".join("".join(memory.pieces(side)) for side in (False, True))
    if name in ("one", "two", "short"):
        wanted = "".join(text.removeprefix("\ufeff") for text in FILES[name].values())
        assert sorted(whole) == sorted(wanted.replace("\r\n", "\n"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"0123456789\xe2\x98", "byte 0xe2 at position 10"),
        (b"\xef\xbb\xbf012345678\xff9", "byte 0xff at position 12"),
        (b"0123456789\x00", "zero byte at position 10"),
        (b" \n \n     \n  ", "is empty"),
    ],
)
def test_a_file_that_is_no_text(content, message, tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_bytes(content)
    monkeypatch.setattr(texts, "IN_MEMORY", 0)
    config = TextConfig((tmp_path / "a.txt",), token_cache=tmp_path / "cache")
    with pytest.raises(InputError, match=message):
        find_texts(config, print).vocabulary()
    with pytest.raises(InputError, match=message):
        documents.read_document(tmp_path / "a.txt")


def test_patterns_of_files(tmp_path):
    write(tmp_path, FILES["many"])
    found = documents.text_files([tmp_path / "1*.txt"])
    assert [path.name for path in found] == ["1.txt", "10.txt", "11.txt"]
    with pytest.raises(InputError, match=r"no file or folder .*x\*.txt"):
        documents.text_files([tmp_path / "x*.txt"])


def test_what_is_kept_is_whole(tmp_path):
    def fails(folder):
        (folder / "a").write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        kept(tmp_path / "x", fails)
    assert not (tmp_path / "x").exists()
    kept(tmp_path / "x", lambda folder: (folder / "b").write_text("whole"))
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["b"]


def test_a_run_is_the_same(tmp_path, monkeypatch, capsys):
    """Stopped in the middle too, and after its tokens are gone."""
    monkeypatch.chdir(tmp_path)
    write(tmp_path, {"a.txt": LINES * 4})

    def train(run, steps, limit):
        monkeypatch.setattr(texts, "IN_MEMORY", limit)
        argv = [
            "train", "lm", "--text", "a.txt", "--out", run, "--token-cache", "cache", "--features",
            "4", "--embedding", "2", "--batch", "2", "--time", "8", "--validate-every", "2",
            "--steps", "4", "--sample", "0", "--devices", "1", "--dropout", "0",
        ]  # fmt: skip
        assert main(argv) == 0

    train("memory", 4, 10**9)
    train("disk", 4, 0)
    # The second half once more.
    shutil.rmtree("cache")
    shutil.rmtree("disk/checkpoints/4")
    assert main(["train", "--resume", "disk"]) == 0
    ends = [
        Checkpoints(Path(run, "checkpoints"), read_only=True).arrays(4)
        for run in ("memory", "disk")
    ]
    for name, array in ends[0].items():
        np.testing.assert_array_equal(ends[1][name], array, err_msg=name)
    for argv in ([], ["--text", "a.txt"]):
        scores = []
        for run, limit in (("disk", 0), ("memory", 10**9)):
            monkeypatch.setattr(texts, "IN_MEMORY", limit)
            capsys.readouterr()
            assert main(["evaluate", run, *argv]) == 0
            printed = capsys.readouterr().out.splitlines()
            scores.append([line for line in printed if " GB in " not in line and run not in line])
        assert scores[0][-3:] == scores[1][-3:] and "bits per character" in "".join(scores[0])
