"""Two processes with a device each do what one process does."""

import csv
import json

import numpy as np
import pytest

from seqjax.cli import main
from seqjax.train.checkpoints import Checkpoints
from tests.train.process_pool import start

TEXT = "the quick brown fox jumps over the lazy dog. " * 40


def reading(text):
    return ["train", "lm", "--text", text, "--features", "8", "--embedding", "4", "--batch", "4",
            "--time", "8", "--steps", "6", "--validate-every", "6", "--log-every", "1",
            "--sample", "8", "--diagnose", "6", "--devices", "2", "--cell", "elman"]  # fmt: skip


LM = reading("text.txt")
CLASSIFY = ["train", "classify", "--train", "reviews.csv", "--text", "text", "--features", "4",
            "--embedding", "4", "--batch", "6", "--steps", "6", "--validate-every", "6",
            "--log-every", "1", "--buckets", "1", "--devices", "2", "--cell", "elman"]  # fmt: skip


def reviews(path):
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["text", "label"])
        for row in range(43):
            out.writerow(
                [" ".join(["well"] * (row % 3) + ["fine" if row % 2 else "poor"]), row % 2]
            )


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """Commands that two processes have run, and the folders of the processes and of the runs."""
    top = tmp_path_factory.mktemp("processes")
    folders = [top / "0", top / "1"]
    for folder in folders:
        folder.mkdir()
        (folder / "text.txt").write_text(TEXT)
        (folder / "other.txt").write_text(folder.name + TEXT)
        reviews(folder / "reviews.csv")
    (folders[0] / "missing.txt").write_text(TEXT)
    commands = {
        "lm": [*LM, "--out", str(top / "lm")],
        "other": [*reading("other.txt"), "--out", str(top / "other")],
        "options": [*LM, "--seed", "{process}", "--out", str(top / "options")],
        "missing": [*reading("missing.txt"), "--out", str(top / "missing")],
        "classify": [*CLASSIFY, "--out", str(top / "classify")],
        "evaluate": ["evaluate", str(top / "classify"), "--input", "reviews.csv"],
        "predict": ["predict", str(top / "classify"), "--input", "reviews.csv", "--output",
                    str(top / "predicted.csv")],
    }  # fmt: skip
    processes = start(list(commands.values()), folders)
    try:
        for process in processes:
            process.wait(timeout=600)
    finally:
        for process in processes:
            process.kill()
    found = {}
    for name, number in zip(commands, range(len(commands)), strict=True):
        found[name] = [
            (
                json.loads((folder / "status.json").read_text())[number],
                *(_part(folder / file, number) for file in ("out.txt", "err.txt")),
            )
            for folder in folders
        ]
    return top, found


def _part(path, number):
    _, *after = path.read_text().split(f"command {number}\n")
    return after[0].split("command ")[0] if after else ""


@pytest.mark.parametrize(("task", "command"), [("lm", LM), ("classify", CLASSIFY)])
def test_a_run_is_that_of_one_process(both, tmp_path, monkeypatch, task, command):
    top, found = both
    assert [status for status, *_ in found[task]] == [0, 0]
    assert found[task][1][1] == ""
    monkeypatch.chdir(top / "0")
    assert main([*command, "--out", str(tmp_path)]) == 0
    runs = []
    for folder in (top / task, tmp_path):
        lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
        numbers = [
            (line["step"], name, value)
            for line in lines
            for name, value in line.items()
            if not name.endswith("_per_second") and not isinstance(value, str)
        ]
        runs.append((numbers, Checkpoints(folder / "checkpoints", read_only=True).arrays(6)))
    (many, many_arrays), (one, one_arrays) = runs
    assert [entry[:2] for entry in many] == [entry[:2] for entry in one]
    np.testing.assert_allclose(*[[entry[2] for entry in run] for run in (many, one)], rtol=1e-5)
    for name, array in one_arrays.items():
        np.testing.assert_allclose(many_arrays[name], array, rtol=1e-5, atol=1e-6, err_msg=name)


def test_evaluation_and_prediction_are_those_of_one_process(both, tmp_path, monkeypatch, capsys):
    top, found = both
    assert [status for status, *_ in found["evaluate"] + found["predict"]] == [0] * 4
    monkeypatch.chdir(top / "0")
    assert main(["evaluate", str(top / "classify"), "--input", "reviews.csv"]) == 0
    scores = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    (_, printed, _), (_, silent, _) = found["evaluate"]
    assert [line for line in printed.splitlines() if line.startswith("  ")] == scores
    assert silent == ""
    output = ["--output", str(tmp_path / "predicted.csv")]
    assert main(["predict", str(top / "classify"), "--input", "reviews.csv", *output]) == 0
    assert (top / "predicted.csv").read_text() == (tmp_path / "predicted.csv").read_text()


@pytest.mark.parametrize(
    ("name", "messages"),
    [
        ("other", ["In process 1: the digest of other.txt is ", "the digest of other.txt is "]),
        ("missing", ["In process 1: ", "missing.txt"]),
        ("options", ["In process 1: --seed is 1, and 0 in process 0.", "--seed is 1, and 0"]),
    ],
)
def test_what_differs_is_found_at_the_start(both, name, messages):
    top, found = both
    for (status, _, error), message in zip(found[name], messages, strict=True):
        assert status == 2
        assert message in error and "Traceback" not in error
    assert not (top / name).exists()
