"""What is measured of models that are given away, or that others have too."""

import sys

import pytest

import seqjax as sj
from seqjax.bench import exported_steps, text_generation
from seqjax.bench.exported_steps import Steps
from seqjax.bench.text_generation import Writers
from seqjax.cli import main


def test_ratios_are_of_rounds_that_took_turns():
    """A slow round, in which both were disturbed, counts no more than another."""
    steps = Steps("gru", 8, onnx=(1.0, 2.0, 40.0), jitted=(3.0, 6.0, 120.0))
    assert steps.ratio == 3
    assert Writers("mamba", 100, ours=(8.0, 1.0), theirs=(2.0, 0.25)).ratio == 4


def test_a_step_by_onnxruntime(monkeypatch):
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(exported_steps, "STEPS", 2)
    found = exported_steps.exported_steps("elman", sj.elman(4), 4)
    assert len(found.onnx) == len(found.jitted) == exported_steps.ROUNDS
    assert min(*found.onnx, *found.jitted) > 0


def test_without_transformers(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "transformers", None)
    small = {"hidden_size": 8, "num_hidden_layers": 1, "vocab_size": 50}
    monkeypatch.setattr(text_generation, "CONFIGS", {"mamba": small})
    assert main(["bench", "--text", "4"]) == 2
    assert "pip install transformers" in capsys.readouterr().err
    assert main(["bench", "--exported"]) == 2
    assert "--exported goes with --cells" in capsys.readouterr().err
