"""Text files, their characters, and the streams they become."""

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data import sources
from seqjax.data.documents import Document, read_documents
from seqjax.data.held_out import split_documents
from seqjax.data.streams import check_length, scoring_windows, start_positions, window


def test_a_folder_is_read_in_order_of_name(tmp_path):
    (tmp_path / "b.txt").write_text("bee")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.md").write_bytes(b"\xef\xbb\xbfline\r\nother")
    (tmp_path / "picture.png").write_bytes(b"\0\1")
    names = [document.name[-5:] for document in read_documents([tmp_path])]
    assert names == ["b.txt", "/a.md"]
    assert read_documents([tmp_path])[1].text == "line\nother"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no file or folder"),
        (b"", "is empty"),
        (b" \n\t", "is empty"),
        (b"text\0more", "not a text file.*position 4"),
        (b"caf\xe9", "not UTF-8: byte 0xe9 at position 3.*iconv"),
    ],
)
def test_unreadable_files(tmp_path, content, message):
    path = tmp_path / "file.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_documents([path])


def test_a_folder_without_text(tmp_path):
    with pytest.raises(InputError, match="no file that ends in"):
        read_documents([tmp_path])


def test_a_folder_of_sources(tmp_path):
    """Files of other suffixes are read if they are named, and else it is said which there are."""
    for name in ("kernel/fork.c", "kernel/exit.c", "kernel/Makefile"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(f"/* {name} */")
    with pytest.raises(InputError, match="its files are 2 with .c, 1 with no suffix.*--suffixes"):
        read_documents([tmp_path])
    found = read_documents([tmp_path], [".c", ".h"])
    assert [text for _, text in found] == ["/* kernel/exit.c */", "/* kernel/fork.c */"]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 38])
def test_some_text_is_held_out_and_none_is_lost(count):
    documents = [Document(str(i), f"{i}" * 100) for i in range(count)]
    train, held_out = split_documents(documents, 0.1)
    assert train and held_out
    texts = sorted(text for _, text in train + held_out)
    assert sum(map(len, texts)) == sum(len(text) for _, text in documents)
    if count >= 3:
        assert not {name for name, _ in train} & {name for name, _ in held_out}


def test_streams_read_every_character_once_in_a_round():
    corpus, starts = np.arange(103), start_positions(103, 4)
    seen = [[] for _ in range(4)]
    for step in range(5):
        tokens = window(corpus, starts, 5, step)
        np.testing.assert_array_equal(tokens[:, 1:], (tokens[:, :-1] + 1) % 103)
        for row, part in zip(seen, tokens[:, :-1], strict=True):
            row.extend(part.tolist())
    assert seen[0][:25] == list(range(25))
    # The last stream goes on at the beginning of the corpus.
    assert seen[3][:25] == [(77 + i) % 103 for i in range(25)]
    # Far beyond what 32 bits can count.
    assert window(corpus, starts[:1], 5, 2**40 * 103).tolist() == [[0, 1, 2, 3, 4, 5]]


@pytest.mark.parametrize(("length", "rows", "context"), [(1000, 8, 16), (50, 8, 4), (9, 8, 16)])
def test_scoring_counts_every_target_once(length, rows, context):
    corpus = np.arange(1, length + 1, dtype=np.uint16)
    parts, flags = zip(*scoring_windows(corpus, rows, context, 7), strict=True)
    assert all(
        part.shape == (rows, 8) and flag.shape == (rows, 7)
        for part, flag in zip(parts, flags, strict=True)
    )
    tokens = np.concatenate([parts[0][:, :1], *(part[:, 1:] for part in parts)], 1)
    scored = np.concatenate(flags, 1)
    targets = tokens[:, 1:][scored]
    np.testing.assert_array_equal(np.sort(targets), corpus[1:])
    # What is read before a scored character is the text before it.
    for row in range(rows):
        for step in np.flatnonzero(scored[row]):
            before = tokens[row, max(0, step - context + 1) : step + 1]
            own = before[before > 0].astype(int)
            assert own.size == 0 or (np.diff(own) == 1).all()
            assert tokens[row, step + 1] == tokens[row, step] + 1


def test_a_corpus_shorter_than_a_window():
    with pytest.raises(InputError, match="10 characters, too few for 4 streams"):
        check_length(np.zeros(10, np.uint8), 4, 64)


def test_shakespeare():
    documents = sources.load(sources.SHAKESPEARE)
    assert len(documents) == 38 and len({name for name, _ in documents}) == 38
    names = [name for name, _ in documents]
    assert set(sources.SHAKESPEARE.held_out) <= set(names)


def test_a_source_of_another_version(monkeypatch):
    import dataclasses

    other = dataclasses.replace(sources.SHAKESPEARE, sha256="0" * 64)
    with pytest.raises(InputError, match="does not hold the files of version 3.0.0"):
        sources.load(other)


def test_a_source_that_is_not_installed():
    import dataclasses

    missing = dataclasses.replace(sources.SHAKESPEARE, package="no-such-package")
    with pytest.raises(ImportError, match="pip install 'no-such-package==3.0.0'"):
        sources.load(missing)


def test_the_python_reference_is_always_there():
    documents = sources.python_reference()
    assert len(documents) > 50 and sum(len(text) for _, text in documents) > 300_000
