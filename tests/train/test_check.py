"""`seqjax check`: what it says of a file, and that it reads it as the training does."""

import shlex
import tracemalloc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.data.survey import Survey
from seqjax.train.check import as_training, tasks_with
from seqjax.train.likely_task import likely_task
from seqjax.train.tasks import TASKS
from seqjax.train.tasks.caption import PictureReading
from seqjax.train.tasks.forecast import Forecasting


def said(capsys, tmp_path, name, content, *options, task=()):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(content)
    assert main(["check", *task, str(tmp_path / name.split("/")[0]), *options]) == 0
    return capsys.readouterr().out


def test_a_table_of_texts(capsys, tmp_path):
    rows = "1,fine,good\n2,poor,bad\n3,fine,Good\n4,x,\n5,so,bad\n"
    found = said(capsys, tmp_path, "a.csv", "id,text,label\n" + rows)
    assert f"seqjax train classify --train {tmp_path / 'a.csv'} --text text --label label" in found
    assert "id     numbers        '1'" in found
    assert "label  words          'good'  (the label, 1 missing)" in found
    assert "examples    4: 2 to 4 characters, median 4" in found
    assert "labels      'bad' 2, 'good' 1, 'Good' 1" in found
    assert "line 5: 'label': expected a label, got nothing" in found
    odd = found[found.index("\nodd\n") :]
    assert "1 of 4 inputs stand there more than once, 1 with another target: 'fine'" in odd
    assert "differ in case or spaces alone: 'good', 'Good'" in odd


def test_a_series_by_the_day(capsys, tmp_path):
    rows = "2024-01-01,1\n2024-01-02,NA\n2024-01-04,3\n2024-01-05,4\n"
    found = said(capsys, tmp_path, "a.csv", "date,sold\n" + rows)
    assert "(the time)" in found and "(a value, 1 missing)" in found
    assert "examples    1: 5 steps of 1 channel" in found and "missing     40 %" in found
    assert "1 of 5 steps have no row, the first after '2024-01-02'" in found
    assert "training would end: The longest series has 5 steps" in found


def test_options_name_the_columns(capsys, tmp_path):
    rows = "a,1,2,u\na,2,2,u\nb,3,2,v\n"
    options = ["--series", "who", "--values", "x", "y", "--label", "kind"]
    found = said(capsys, tmp_path, "a.csv", "who,x,y,kind\n" + rows, *options)
    assert "examples    2: 1 to 2 steps of 2 channels" in found
    assert "never vary: channels 2" in found


WORDS = "sentence_id,word,tag\n1,null,O\n1,NA,B-X\n2,.,O\n2,so,O\n"
KAGGLE = "Sentence #,Word,Tag\nSentence: 1,EU,B-geo\n,calls,O\nSentence: 2,so,O\n,it,O\n"
SHOPS = "day,sold,promo,rain\n" + "".join(f"2024-01-0{i},{i},{i > 4},wet\n" for i in range(1, 8))
AS_TRAINED = {
    "words": ("a.csv", WORDS, "tag", [], ["examples    2: 2 tokens", "(the tokens)"]),
    "Kaggle's words": ("a.csv", KAGGLE, "tag", [], ["examples    2: 2 tokens", "'B-geo' 1"]),
    "covariates": ("a.csv", SHOPS, "forecast", [
        "--values", "sold", "--covariates", "promo", "--past-covariates", "rain", "--horizon", "2",
        "--history", "2",
    ], ["'promo' is encoded as true 1 and false 0", "'rain' is encoded as 'wet'", "3 channels"]),
    "words as values": ("a.csv", SHOPS, "forecast", ["--values", "sold", "promo"],
                        ["examples    1: 7 steps of 2 channels"]),
    "pairs": ("a.csv", "de,en\nja,yes\nnein,no\n", "translate",
              ["--text", "de", "--translation", "en", "--tokens", "characters"], ["'yes' 1"]),
    "decimals": ("a.csv", "x;z\n1.234;1\n1.235;2\n", "forecast", ["--decimal", "comma"],
                 ["'1234'", "decimal commas"]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "content", "task", "options", "messages"), AS_TRAINED.values(), ids=AS_TRAINED
)
def test_a_file_is_read_as_in_training(name, content, task, options, messages, capsys, tmp_path):
    found = said(capsys, tmp_path, name, content, *options, task=[task])
    for message in messages:
        assert message in found, found
    # Without the name of the task, the file and the options tell it.
    if task != "translate":
        assert f"seqjax train {task} " in said(capsys, tmp_path, name, content, *options)


def test_what_check_shows_is_what_training_reads(capsys, tmp_path):
    """Its first line is the command, and the examples are those of that command."""
    found = said(capsys, tmp_path, "a.csv", KAGGLE)
    words = shlex.split(found.splitlines()[0].partition("as in: ")[2])
    assert words[:3] == ["seqjax", "train", "tag"]
    assert as_training([str(tmp_path / "a.csv")], TASKS)[1] == words[3:]
    assert as_training(["tag", *words[4:]], TASKS) == (TASKS["tag"], words[3:])


def test_every_option_of_every_task_is_an_option_here():
    with pytest.raises(SystemExit):
        main(["check", "forecast", "--help"])
    assert tasks_with(["past_covariates", "series_in_rows"], TASKS) == ["forecast"]
    assert tasks_with(["frames", "label"], TASKS) == ["classify"]
    assert tasks_with(["suffixes"], TASKS) == ["lm"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.ts", "@classLabel true x y\n@data\n1,2:x\n3:y\n", "labels      'x' 1, 'y' 1"),
        ("texts/good/a.txt", "fine", "labels from 'good', the folders"),
        ("a.txt", "one\nthree\n", "examples    1: 10 characters"),
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


LIKELY = {
    "flowers": ("a.csv", "width,length,species\n1,2.5,x\n2,3.5,y\n", "classify --label species"),
    "a foreign date": ("a.csv", "Datum;Umsatz\n01.02.2020;7\n02.02.2020;5\n",
                       "forecast --time Datum"),
    "a page in a row": ("a.csv", "page,2020-01-01,2020-01-02,2020-01-03\na,1,2,3\nb,3,4,7\n",
                        "forecast --series-in-rows"),
    "sounds": ("a.csv", "path,text\nx.wav,hi\ny.wav,lo\n", "transcribe --audio path --text text"),
    "pictures": ("a.jsonl", '{"file": "x.png", "caption": "a dot"}\n',
                 "caption --image file --caption caption"),
    "classes of pictures": ("a.csv", "id,label\nx.png,a\n", "classify --frames id --label label"),
    "posts": ("a.csv", '"4","146","Mon Apr 06 22:19:45","no","is so very sad"\n"0","148","Mon Apr '
              '06 22:19:49","no","and glad to be"\n', "classify --text text"),
    "comments": ("a.csv", "id,comment_text,toxic,label\n1,so it is now,0,1\n2,it was not so,1,0\n",
                 "classify --text comment_text --label label"),
    "languages": ("a.tsv", "source\ttarget\nja\tyes\n", "translate"),
    "reviews": ("a.csv", "review,stars\nfine,5\npoor,1\n",
                "classify --text review --label stars"),
}  # fmt: skip


@pytest.mark.parametrize(("name", "content", "command"), LIKELY.values(), ids=LIKELY)
def test_the_likely_task(name, content, command, tmp_path):
    (tmp_path / name).write_text(content)
    task, arguments = as_training([str(tmp_path / name)], TASKS)
    assert " ".join([task.name, *arguments[2:]]) == command


def test_arrays(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((3, 4)))
    assert likely_task(tmp_path / "a.npy", {}) == ("forecast", {"series_in_rows": None})
    np.savez(tmp_path / "a.npz", inputs=np.zeros((3, 4)), y=np.zeros(3, int))
    assert likely_task(tmp_path / "a.npz", {}) == ("classify", {"label": "y"})
    np.save(tmp_path / "b.npy", np.array([[1, 2], [3]], dtype=object), allow_pickle=True)
    assert main(["check", str(tmp_path / "b.npy")]) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.csv"], "has only a header"),
        (["b.csv", "--time", "day"], "holds no example that can be used. 1 malformed row"),
        (["pictures"], "pictures has no folders; expected one for each label"),
        (["a.csv", "--covariates", "x", "--tag", "y"], "No task takes --covariates, --tag togeth"),
        (["a.csv", "--frob", "x", "--label", "y"], "No task has the option --frob"),
        (["frob", "a.csv"], "There is no task and no file 'frob'; the tasks are lm, classify"),
        ([], "Name the file"),
        (["nowhere.csv"], "There is no file nowhere.csv"),
        (["b.npy"], "holds Python objects, such as series of different lengths"),
    ],
)
def test_what_cannot_be_read(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.csv").write_text("text,label\n")
    (tmp_path / "b.csv").write_text("day,x\n2020-01-01,1\n2020-01-01,2\n")
    (tmp_path / "pictures").mkdir()
    for name in "ab":
        (tmp_path / "pictures" / f"{name}.png").write_bytes(b"\x89PNG")
    np.save(tmp_path / "b.npy", np.array([[1, 2], [3]], dtype=object), allow_pickle=True)
    assert main(["check", *arguments]) == 2
    assert message in capsys.readouterr().err


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


def test_numbers_that_stand_for_missing_values():
    low = np.array([[-999, 1], [3, -2], [4, -999], [-999, 0.5], [5, 1]])
    assert odd(Example(low)) == [
        "3 values are -999, far from all others: --missing -999, if it means that there is none"
    ]
    once = np.array([[-99.9], [3], [4], [5]], np.float32).astype(np.float64)
    assert "1 value is -99.9, far" in odd(Example(once))[0]
    pressure = np.array([[998.0], [999], [1001], [997]])
    assert odd(Example(pressure)) == [] == odd(Example(np.full((4, 1), 999.0)))


def test_an_error_in_training_names_the_file_once_and_what_to_do(capsys, tmp_path):
    for name, text in (("a/1.txt", "fine"), ("b/1.txt", "")):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    assert main(["train", "classify", "--train", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert error.count("b/1.txt") == 1
    assert "is empty. --skip-malformed leaves such rows out." in error


def test_a_clip_of_another_size():
    reading = PictureReading((0, 9, 10, 3))
    with pytest.raises(InputError, match=r"shape \(time, 9, 10, 3\) .*, got \(time, 8, 10, 3\)"):
        reading.inputs(Example(np.zeros((2, 8, 10, 3)), None, "a.jsonl, line 1"))


@pytest.mark.parametrize(("error", "naive"), [(0.0002, 0.0001), (1.5, 1.2)])
def test_a_tie_with_the_naive_forecast_is_none_to_warn_of(error, naive):
    model = SimpleNamespace(difference=False)
    task: Any = SimpleNamespace(season=0, config=SimpleNamespace(model=model))
    scores = {"mean_absolute_scaled_error": error, "seasonal_naive": naive}
    (line,) = Forecasting.verdict(task, scores)
    assert f"is better: {naive} against {error}." in line
    assert Forecasting.verdict(task, scores | {"seasonal_naive": error}) == []


def test_a_large_text_goes_by_in_pieces(capsys, tmp_path):
    """Its parts are counted and compared as the whole would be."""
    piece = "one line\n" * 500_000
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(6 * piece)
    tracemalloc.start()
    assert main(["check", "lm", str(tmp_path)]) == 0
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found = capsys.readouterr().out
    assert "examples    2: 27,000,000 characters" in found
    assert "1 of 2 inputs stand there more than once: 'one line" in found
    # A file has 27 MB, and is read in pieces of 4.
    assert peak < 27e6, peak
