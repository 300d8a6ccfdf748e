"""What is measured of models that are given away, or that others have too."""

import sys
import types
from pathlib import Path

import pytest
from safetensors.numpy import load_file

import seqjax as sj
from seqjax.bench import exported_steps, other_writers, text_generation
from seqjax.bench.exported_steps import Steps
from seqjax.bench.loading import Loading, loading
from seqjax.bench.text_generation import Subject, Writers
from seqjax.cli import main
from tests.golden.make_published import FOLDER


def test_ratios_are_of_rounds_that_took_turns():
    """A slow round, in which both were disturbed, counts no more than another."""
    steps = Steps("gru", 8, onnx=(1.0, 2.0, 40.0), jitted=(3.0, 6.0, 120.0))
    assert steps.ratio == 3
    assert Writers("mamba", "other 1", 100, ours=(8.0, 1.0), theirs=(2.0, 0.25)).ratio == 4


def test_a_step_by_onnxruntime(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(exported_steps, "STEPS", 2)
    found = exported_steps.exported_steps("elman", sj.elman(4), 4)
    assert len(found.onnx) == len(found.jitted) == exported_steps.ROUNDS
    assert min(*found.onnx, *found.jitted) > 0


def test_without_what_is_compared(monkeypatch, capsys, tmp_path):
    for name in ("transformers", "rwkv.model"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(text_generation, "_write_weights", lambda subject, folder: tmp_path)
    assert main(["bench", "--text", "4"]) == 2
    assert "pip install transformers torch" in capsys.readouterr().err
    with pytest.raises(ImportError, match="pip install rwkv torch"):
        other_writers.of_rwkv(tmp_path / "model.pth")
    assert main(["bench", "--exported"]) == 2
    assert "--exported goes with --cells" in capsys.readouterr().err


def test_both_read_one_file_and_take_turns(monkeypatch, capsys):
    """Beside a stand-in that finds the weights under the names of the released file."""
    seen = []

    def theirs(path):
        names = load_file(path / "model.safetensors").keys()
        return "other 1", lambda prompt, length: seen.append((len(prompt), *names)) or length

    small = {"model_type": "mamba", "hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 50}
    monkeypatch.setattr(text_generation, "SUBJECTS", {"small": Subject(small, theirs)})
    monkeypatch.setattr(text_generation, "loading", lambda path: Loading(100, 1.25, 240))
    assert main(["bench", "--text", "3"]) == 0
    assert len(seen) == 1 + text_generation.ROUNDS and "backbone.embeddings.weight" in seen[0]
    line = capsys.readouterr().out.splitlines()[-1]
    assert "small" in line and "1.2 s" in line and "2.40x" in line and "other 1" in line


def test_a_load_is_timed(monkeypatch, capsys):
    """Here in this process, as another one takes seconds to begin."""

    def run(command, **options):
        monkeypatch.setattr(sys, "argv", ["-c", *command[3:]])
        exec(command[2], {})
        return types.SimpleNamespace(stdout=capsys.readouterr().out)

    monkeypatch.setattr("seqjax.bench.loading.subprocess.run", run)
    found = loading(FOLDER / "rwkv7_pth")
    if Path("/proc/self/status").exists():
        size = (FOLDER / "rwkv7_pth" / "model.safetensors").stat().st_size
        assert found.file_bytes == size and 0 < found.seconds < 100
        assert found.times_file == found.peak_bytes / size
    else:
        assert found is None
