"""`seqjax check`: what it says of a file, and what it finds odd."""

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.data.examples import Example
from seqjax.data.survey import Survey


def said(capsys, tmp_path, name, content, *options):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    assert main(["check", str(tmp_path / name.split("/")[0]), *options]) == 0
    return capsys.readouterr().out


def test_a_table_of_texts(capsys, tmp_path):
    rows = "1,fine,good\n2,poor,bad\n3,fine,Good\n4,x,\n5,so,bad\n"
    found = said(capsys, tmp_path, "a.csv", "id,text,label\n" + rows)
    assert "id     numbers        '1'" in found
    assert "label  words          'good'  (the label, 1 missing)" in found
    assert "examples    4: 2 to 4 characters, median 4" in found
    assert "labels      'bad' 2, 'good' 1, 'Good' 1" in found
    odd = found[found.index("\nodd\n") :]
    assert "1 of 4 inputs stand there more than once, 1 with another target: 'fine'" in odd
    assert "differ in case or spaces alone: 'good', 'Good'" in odd
    assert "one training example only: 'Good', 'good'" in odd
    assert "line 5: 'label': expected a label, got nothing" in odd


def test_a_series_by_the_day(capsys, tmp_path):
    rows = "2024-01-01,1\n2024-01-02,NA\n2024-01-04,3\n2024-01-05,4\n"
    found = said(capsys, tmp_path, "a.csv", "date,sold\n" + rows)
    assert "(the time)" in found and "(a value, 1 missing)" in found
    assert "examples    1: 5 steps of 1 channel" in found and "missing     40 %" in found
    assert "1 of 5 steps have no row, the first after '2024-01-02'" in found


def test_options_name_the_columns(capsys, tmp_path):
    rows = "a,1,2,u\na,2,2,u\nb,3,2,v\n"
    options = ["--series", "who", "--values", "x", "y", "--label", "kind"]
    found = said(capsys, tmp_path, "a.csv", "who,x,y,kind\n" + rows, *options)
    assert "examples    2: 1 to 2 steps of 2 channels" in found
    assert "never vary: channels 2" in found


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ts", "@classLabel true x y\n@data\n1,2:x\n3:y\n", "labels      'x' 1, 'y' 1"),
        ("texts/good/a.txt", "fine", "labels from 'good', the folders"),
        ("a.txt", "one\nthree\n", "examples    2: 3 to 5 characters"),
        ("a.jsonl", '{"x": [1, 2], "label": "u"}\n', "x      lists"),
    ],
)
def test_other_formats(capsys, tmp_path, name, content, message):
    assert message in said(capsys, tmp_path, name, content)


SPAN = '{"text": "Angela is here", "entities": [[0, 6, "PER"]], "id": 1}\n'
FOUND = {
    "spans": ("a.jsonl", SPAN, ["(the tag)", "labels      'O' 2, 'B-PER' 1"]),
    "tokens": ("a.jsonl", '{"tokens": ["a", "b"], "ner_tags": [0, 1]}\n', ["'0' 1, '1' 1"]),
    "words": ("a.tsv", "EU\tB-ORG\nso\tO\n\nEU\tB-ORG\n", ["a table of words", "'B-ORG' 2, 'O' 1"]),
    "pairs": ("a.tsv", "\t\nthe EU\tdie EU\na b\tc d\n", ["examples    2: 3 to 6 characters"]),
    "no names": ("sms", "ham\tgo on\nspam\tfree\nham\tok lar\n", ["'ham' 2, 'spam' 1"]),
    "two columns of time": (
        "a.txt", "Date;Time;x\n" + "".join(f"1/2/2006;0{i}:00:00;1,{i}\n" for i in range(6)),
        ["the step of 'Date+Time' is 1 hour", "decimal commas"],
    ),
    "Prophet": ("a.csv", "ds,y\n2020-01-01,1\n2020-01-02,4\n", ["values from 'y'", "1: 2 steps"]),
    "GluonTS": ("a.jsonl", '{"start": "2012-01-01", "target": [1, 2.5, null], "item_id": "T1"}\n',
                ["values from 'target'", "1: 3 steps of 1 channel"]),
    "unlabelled": ("a/unsup/1.txt", "x", ["labels from 'neg', ", "beside them: 'unsup'"]),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "messages"), FOUND.values(), ids=FOUND)
def test_what_is_found_without_options(name, content, messages, capsys, tmp_path):
    if name.startswith("a/"):
        (tmp_path / "a/neg").mkdir(parents=True)
        (tmp_path / "a/neg/1.txt").write_text("poor")
    found = said(capsys, tmp_path, name, content)
    for message in messages:
        assert message in found


def test_what_cannot_be_read(capsys, tmp_path):
    (tmp_path / "a.png").write_bytes(b"\x89PNG")
    assert main(["check", str(tmp_path / "a.png")]) == 2
    assert "is a picture" in capsys.readouterr().err
    (tmp_path / "a.csv").write_text("text,label\n")
    assert main(["check", str(tmp_path / "a.csv")]) == 2
    assert "has only a header" in capsys.readouterr().err


def odd(*examples):
    survey = Survey()
    for example in examples:
        survey.add(example)
    return list(survey.odd())


def test_what_is_odd():
    one, two = np.ones((3, 2)), np.arange(6.0).reshape(3, 2)
    assert odd(Example(one, "x"), Example(two, "y")) == []
    assert odd(Example(one, "x"), Example(two)) == ["1 of 2 examples have no target"]
    assert odd(Example(one), Example(two[:, :1])) == ["shapes differ: 2 (1), 1 (1)"]
    short = [Example(one[:1, :1] * i) for i in range(9)]
    assert "the longest has 100 steps" in odd(Example(np.zeros((100, 1))), *short)[0]
    rare = [Example(f"text {i}", "rare" if i == 7 else "usual") for i in range(60)]
    assert odd(*rare) == ["'usual' is 98 % of all labels"]
    prices = [Example(f"text {i}", f"{i / 7:.3f}") for i in range(60)]
    assert odd(*prices) == ["60 different labels are numbers: --target number learns those"]
