"""Tables whose first line names no columns, and text files that are tables, as people have them."""

import dataclasses

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format

PAIR = Fields(text="source", label="target", label_is_text=True)
TEXT = Fields(text="text", label="label")
SERIES = Fields(label="label", missing=True)
ONE = Fields(one_series=True, missing=True, require_target=False)


def examples(path, fields):
    """What a command reads: the format by content, the roles by the first rows."""
    found = find_format(path, fields)
    fields = found.describe(path, fields).fields
    return list(found.read(path, fields, Malformed(skip=False)))


FILES = {
    "Tatoeba": (
        "fra.txt", 'Go.\tVa !\tCC-BY 2.0\nGo.\tBouge !\tCC "x"\n"Hi," he said.\t"Oh."\tCC\n', PAIR,
        [("Go.", "Va !"), ("Go.", "Bouge !"), ('"Hi," he said.', '"Oh."')],
    ),
    "letters and phones": (
        "words.dict", "ABEL\tEY B AH L\nACE\tEY S\n", PAIR,
        [("ABEL", "EY B AH L"), ("ACE", "EY S")],
    ),
    "messages": (
        "SMSSpamCollection", 'ham\tGo on, "crazy..\nspam\tFree entry\nham\tOk lar\n', TEXT,
        [('Go on, "crazy..', "ham"), ("Free entry", "spam"), ("Ok lar", "ham")],
    ),
    "UCR": (
        "GunPoint_TRAIN.tsv", "1\t-0.6\t2.5\n2\t-0.1\t2.5\n1\t-0.5\t2.5\n", SERIES,
        [([-0.6, 2.5], "1"), ([-0.1, 2.5], "2"), ([-0.5, 2.5], "1")],
    ),
    "UCR with spaces": (
        "Coffee.txt", "  1.0e+00  -0.6 2.5\n  2.0e+00   0.5 NaN\n", SERIES,
        [([-0.6, 2.5], "1.0e+00"), ([0.5], "2.0e+00")],
    ),
    "a class at the end": (
        "iris.data", "5.1,3.5,Iris-setosa\n4.9,3.0,Iris-setosa\n7,3,Iris-virginica\n", SERIES,
        [([5.1, 3.5], "Iris-setosa"), ([4.9, 3.0], "Iris-setosa"), ([7, 3], "Iris-virginica")],
    ),
    "a number in a line": ("load.txt", "1.5\n2\n", ONE, [([1.5, 2], None)]),
    "numbers alone": ("load.csv", "1.5,7\n2,7\n", ONE, [([1.5, 7, 2, 7], None)]),
    "numbers of columns": (
        "a.csv", "0,1,label\n5,6,x\n7,8,y\n", SERIES, [([5, 6], "x"), ([7, 8], "y")],
    ),
    "names in a text file": ("a.txt", "source\ttarget\na b\tc\n", PAIR, [("a b", "c")]),
    "an unknown ending": (
        "test.en", "A line\nanother\n", dataclasses.replace(PAIR, require_target=False),
        [("A line", None), ("another", None)],
    ),
    "quotes that enclose": (
        "a.tsv", 'text\tlabel\n"he said ""hi""\tthere"\tx\n', TEXT, [('he said "hi"\tthere', "x")],
    ),
    "a quoted line end": ("a.tsv", 'label\ttext\nx\t"two\nlines"\n', TEXT, [("two\nlines", "x")]),
    "quotes that are text": (
        "a.tsv", 'text\tlabel\n"Hi," he said\tx\nan inch is 1"\ty\n', TEXT,
        [('"Hi," he said', "x"), ('an inch is 1"', "y")],
    ),
    "names by the option": (
        "metadata.csv", 'LJ001-0001|Printing, "in|Printing\n',
        Fields(text="id", label="said", label_is_text=True, columns=("id", "said", "normal")),
        [("LJ001-0001", 'Printing, "in')],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "fields", "wanted"), FILES.values(), ids=FILES)
def test_files_as_people_have_them(name, content, fields, wanted, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    found = examples(path, fields)
    assert [example.target for example in found] == [target for _, target in wanted]
    for example, (inputs, _) in zip(found, wanted, strict=True):
        if isinstance(inputs, str):
            assert example.inputs == inputs
        else:
            np.testing.assert_array_equal(example.inputs.ravel(), inputs)


@pytest.mark.parametrize("name", ["UCR", "UCR with spaces", "messages", "quotes that are text"])
def test_predictions_stand_beside_the_rows(name, tmp_path):
    """Without a line of names where the file has none, and nothing is quoted."""
    file, content, fields, _ = FILES[name]
    path, target = tmp_path / file, tmp_path / "out"
    path.write_text(content)
    format = find_format(path, fields)
    fields = format.describe(path, fields).fields
    with format.writer(target, path, fields) as writer:
        for example in examples(path, fields):
            writer.write(example, {"prediction": "a\tb"})
    sign, lines = (" " if "spaces" in name else "\t"), content.splitlines()
    header = lines.pop(0) + f"{sign}prediction\n" if "text" in lines[0] else ""
    said = "a_b" if sign == " " else "a b"
    rows = [" ".join(line.split()) if sign == " " else line for line in lines]
    assert target.read_text() == header + "".join(f"{row}{sign}{said}\n" for row in rows)


def test_what_was_found_is_said(tmp_path):
    path = tmp_path / "GunPoint_TRAIN.tsv"
    path.write_text(FILES["UCR"][1])
    said = "\n".join(find_format(path, SERIES).describe(path, SERIES).lines())
    assert "column_1, column_2, ... as names of columns (--columns gives others)" in said
    assert "label from 'column_1', by what they hold" in said


@pytest.mark.parametrize(
    ("name", "content", "fields", "message"),
    [
        ("a.tsv", "ham\tgo on\n", TEXT, "no column 'text'; .*the first line does not name them"),
        ("a.txt", "1\t2.5\n", Fields(number="price"), "no column 'price'; .* --columns"),
        ("a.csv", "1\n", Fields(columns=("x", "y")), "--columns names 2 columns, 'x', 'y'"),
    ],
)
def test_what_no_content_can_tell(name, content, fields, message, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        examples(path, fields)
