"""Runs that version 1 saved are evaluated, predict and go on as they would have then.

`saved_runs/` has one run of every task, made by the last seqjax of version 1 with two features:
its files, its checkpoint after two steps of four, the scores of that checkpoint and the model at
the end.
"""

import json
from pathlib import Path

import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from seqjax.cli import main
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.commands import EvaluateConfig
from seqjax.train.migrations import match_arrays
from seqjax.train.run_folder import load_run
from seqjax.train.saved_arrays import digest_of_all
from seqjax.train.tasks import CONFIGS, TASKS
from tests.rows import thorough_but

SAVED = Path(__file__).parent / "saved_runs"


def unpack(arrays):
    return {
        name: np.array(array["values"], array["dtype"]).reshape(array["shape"])
        for name, array in arrays.items()
    }


@pytest.fixture(params=thorough_but(("lm", "tag"), TASKS))
def saved(request, tmp_path, monkeypatch):
    """A run as it lay on the disk, beside its data."""
    monkeypatch.chdir(tmp_path)
    saved = json.loads((SAVED / f"{request.param}.json").read_text())
    for name, text in saved["files"].items():
        Path(name).write_text(text)
    Path("run").mkdir()
    for name in ("config", "settings", "data"):
        Path("run", f"{name}.json").write_text(json.dumps(saved[name]))
    arrays = unpack(saved["checkpoint"])
    # Checkpoints of version 1 have no version.
    beside = {"sha256": digest_of_all(arrays), "notes": saved["notes"]}
    with ocp.training.Checkpointer(str(tmp_path / "run/checkpoints")) as writer:
        writer.save(2, arrays, metrics={"cost": 0.0}, custom_metadata=beside)
    return request.param, saved


def test_a_run_of_version_1(saved, capsys):
    kind, saved = saved
    files = tuple(map(Path, saved["files"]))
    given = {} if kind == "forecast" else {"text" if kind == "lm" else "input": files}
    asked = EvaluateConfig(Path("run"), **given, checkpoint="2")
    run = load_run(Path("run"), CONFIGS)
    assert run.kind == kind
    scores = TASKS[kind].evaluate(run, asked, print).scores
    wanted = {name.replace("guessing", "chance"): s for name, s in saved["scores"].items()}
    assert scores == pytest.approx(wanted, rel=1e-4)
    if kind == "forecast":
        files[0].write_text(files[0].read_text() + ",0\n,1\n")
        assert main(["predict", "run", "--input", str(files[0])]) == 0
    files[0].write_text(saved["files"][files[0].name]) if files else None
    if kind == "forecast":
        # Its digest covers naive errors, which are rounded as the flags of XLA have it.
        digest = TASKS[kind].prepare(run.config, print).digest
        Path("run/data.json").write_text(json.dumps(saved["data"] | {"sha256": digest}))
    assert main(["train", "--resume", "run"]) == 0
    got = Checkpoints(Path("run/checkpoints"), read_only=True).arrays(4)
    end = unpack(saved["end"])
    got = {name: array for name, array in got.items() if name.startswith("model/")}
    shapes = [{name: (a.shape, a.dtype) for name, a in arrays.items()} for arrays in (end, got)]
    names = match_arrays(*shapes)
    assert names is not None and set(names) == set(got)
    for name, array in got.items():
        np.testing.assert_allclose(array, end[names[name]], rtol=1e-3, atol=1e-5, err_msg=name)


def test_layers_are_matched_in_order():
    """Of layers with equal shapes, too; and layers that are not there are no match."""
    same = ((2,), "float32")
    old = ["1/0/0/gain", "1/0/1/0/bias", "1/0/1/2/bias", "1/1/0/gain", "1/1/1/down", "0/bias"]
    new = [
        "block_1/time/norm/gain", "block_1/time/cell/convolve/bias",
        "block_1/time/cell/output/bias", "block_1/channel/norm/gain",
        "block_1/channel/cell/down", "dense_0/bias",
    ]  # fmt: skip
    found = match_arrays(dict.fromkeys(old, same), dict.fromkeys(new, same))
    assert found == dict(zip(new, old, strict=True))
    assert match_arrays(dict.fromkeys(old[:-1], same), dict.fromkeys(new, same)) is None
