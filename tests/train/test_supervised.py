"""Classifiers, taggers and forecasters from files to predictions, by the commands."""

import csv
import gzip
import json
import shutil
from typing import Any

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.train.checkpoints import Checkpoints

FAST = ["--features", "6", "--batch", "8", "--log-every", "10", "--learning-rate", "0.03",
        "--devices", "1"]  # fmt: skip


def reviews(path, rows=60):
    """A text is good if it has one word, bad if it has another."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["id", "text", "label"])
        for row in range(rows):
            good = row % 2 == 0
            words = [*["well", "so", "then"][: 1 + row % 3], "fine" if good else "poor"]
            out.writerow([row, " ".join(words), "good" if good else "bad"])


def motions(path, series=40):
    """A series rises or falls; one row is one time step."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["series", "x", "y", "label", "rise"])
        for name in range(series):
            sign = 1 if name % 2 else -1
            for step in range(3 + name % 5):
                out.writerow([name, sign * step + 0.1, 5.0, "up" if sign > 0 else "down", sign])


def sentences(path, count=40):
    lines = []
    for place in range(count):
        words = [("the", "O"), ("Ada", "B-PER"), ("Bo", "I-PER")] if place % 2 else [("a", "O")]
        words += [("runs", "O")] * (1 + place % 3)
        for number, (word, tag) in enumerate(words, 1):
            pos = "NOUN" if tag != "O" else "VERB"
            lines.append("\t".join([str(number), word, "_", pos, *"_____", f"ner={tag}"]))
        lines.append("")
    path.write_text("\n".join(lines) + "\n")


def waves(path, steps=160):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["hour", "load", "warm"])
        for step in range(steps):
            out.writerow([step, 10 + np.sin(step * np.pi / 4) + 0.01 * step, step % 2])


WAYS = {
    "texts": (
        "classify", reviews, "reviews.csv",
        ["--text", "text", "--pooling", "max", "--steps", "60", "--embedding", "6"],
    ),
    "series": (
        "classify", motions, "motions.csv",
        ["--series", "series", "--values", "x", "y", "--pooling", "attention", "--steps", "60",
         "--buckets", "1"],
    ),
    "number": (
        "classify", motions, "motions.csv",
        ["--series", "series", "--values", "x", "--target", "number", "--label", "rise",
         "--steps", "60", "--buckets", "1"],
    ),
    "tags": ("tag", sentences, "sentences.conllu", ["--tag", "ner", "--steps", "60",
             "--embedding", "6", "--spelling", "4", "--buckets", "1"]),
    "forecast": (
        "forecast", waves, "waves.csv",
        ["--values", "load", "--covariates", "warm", "--history", "16", "--horizon", "4",
         "--season", "8", "--time", "hour", "--steps", "60", "--weight-decay", "0"],
    ),
}  # fmt: skip


@pytest.fixture(scope="module", params=list(WAYS))
def trained(request, tmp_path_factory):
    """A finished small run beside its data."""
    folder = tmp_path_factory.mktemp(request.param)
    kind, write, name, options = WAYS[request.param]
    write(folder / name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        argv = ["train", kind, "--train", name, "--out", "run", "--validate-every", "30"]
        assert main([*argv, *FAST, *options]) == 0
    return request.param, folder


@pytest.fixture
def run(trained, tmp_path, monkeypatch):
    way, folder = trained
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return way, WAYS[way][2], tmp_path


def fails(capsys, *argv):
    capsys.readouterr()
    assert main(list(argv)) == 2
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    return printed[printed.rindex("error: ") :]


def test_it_learns_evaluates_and_draws(run, capsys):
    way, name, folder = run
    capsys.readouterr()
    assert main(["evaluate", "run", "--input", name, "--pictures"]) == 0
    printed = capsys.readouterr().out
    scores = dict(line.strip().rsplit(None, 1) for line in printed.splitlines() if line[:2] == "  ")
    first = float(next(iter(scores.values())))
    if way == "number":
        assert first < 0.3
    elif way == "forecast":
        assert first < float(scores["seasonal naive"])
    else:
        assert first == 1.0
    if way == "tags":
        assert float(scores["illegal sequences"]) == 0.0
    pictures = {path.stem for path in (folder / "run" / "pictures").glob("*.png")}
    assert (
        pictures
        == {
            "texts": {"confusion"},
            "series": {"confusion", "attention"},
            "number": set(),
            "tags": {"spans"},
            "forecast": {"forecast_load"},
        }[way]
    )


def test_predictions_have_the_format_of_the_input(run, capsys):
    way, name, folder = run
    if way == "forecast":
        # What is known ahead stands in rows whose values are missing.
        with (folder / name).open("a") as file:
            file.write("".join(f"{160 + step},,{step % 2}\n" for step in range(4)))
    if way == "texts":
        with (folder / name).open("a") as file:
            file.write("60,zebra yak,good\n")
    capsys.readouterr()
    probability = ["--probability"] if way == "texts" else []
    assert main(["predict", "run", "--input", name, *probability]) == 0
    stem, suffix = name.split(".")
    predicted = folder / f"{stem}.predicted.{suffix}"
    assert not list(folder.glob("*.part"))
    if way == "tags":
        before, after = (folder / name).read_text(), predicted.read_text()
        assert after == before  # The tags were learned, and nothing else may change.
        return
    rows = list(csv.DictReader(predicted.read_text().splitlines()))
    if way == "texts":
        assert [row["prediction"] for row in rows[:60]] == ["good", "bad"] * 30
        assert (
            "words not in the vocabulary of the training data, as 'yak', 'zebra', are read as"
            in (capsys.readouterr().out)
        )
        assert list(rows[0]) == ["id", "text", "label", "prediction", "probability"]
    elif way == "forecast":
        assert [row["hour"] for row in rows] == ["160", "161", "162", "163"]
        ahead = 160 + np.arange(4)
        truth = 10 + np.sin(ahead * np.pi / 4) + 0.01 * ahead
        assert np.allclose([float(row["load_prediction"]) for row in rows], truth, atol=0.3)
    else:
        assert len(rows) == len((folder / name).read_text().splitlines()) - 1
        assert "prediction" in rows[0]


@pytest.mark.parametrize("trained", ["texts", "tags", "forecast"], indirect=True)
def test_a_run_goes_on_exactly(run, capsys):
    """Stopped in mid-epoch after a checkpoint, it arrives where the whole run did."""
    _, _, folder = run
    whole = Checkpoints(folder / "run" / "checkpoints", read_only=True)
    assert whole.steps == [30, 60]
    wanted = whole.arrays(60)
    shutil.rmtree(folder / "run" / "checkpoints" / "60")
    assert main(["train", "--resume", "run"]) == 0
    got = Checkpoints(folder / "run" / "checkpoints", read_only=True).arrays(60)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_changed_data_is_noticed(run, capsys):
    way, name, folder = run
    text = (folder / name).read_text()
    other = {"texts": ("fine", "nice"), "tags": ("runs", "ran"), "forecast": ("10.7", "11.7")}
    (folder / name).write_text(text.replace(*other.get(way, (".1,", ".2,"))))
    assert "The data has changed" in fails(capsys, "train", "--resume", "run")


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reviews(tmp_path / "reviews.csv")
    return tmp_path


CLASSIFY = ["train", "classify", "--train", "reviews.csv", "--text", "text", *FAST,
            "--embedding", "6", "--steps", "20", "--validate-every", "20",
            "--buckets", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def trained_classifier(tmp_path_factory):
    folder = tmp_path_factory.mktemp("classifier")
    reviews(folder / "reviews.csv")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main([*CLASSIFY, "--out", "run"]) == 0
    return folder / "run"


@pytest.fixture
def classifier(trained_classifier, here):
    """A finished run of `CLASSIFY` beside its data."""
    shutil.copytree(trained_classifier, here / "run")


def test_early_stopping(here, capsys):
    argv = [*CLASSIFY, "--steps", "2000", "--validate-every", "5", "--patience", "2"]
    assert main([*argv, "--learning-rate", "0.1"]) == 0
    printed = capsys.readouterr().out
    assert "--patience 2" in printed
    (run,) = (here / "runs").iterdir()
    checkpoints = Checkpoints(run / "checkpoints", read_only=True)
    last = checkpoints.steps[-1]
    assert last < 2000
    # Nothing is left to do for it.
    assert main(["train", "--resume", str(run)]) == 0
    assert Checkpoints(run / "checkpoints", read_only=True).steps[-1] == last


def test_columns_are_those_of_the_training_data(here):
    """A column of numbers that was not there in training changes nothing."""
    rows = [f"{sign * step},{step},{label}\n" for step in range(30)
            for sign, label in ((1, "up"), (-1, "down"))]  # fmt: skip
    write(here, "old.csv", "a,b,label\n" + "".join(rows))
    write(here, "new.csv", "id,b,a\n7,5,5\n8,6,-6\n")
    assert main(["train", "classify", "--train", "old.csv", *FAST, "--steps", "100",
                 "--validate-every", "100", "--out", "run"]) == 0  # fmt: skip
    assert main(["predict", "run", "--input", "new.csv"]) == 0
    predicted = (here / "new.predicted.csv").read_text().splitlines()
    assert predicted == ["id,b,a,prediction", "7,5,5,up", "8,6,-6,down"]


def test_tags_that_the_scheme_forbids(here, capsys):
    """They have no probability under the CRF, so they cannot be learned; the softmax does."""
    good = json.dumps({"tokens": ["New", "York", "is"], "tags": ["B-LOC", "I-LOC", "O"]})
    bad = json.dumps({"tokens": ["York", "is"], "tags": ["I-LOC", "O"]})
    (here / "some.jsonl").write_text("\n".join([good] * 12 + [bad] * 2) + "\n")
    (here / "none.jsonl").write_text("\n".join([bad] * 12) + "\n")
    argv = ["train", "tag", "--train", "some.jsonl", "--tokens", "tokens", "--tag", "tags", *FAST,
            "--held-out", "0.3", "--steps", "10", "--validate-every", "10", "--buckets", "1",
            "--embedding", "6", "--spelling", "4"]  # fmt: skip
    assert main(argv) == 0
    assert "training sequences have tags that BIO forbids" in capsys.readouterr().out
    argv[3] = "none.jsonl"
    argv += ["--scheme", "BIO"]
    assert "--no-crf learns any tags" in fails(capsys, *argv)
    assert main([*argv, "--no-crf"]) == 0


def test_covariates_need_values(here, capsys):
    write(here, "series.csv", "load,heat\n" + "1,2\n" * 300)
    argv = ["train", "forecast", "--train", "series.csv", "--covariates", "heat"]
    assert "--covariates go with --values" in fails(capsys, *argv)


def test_several_seeds(here, capsys):
    shutil.copy("reviews.csv", "test.csv")
    assert main([*CLASSIFY, "--test", "test.csv", "--repeat", "2", "--out", "two"]) == 0
    assert "2 seeds, mean and standard deviation" in capsys.readouterr().out
    found = json.loads((here / "two" / "results.json").read_text())
    assert len(found) == 2 and all("accuracy" in scores for scores in found)
    first, second = (
        Checkpoints(here / "two" / f"seed-{seed}" / "checkpoints", read_only=True).arrays(20)
        for seed in range(2)
    )
    assert not any(np.array_equal(first[n], second[n]) for n in first if n.endswith("kernel/value"))
    # What a run is tested on is part of its data.
    reviews(here / "test.csv", rows=58)
    assert "The data has changed" in fails(capsys, "train", "--resume", "two/seed-0")


def test_the_same_on_any_number_of_devices(here):
    for devices in ("1", "2"):
        assert main([*CLASSIFY, "--devices", devices, "--out", devices]) == 0
    one, two = (
        Checkpoints(here / devices / "checkpoints", read_only=True).arrays(20)
        for devices in ("1", "2")
    )
    for name, array in one.items():
        np.testing.assert_allclose(two[name], array, rtol=1e-3, atol=1e-4, err_msg=name)


def test_several_labels(here, capsys):
    rows = [
        {"text": "red", "label": ["warm"]},
        {"text": "blue", "label": ["cold"]},
        {"text": "red blue", "label": ["warm", "cold"]},
    ]
    lines = [json.dumps(row) for row in rows * 20]
    (here / "colours.jsonl").write_text("\n".join(lines) + "\n")
    argv = [*CLASSIFY, "--target", "labels", "--steps", "60", "--out", "run"]
    argv[3] = "colours.jsonl"
    assert main(argv) == 0
    assert main(["predict", "run", "--input", "colours.jsonl"]) == 0
    predicted = [
        json.loads(line) for line in (here / "colours.predicted.jsonl").read_text().splitlines()
    ]
    assert {row["prediction"] for row in predicted[2::3]} == {"cold|warm"}


def test_cut_sequences_are_reported(here, capsys):
    assert main([*CLASSIFY, "--max-length", "2", "--truncate-side", "tail"]) == 0
    assert "were cut to 2 steps" in capsys.readouterr().out


def test_compressed_files_and_skipped_rows(here, capsys):
    text = (here / "reviews.csv").read_text() + "61,too,many,columns\n"
    with gzip.open(here / "reviews.csv.gz", "wt") as file:
        file.write(text)
    argv = [*CLASSIFY, "--out", "run"]
    argv[3] = "reviews.csv.gz"
    assert "reviews.csv.gz, line 62" in fails(capsys, *argv)
    assert main([*argv, "--skip-malformed"]) == 0
    assert "1 malformed row" in capsys.readouterr().out


def write(folder, name, text):
    (folder / name).write_text(text)
    return name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("text,label\nfine,good\nnice,good\n" * 1, "one class only, 'good'"),
        ("text,label\n", "only a header"),
        ("words,label\nfine,good\n", "'text'"),
        ("text,label\nfine,good\n", "too few to hold some out"),
    ],
)
def test_training_data_that_cannot_be_used(here, capsys, text, message):
    argv = [*CLASSIFY, "--out", "run"]
    argv[3] = write(here, "bad.csv", text)
    assert message in fails(capsys, *argv)
    assert not (here / "run").exists()


def test_mistakes_with_a_trained_classifier(here, classifier, capsys):
    write(here, "other.csv", "text,label\nfine,superb\npoor,awful\n")
    assert "'superb', 'awful' not in the training data, and every example" in fails(
        capsys, "evaluate", "run", "--input", "other.csv"
    )
    assert "no test data" in fails(capsys, "evaluate", "run")
    assert "--beams is for runs of translate, caption or transcribe" in fails(
        capsys, "evaluate", "run", "--input", "other.csv", "--beams", "2"
    )
    assert "--targets goes with --input" in fails(
        capsys, "evaluate", "run", "--targets", "other.csv"
    )
    assert "names 1 files and there are 2 of targets" in fails(
        capsys, "evaluate", "run", "--input", "other.csv", "--targets", "other.csv", "other.csv"
    )
    write(here, "empty.csv", "text,label\n")
    message = fails(capsys, "predict", "run", "--input", "empty.csv")
    assert "only a header" in message
    write(here, "bad.csv", "text,label\nfine,good\nfine,good,better\n")
    assert "bad.csv, line 3" in fails(capsys, "predict", "run", "--input", "bad.csv")
    assert not list(here.glob("*.predicted.*")) and not list(here.glob("*.part"))
    assert "--output must not be" in fails(
        capsys, "predict", "run", "--input", "reviews.csv", "--output", "reviews.csv"
    )
    assert "`seqjax generate` is for runs of lm" in fails(capsys, "generate", "run")
    assert main(["predict", "run", "--input", "bad.csv", "--skip-malformed"]) == 0


FORECAST = ["train", "forecast", "--train", "waves.csv", "--values", "load", "--horizon", "5",
            "--season", "8", *FAST, "--steps", "20", "--validate-every", "20"]  # fmt: skip


def test_a_forecast_is_what_the_model_says_after_the_last_step(here):
    """With a history that is no power of two: nothing is put in between."""
    from seqjax.train.run_folder import load_model, load_run
    from seqjax.train.tasks import CONFIGS
    from seqjax.train.tasks.forecast import Forecasting

    waves(here / "waves.csv")
    assert main([*FORECAST, "--history", "20", "--out", "run"]) == 0
    assert main(["predict", "run", "--input", "waves.csv"]) == 0
    rows = list(csv.DictReader((here / "waves.predicted.csv").read_text().splitlines()))
    run = load_run(here / "run", CONFIGS)
    task = Forecasting.restore(run.config, run.preprocessing["problem"])
    model, _ = load_model(run, lambda: task.model(0))
    table = list(csv.DictReader((here / "waves.csv").read_text().splitlines()))
    history = np.array([[float(row["load"])] for row in table[-20:]], np.float32)
    wanted = model.quantiles(history[None], None, (0.5,))[0, :, 0, 0]
    found = [float(row["load_prediction"]) for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)


def test_covariates_of_any_size(here, capsys):
    """A price in millions is as good a covariate as one in units."""
    waves(here / "waves.csv")
    rows = [row.split(",") for row in (here / "waves.csv").read_text().splitlines()]
    large = [[*row[:2], str(5e6 + 1e6 * float(row[2]))] for row in rows[1:]]
    write(here, "large.csv", "\n".join(",".join(row) for row in [rows[0], *large]) + "\n")
    scores = []
    for name in ("waves.csv", "large.csv"):
        argv = [*FORECAST, "--covariates", "warm", "--history", "16", "--out", name[0]]
        argv[3] = name
        assert main(argv) == 0
        capsys.readouterr()
        assert main(["evaluate", name[0]]) == 0
        scores.append(capsys.readouterr().out.split("mean absolute scaled error")[1].split()[0])
    assert abs(float(scores[0]) - float(scores[1])) < 0.01


def test_series_of_their_own_to_validate_on(here, capsys):
    waves(here / "waves.csv")
    lines = (here / "waves.csv").read_text().splitlines()
    write(here, "later.csv", "\n".join([lines[0], *lines[-60:]]) + "\n")
    argv = [*FORECAST, "--history", "16", "--time", "hour", "--validation", "later.csv"]
    assert main([*argv, "--out", "run"]) == 0
    # Behind 16 steps there is room for 40 windows of 5.
    assert " 40 validation" in capsys.readouterr().out
    assert main(["evaluate", "run", "--input", "later.csv"]) == 0
    assert "40 examples of later.csv" in capsys.readouterr().out
    write(here, "short.csv", "\n".join([lines[0], *lines[-18:]]) + "\n")
    assert "at least 16 + 5" in fails(capsys, "evaluate", "run", "--input", "short.csv")
    write(here, "empty.csv", "hour,load\n" + "".join(f"{i},\n" for i in range(30)))
    assert "no value is known" in fails(capsys, "predict", "run", "--input", "empty.csv")


def test_kinds_of_targets(here, capsys):
    rows = [json.dumps({"text": f"fine {i}", "label": ["good"]}) for i in range(20)]
    write(here, "lists.jsonl", "\n".join(rows) + "\n")
    argv = list(CLASSIFY)
    argv[3] = "lists.jsonl"
    assert "(--target labels would fit)" in fails(capsys, *argv)


def test_labels_that_were_not_learned_count_as_wrong(here, classifier, capsys):
    text = (here / "reviews.csv").read_text()
    write(here, "more.csv", text + "61,fine,superb\n" * 20)
    argv = ["evaluate", "run", "--input", "reviews.csv"]
    assert main(argv) == 0
    before = float(capsys.readouterr().out.split("accuracy")[1].split()[0])
    argv[-1] = "more.csv"
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert printed.count("superb") == 1
    assert "input: 'superb' not in the training data: 20 of 80 examples" in printed
    after = float(printed.split("accuracy")[1].split()[0])
    assert after == pytest.approx(before * 60 / 80, abs=1e-3)


def test_a_word_that_only_the_held_out_part_has_is_unknown(here):
    """The vocabulary is that of the training part."""
    from seqjax.train.classify_options import ClassifyConfig, ClassifyFields
    from seqjax.train.example_files import FilesConfig
    from seqjax.train.tasks import TASKS

    rows = "".join(f"word{i},{'good' if i % 2 else 'bad'}\n" for i in range(40))
    config = ClassifyConfig(
        files=FilesConfig(train=(here / write(here, "once.csv", "text,label\n" + rows),)),
        columns=ClassifyFields(text="text"),
    )
    task: Any = TASKS["classify"].prepare(config, print)
    known = [int(example["inputs"][0]) for example in task.split.train]
    held = [int(example["inputs"][0]) for example in task.split.validation]
    assert len(held) == 4 and set(held) == {1} and 1 not in known


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["train", "summarise"], "nothing to train called 'summarise'"),
        ([*CLASSIFY, "--repeat", "2"], "name files with --test"),
        (["train", "forecast", "--levels", "0.9", "0.1"], "rising numbers between 0 and 1"),
        (["train", "forecast", "--history", "12"], "shorter than a season of 24 steps"),
        (
            ["train", "forecast", "--train", "flat.csv", "--horizon", "2"],
            "no naive forecast to compare with",
        ),
        (["train"], "Say what to train"),
        (["train", "classify", "--test", "reviews.csv"], "go with --train"),
        ([*CLASSIFY, "--buckets", "0"], "--buckets must be above 0"),
        ([*CLASSIFY, "--held-out", "1"], "--held-out must be between"),
        (["train", "forecast", "--train", "reviews.csv"], "too few to learn a horizon of 24"),
    ],
)
def test_mistakes_before_training(here, capsys, argv, message):
    write(here, "flat.csv", "load\n" + "1\n" * 100)
    assert message in fails(capsys, *argv)


def test_one_program_is_compiled_for_each_length(here, monkeypatch):
    """However many epochs there are: of the training step, and of the model that is scored."""
    import chex

    from seqjax.train.tasks.classify import Classification

    for name in ("loss", "outputs"):
        bounded = chex.assert_max_traces(getattr(Classification, name), n=2)
        monkeypatch.setattr(Classification, name, bounded)
    argv = [*CLASSIFY, "--buckets", "2", "--steps", "30", "--out", "run"]
    assert main(argv) == 0
    with pytest.raises(AssertionError, match="traced > 2 times"):
        main([*argv[:-1], "again"])
