"""CoNLL-U: words, ranges, empty nodes, tags in columns and in the last column."""

import pytest

from seqjax.core.errors import InputError
from seqjax.data.formats import Fields
from tests.data.formats.table import complaint, read

UPOS = Fields(tag="upos")


def line(number, form="word", tag="X", misc="_"):
    return f"{number}\t{form}\t_\t{tag}\t_\t_\t_\t_\t_\t{misc}"


GOOD = "\n".join(
    [
        "# text = vámonos al mar",
        "1-2\tvámonos" + "\t_" * 8,
        line(1, "vamos", "VERB", "biose=O"),
        line(2, "nos", "PRON", "biose=O|Gloss=us"),
        line("2.1", "lacking", "VERB"),
        "3-4\tal" + "\t_" * 8,
        line(3, "a", "ADP", "Gloss=to|biose=B-LOC"),
        line(4, "el", "DET", "biose=I-LOC"),
        line(5, "mar", "NOUN", "biose=E-LOC"),
        "",
        "",
        line(1, "ya", "ADV", "biose=O"),
        "",
    ]
)


def write(tmp_path, content):
    path = tmp_path / "a.conllu"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_words_are_the_tokens(tmp_path):
    path = write(tmp_path, GOOD)
    first, second = read(path, UPOS)[0]
    assert first.inputs == ("vamos", "nos", "a", "el", "mar")
    assert first.target == ("VERB", "PRON", "ADP", "DET", "NOUN")
    assert (first.where, second.where) == (f"{path}, line 1", f"{path}, line 12")
    assert second.inputs == ("ya",)
    entities = read(path, Fields(tag="biose"))[0]
    assert entities[0].target == ("O", "O", "B-LOC", "I-LOC", "E-LOC")
    assert [e.target for e in read(path, Fields())[0]] == [None, None]


def test_tags_that_need_not_be_there(tmp_path):
    path = write(tmp_path, f"{line(1, tag='_')}\n\n{line(1)}\n")
    found, _ = read(path, Fields(tag="upos", require_target=False))
    assert [e.target for e in found] == [None, ("X",)]
    path = write(tmp_path, line(1) + "\n")
    assert read(path, Fields(tag="feats"))[0][0].target == ("_",)


def test_words_with_spaces_and_the_sign_of_nothing(tmp_path):
    path = write(tmp_path, line(1, "1 000") + "\n" + line(2, "_") + "\n")
    assert read(path, UPOS)[0][0].inputs == ("1 000", "_")


MALFORMED = {
    "only blank lines": (["", ""], UPOS, "has no sentence"),
    "only comments": (["# a", "# b", ""], UPOS, "line 1: expected words, got comments alone"),
    "too few columns": ([line(1), "2\tword"], UPOS, "line 2: expected 10 columns, got 2"),
    "too many columns": ([line(1) + "\t_"], UPOS, "line 1: expected 10 columns, got 11"),
    "spaces": ([line(1).replace("\t", " ")], UPOS, "got 1 .they must be separated by tabs"),
    "a blank that is not": ([line(1), " ", line(2)], UPOS, "line 2: expected 10 columns"),
    "two columns of a tagger": (["word TAG"], UPOS, "line 1: expected 10 columns"),
    "no number": ([line("x")], UPOS, "line 1: expected a number, a range or n.m .* got 'x'"),
    "empty number": ([line("")], UPOS, "line 1: expected a number, a range"),
    "negative": ([line(-1)], UPOS, "line 1: expected a number, a range"),
    "half a range": ([line("1-")], UPOS, "line 1: expected a number, a range"),
    "two dots": ([line("1.1.1")], UPOS, "line 1: expected a number, a range"),
    "begins with two": ([line(2)], UPOS, "line 1: expected the word number 1, got '2'"),
    "a leading zero": ([line("01")], UPOS, "line 1: expected the word number 1, got '01'"),
    "begins with none": ([line(0)], UPOS, "line 1: expected the word number 1, got '0'"),
    "a number twice": ([line(1), line(1)], UPOS, "line 2: expected the word number 2, got '1'"),
    "a number left out": ([line(1), line(3)], UPOS, "line 2: expected the word number 2, got '3'"),
    "no blank line between": (
        [line(1), line(2), line(1)],
        UPOS,
        "line 3: expected the word number 3",
    ),
    "range of one": ([line("1-1"), line(1)], UPOS, "line 1: expected a range that begins with 1"),
    "range backwards": ([line("2-1"), line(1)], UPOS, "line 1: expected a range"),
    "range too early": (
        [line("2-3"), line(1), line(2)],
        UPOS,
        "line 1: expected a range that begins",
    ),
    "ranges that overlap": (
        [line("1-3"), line(1), line("2-3"), line(2), line(3)],
        UPOS,
        "line 3: expected a range",
    ),
    "range past the end": (
        [line("1-3"), line(1), line(2)],
        UPOS,
        "line 1: expected 3 words, .* got 2",
    ),
    "empty node elsewhere": ([line(1), line("2.1")], UPOS, r"line 2: expected the empty node 1.n"),
    "no word": ([line(1, "")], UPOS, "line 1: expected a word in column 2, got nothing"),
    "no tag": ([line(1), line(2, tag="_")], UPOS, "line 2: expected a tag in the column 'upos'"),
    "empty tag": ([line(1, tag="")], UPOS, "line 1: expected a tag in the column 'upos', got none"),
    "no key": ([line(1, misc="a=b")], Fields(tag="biose"), "in the key of the last column 'biose'"),
    "key without a value": ([line(1, misc="biose=")], Fields(tag="biose"), "'biose', got none"),
    "key alone": ([line(1, misc="biose")], Fields(tag="biose"), "'biose', got none"),
    "no such column": ([line(1)], Fields(tag="pos"), "key of the last column 'pos', got none"),
    "zero byte": ([line(1), line(2, "a\0")], UPOS, "line 2: expected text, got a zero byte"),
}


@pytest.mark.parametrize(("lines", "fields", "message"), MALFORMED.values(), ids=MALFORMED)
def test_malformed(lines, fields, message, tmp_path):
    path = write(tmp_path, "\n".join(lines) + "\n")
    with pytest.raises(InputError, match=message):
        read(path, fields)
    assert complaint(path, fields).startswith("a.conllu")


def test_malformed_sentences_are_skipped_and_counted(tmp_path):
    content = f"{line(1)}\n\n{line(2)}\n\n# c\n{line(1)}\n{line(2, tag='_')}\n\n{line(1, 'end')}\n"
    found, malformed = read(write(tmp_path, content), UPOS, skip=True)
    assert [e.inputs for e in found] == [("word",), ("end",)]
    assert [message.split(": ")[0][-6:] for message in malformed.messages] == ["line 3", "line 7"]


def test_latin_1_in_one_sentence(tmp_path):
    content = f"{line(1)}\n\n{line(1, 'caf%')}\n\n{line(1)}\n".encode().replace(b"%", b"\xe9")
    found, malformed = read(write(tmp_path, content), UPOS, skip=True)
    assert len(found) == 2
    assert "line 3: expected UTF-8, got the byte 0xe9 at character 6" in malformed.summary()
