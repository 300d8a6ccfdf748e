"""Tables whose first line names no columns, and text files that are tables, as people have them."""

import dataclasses

import numpy as np
import pytest

from seqjax.core.errors import InputError
from seqjax.data.examples import Malformed
from seqjax.data.formats import Fields, find_format
from seqjax.data.formats.preamble import preamble_of

PAIR = Fields(text="source", label="target", label_is_text=True)
TEXT = Fields(text="text", label="label")
SERIES = Fields(label="label", missing=True)
ONE = Fields(one_series=True, missing=True, require_target=False)


def examples(path, fields, skip=False):
    """What a command reads: the format by content, the roles by the first rows."""
    found = find_format(path, fields)
    fields = found.describe(path, fields).fields
    return list(found.read(path, fields, Malformed(skip)))


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
    "a date first": (
        "a.csv", "2023-01-01,NA,7\n2023-01-02,6,8\n2023-01-03,5,9\n",
        dataclasses.replace(ONE, values=("column_3",)), [([7, 8, 9], None)],
    ),
    "a date and words": (
        "a.csv", "1/2/2023 10:00,dry,7\n1/2/2023 11:00,wet,8\n1/2/2023 12:00,icy,9\n",
        dataclasses.replace(ONE, time="column_1"), [([7, 8, 9], None)],
    ),
    "dates as names": (
        "a.csv", "2020-01-01,2020-01-02,2020-01-03\n1,2,4\n3,4,7\n",
        Fields(require_target=False), [([1, 2, 4], None), ([3, 4, 7], None)],
    ),
    "World Bank": (
        "gdp.csv", '"Data Source","Indicators",\n\n"Country","Code","Name","1990","1991"\n'
        + "".join(f'"C{i}","c","GDP","{i}",""\n' for i in range(4)),
        Fields(values=("1990",), require_target=False), [([i], None) for i in range(4)],
    ),
    "decimal commas alone": ("a.csv", "0,5;1\n1,5;2\n", ONE, [([0.5, 1, 1.5, 2], None)]),
    "spaces and decimal commas": ("a.txt", "1,5 2,25\n3,5 7\n", ONE, [([1.5, 2.25, 3.5, 7], None)]),
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
    "news": (
        "ag_news.csv", '"3","Wall St.","Short-sellers, a ""band"" of"\n"4","Oil","Soaring prices"\n'
        '"3","Stocks","Stocks ended lower"\n', TEXT,
        [('Short-sellers, a "band" of', "3"), ("Soaring prices", "4"), ("Stocks ended lower", "3")],
    ),
    "columns without a name": (
        "spam.csv", "label,text,,\nham,Go on,,\nspam,Free,,\n,,,\n,,,\n", TEXT,
        [("Go on", "ham"), ("Free", "spam")],
    ),
    "a title": (
        "multiTimeline.csv", "Category: All categories\n\nWeek,pizza: (US)\n"
        + "".join(f"2019-01-{day},{day}\n" for day in (10, 17, 24, 31)), ONE,
        [([10, 17, 24, 31], None)],
    ),
    "a blank pair first": (
        "news.de-en.tsv", "\t\nDie EU\tThe EU\nEin Haus\tA house\n",
        PAIR, [("Die EU", "The EU"), ("Ein Haus", "A house")],
    ),
    "commas and bars": (
        "metadata.csv", 'LJ1|a, b, c|a\nLJ2|d, e, f|d\n',
        Fields(text="id", label="said", label_is_text=True, columns=("id", "said", "normal")),
        [("LJ1", "a, b, c"), ("LJ2", "d, e, f")],
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
    found = examples(path, fields, skip="\t\n" in content)
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


def test_a_title_is_written_back_and_said(tmp_path):
    path, target = tmp_path / "a.csv", tmp_path / "b.csv"
    path.write_text(FILES["a title"][1])
    found = find_format(path, ONE).describe(path, ONE)
    assert found.lines()[0].endswith("read with 2 lines before the names of the columns left out")
    (example,) = examples(path, found.fields)
    with find_format(path).writer(target, path, found.fields) as writer:
        writer.write(example, {"prediction": 7})
    lines = target.read_text().splitlines()
    assert lines[:4] == [
        "Category: All categories", "", "Week,pizza: (US),prediction", "2019-01-10,10,7",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rows", ["x;label\n0,5;a\n1,5;b\n2,5;c\n3,5;d\n", "text\nfine\nso\n", "1\n2,3\n2,4\n2,5\n2,6\n"]
)
def test_no_title(rows):
    assert preamble_of(rows.splitlines(keepends=True)) == 0


def test_joined_columns(tmp_path):
    path, target = tmp_path / "a.csv", tmp_path / "b.csv"
    rows = [(s, k, 9, h, s * 10 + h) for s in (1, 2) for k in "ab" for h in (21, 22, 23)]
    path.write_text(
        "shop,kind,day,hour,x\n" + "".join("{},{},2020-01-{},{},{}\n".format(*r) for r in rows)
    )
    fields = Fields(series="shop+kind", time="day+hour", values=("x",), require_target=False)
    found = examples(path, fields)
    assert [example.inputs.ravel().tolist() for example in found[1:3]] == [
        [31, 32, 33],
        [41, 42, 43],
    ]
    assert found[0].times == ("2020-01-9 21", "2020-01-9 22", "2020-01-9 23")
    with find_format(path).writer(target, path, fields) as writer:
        writer.extend(found[2], {"x_prediction": np.array([1.5, 2.5])})
    assert target.read_text().splitlines()[1:] == ["2,a,2020-01-10,0,,1.5", "2,a,2020-01-10,1,,2.5"]
    with pytest.raises(InputError, match="no column 'day.minute'"):
        examples(path, dataclasses.replace(fields, time="day+minute"))


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
        ("a.tsv", "1\t2\n", Fields(text="z", columns=("x", "y")), "--columns names: 'x', 'y'"),
        ("a.csv", "1\n", Fields(columns=("x", "y")), "--columns names 2 columns, 'x', 'y'"),
    ],
)
def test_what_no_content_can_tell(name, content, fields, message, tmp_path):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        examples(path, fields)
