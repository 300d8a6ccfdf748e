"""The columns of forecasts: levels, covariates of every kind, differences, naive forecasts."""

import csv
import dataclasses
import json

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.data.examples import Malformed
from seqjax.data.formats import find_format
from seqjax.data.padding import pad
from seqjax.train.example_files import FilesConfig
from seqjax.train.forecast_options import ForecastConfig, ForecasterConfig, ForecastFields
from seqjax.train.tasks import TASKS
from seqjax.train.tasks.forecast import Forecasting

WEEK = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def sales(path, level=0.0, size=1.0, steps=120):
    """A week of sales, a holiday, and rain, which nobody knows before."""
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["", "day", "sold", "holiday", "rain"])
        for step in range(steps):
            sold = level + size * (np.sin(step) + (step % 7 == 6))
            rain = "NA" if step % 10 == 3 else step % 5
            out.writerow([step, WEEK[step % 7], repr(float(sold)), step % 11 == 0, rain])
    return path


def prepared(path, *, log=lambda line: None, **columns):
    options = {"values": ("sold",), "horizon": 4, "history": 8} | columns
    config = ForecastConfig(
        files=FilesConfig(train=(path,), held_out=0.15),
        columns=ForecastFields(**options),
        model=ForecasterConfig(features=2),
    )
    return TASKS["forecast"].prepare(config, log)


@pytest.mark.parametrize(("level", "size"), [(1e7, 100), (1e6, 10)])
def test_what_is_learned_from_does_not_depend_on_the_level(tmp_path, level, size):
    low = prepared(sales(tmp_path / "low.csv")).split
    high = prepared(sales(tmp_path / "high.csv", level, size)).split
    for part in ("train", "validation", "test"):
        for one, other in zip(getattr(low, part), getattr(high, part), strict=True):
            for name in ("history", "future", "naive_error"):
                np.testing.assert_allclose(one[name], other[name], rtol=1e-4, atol=1e-5)


def test_covariates_are_encoded_and_known_as_far_as_they_are(tmp_path):
    said = []
    task = prepared(
        sales(tmp_path / "a.csv"),
        covariates=("holiday", "day"),
        past_covariates=("rain",),
        log=said.append,
    )
    said = "\n".join(said)
    assert "'holiday' is encoded as true 1 and false 0" in said
    assert "'day' is encoded as 'Fri', 'Mon'" in said
    window = task.split.train[5]
    # A flag and seven days for history and horizon; rain and where it is missing for the history.
    assert window["covariates"].shape == (12, 8) and window["past"].shape == (8, 2)
    days = np.argmax(window["covariates"][:, 1:], axis=1)
    np.testing.assert_array_equal(days[:5], days[7:])
    assert len(set(days)) == 7
    assert set(np.unique(window["past"][:, 1])) == {0.0, 1.0}
    batch = pad([task.split.train[0]], sequences=())
    fitted = task.task
    found = fitted.outputs(fitted.model(0), batch)
    assert found["prediction"].shape == (1, 4, 1)
    again = Forecasting.restore(fitted.config, fitted.preprocessing())
    assert again == fitted


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.npy"])
def test_a_series_in_every_row(name, tmp_path):
    values = np.sin(np.arange(90.0)).reshape(3, 30)
    path, target = tmp_path / name, tmp_path / "out"
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.csv":
        rows = ("page," + ",".join(f"V{i}" for i in range(30)), *(
            f"p{i}," + ",".join(map(str, row)) for i, row in enumerate(values)))  # fmt: skip
        path.write_text("\n".join(rows))
    else:
        rows = ({"start": "2020", "y": row, "item": "p"} for row in values.tolist())
        path.write_text("\n".join(map(json.dumps, rows)))
    found = prepared(path, values=(), series_in_rows=name != "a.jsonl")
    task = found.task
    assert task.names == (("y",) if name == "a.jsonl" else ("value",))
    assert len(found.split.train) % 3 == 0
    fields = dataclasses.replace(task.config.columns.fields, require_target=False)
    format = find_format(path, fields)
    fields = format.describe(path, fields).fields
    examples = list(format.read(path, fields, Malformed(False)))
    output = {"prediction": np.ones((4, 1)), "quantiles": np.ones((4, 1, 3))}
    with format.writer(target, path, fields) as writer:
        for example in examples:
            task.write(writer, example, task.prediction(output, task.encode_input(example)))
    lines = target.read_text().splitlines()
    if name == "a.csv":
        assert lines[0].endswith(",value_q0.9_1,value_q0.9_2,value_q0.9_3,value_q0.9_4")
        assert len(lines) == 4 and lines[1].startswith("p0,0.0,")
    else:
        written = json.loads(lines[2])
        assert len(written["value_prediction" if name == "a.npy" else "y_prediction"]) == 4


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--values", "day"], "--values: the column 'day' holds words"),
        (["--values", "sold", "--past-covariates", "rain", "--strategy", "recursive"],
         "--past-covariates go with --strategy direct"),
        (["--past-covariates", "rain"], "--covariates go with --values"),
        (["--values", "sold", "--covariates", "text"], "more than 100 different words"),
    ],
)  # fmt: skip
def test_columns_that_cannot_be_used(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    rows = sales(tmp_path / "a.csv").read_text().splitlines()
    rows = [rows[0] + ",text", *(f"{row},word {i}" for i, row in enumerate(rows[1:]))]
    (tmp_path / "a.csv").write_text("\n".join(rows) + "\n")
    assert main(["train", "forecast", "--train", "a.csv", "--horizon", "4", *argv]) == 2
    assert message in capsys.readouterr().err


def test_predictions_with_every_kind_of_covariate(tmp_path, monkeypatch, capsys):
    """Of days and holidays the next ones are given, of rain they are not."""
    monkeypatch.chdir(tmp_path)
    path = sales(tmp_path / "a.csv", level=1e7, size=100.0)
    argv = ["train", "forecast", "--train", "a.csv", "--values", "sold", "--covariates", "day",
            "holiday", "--past-covariates", "rain", "--horizon", "4", "--history", "8",
            "--features", "2", "--steps", "2", "--batch", "4", "--devices", "1", "--difference",
            "--out", "run"]  # fmt: skip
    assert main(argv) == 0
    printed = capsys.readouterr().out
    assert "The naive forecast, the last value, is better" in printed
    assert "--difference" not in printed.split("is better")[1].splitlines()[0]
    with path.open("a") as file:
        file.writelines(f"{120 + i},{WEEK[(120 + i) % 7]},,False,\n" for i in range(4))
    assert main(["predict", "run", "--input", "a.csv"]) == 0
    rows = list(csv.DictReader((tmp_path / "a.predicted.csv").read_text().splitlines()))
    assert len(rows) == 4
    # Their digits are those of the series.
    assert len({row["sold_q0.9"] for row in rows}) > 1
    assert all(abs(float(row["sold_prediction"]) - 1e7) < 2000 for row in rows)
