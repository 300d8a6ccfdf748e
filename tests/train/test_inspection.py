"""`seqjax inspect` and `--diagnose`, on runs of a few steps."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.cli import main
from seqjax.train.diagnosis import read_flows

SMALL = [
    "train",
    "synthetic",
    "--task",
    "parity",
    "--length",
    "12",
    "--features",
    "8",
    "--batch",
    "8",
    "--steps",
    "20",
    "--validate-every",
    "20",
    "--log-every",
    "5",
    "--devices",
    "1",
]


def train(folder, *options):
    assert main([*SMALL, "--out", str(folder), *options]) == 0


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "lstm"
    train(folder, "--cell", "lstm", "--diagnose", "5", "--clip", "0.01")
    return folder


def test_training_logs_what_gradients_and_gates_do(run):
    flows = read_flows(run)
    (name,) = flows
    steps, norms = flows[name]
    assert name == "1 lstm(8)" and steps == [5, 10, 15, 20] and norms.shape == (4, 12)
    assert np.isfinite(norms).all() and (norms[:, 1:] > 0).all()
    logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    found = [entry for entry in logged if f"gradient/{name}/last_step" in entry]
    assert [entry["step"] for entry in found] == steps
    for gate in ("input", "forget", "output"):
        assert 0 <= found[0][f"gates/{name}/{gate}/stuck"] <= 1
    np.testing.assert_allclose(
        [entry[f"gradient/{name}/last_step"] for entry in found], norms[:, -1], rtol=1e-6
    )


def test_looking_changes_nothing(run, tmp_path):
    from seqjax.train.checkpoints import Checkpoints

    train(tmp_path / "other", "--cell", "lstm", "--clip", "0.01")
    logs = [(folder / "log.jsonl").read_text() for folder in (run, tmp_path / "other")]
    losses = [
        [json.loads(line)["train_loss"] for line in log.splitlines() if "train_loss" in line]
        for log in logs
    ]
    assert losses[0] == losses[1]
    assert Checkpoints(run / "checkpoints", read_only=True).steps == [20]


def test_inspect_says_it_in_words_and_draws_it(run, capsys):
    assert main(["inspect", str(run)]) == 0
    said = capsys.readouterr().out
    assert "layer 1 lstm(8)" in said
    assert "Lyapunov exponent" in said and "memory of" in said
    assert "truncation:" in said
    assert "clipping: 100% of the steps at --clip 0.01" in said and "--clip sets the pace" in said
    pictures = {path.name for path in (run / "pictures").iterdir()}
    assert {"gradient_flow.png", "gates.png", "influence.png", "truncation.png"} <= pictures
    assert "gradient_map_1_lstm_8_.png" in pictures


def test_inspect_names_where_a_number_breaks(run, monkeypatch, capsys):
    import seqjax.train.inspection as inspection

    def broken(run, build, checkpoint):
        return jax.tree.map(lambda leaf: leaf * jnp.inf, build()), 20

    monkeypatch.setattr(inspection, "load_model", broken)
    assert main(["inspect", str(run), "--no-pictures"]) == 0
    said = capsys.readouterr().out
    assert "a number breaks: NaN or inf first at step 0" in said


def test_inspect_needs_a_run(tmp_path, capsys):
    assert main(["inspect", str(tmp_path)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err


def test_diagnose_must_make_sense(tmp_path, capsys):
    assert main(["train", "synthetic", "--diagnose", "-1", "--out", str(tmp_path / "run")]) == 2
    assert "--diagnose must be 0 or more" in capsys.readouterr().err


def test_lines_that_were_cut_short_are_left_out(tmp_path):
    (tmp_path / "gradients.jsonl").write_text(
        '{"step": 5, "carry": {"a": [1.0, 2.0]}}\n{"step": 10, "carry": {"a": [3.0]}}\n'
        '{"step": 10, "carry": {"a": [4.0]}}\n{"step": 15, "ca'
    )
    steps, norms = read_flows(tmp_path)["a"]
    assert steps == [5, 10]
    np.testing.assert_array_equal(norms, [[1, 2], [4, np.nan]])
