"""The benchmark measures what it says, and refuses to compare different numbers."""

import dataclasses
import json
import math

import jax
import numpy as np
import pytest

from seqjax.bench import command, libraries
from seqjax.bench.layer import Layer
from seqjax.bench.measure import Timing, agree, ratio
from seqjax.bench.report import best, plot, summary, table
from seqjax.cli import main

SHAPE = (6, 4, 3, 5)


def timing(library, *seconds, devices=1, mode="train", shape=SHAPE):
    return Timing(library, "lstm", shape, "float32", mode, devices, seconds, 1.0, 8, 9.0, 0.1)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
@pytest.mark.parametrize("name", libraries.LIBRARIES)
def test_everyone_computes_the_same(name, kind, dtype):
    """Whoever is installed. Flax always is."""
    layer = Layer.make(kind, *SHAPE, dtype)
    try:
        with jax.numpy_rank_promotion("allow"):  # Others are not as strict as our tests.
            program = libraries.LIBRARIES[name](layer, 1)
    except ImportError as reason:
        assert name not in ("seqjax", "flax linen", "flax nnx"), reason
        return
    assert agree({"ours": libraries.seqjax(layer, 1, "plain"), name: program}, dtype) == []


def test_rows_over_devices_compute_the_same():
    layer = Layer.make("gru", *SHAPE, "float32")
    programs = {str(devices): libraries.seqjax(layer, devices) for devices in (1, 2, 4)}
    assert agree(programs, "float32") == []


def test_different_numbers_are_found():
    layer = Layer.make("lstm", *SHAPE, "float32")
    weights = layer.weights | {"bias": layer.weights["bias"] + 0.01}
    other = dataclasses.replace(layer, weights=weights)
    ours, theirs = libraries.seqjax(layer, 1), libraries.seqjax(other, 1)
    complaints = agree({"ours": ours, "theirs": theirs}, "float32")
    assert complaints and all(line.startswith("theirs: ") for line in complaints)
    # No number differs from NaN by more than anything.
    broken = dataclasses.replace(ours, loss_of=lambda result: math.nan)
    assert agree({"ours": ours, "broken": broken}, "float32") == [
        "broken: loss differs by nan of its size"
    ]


def test_ratios_are_taken_within_rounds():
    """A machine that slows down halfway slows all down, and no ratio changes."""
    ours, theirs = timing("seqjax", 1.0, 1.0, 9.0), timing("flax nnx", 2.0, 2.0, 18.0)
    assert ratio(ours, theirs) == (2.0, 2.0, 2.0)


def test_each_is_judged_by_its_best_placement():
    those = [timing("haiku", 3.0), timing("haiku", 2.0, devices=2), timing("keras", 9.0)]
    assert best(those, ("haiku", "keras")).devices == 2
    assert best(those, ("torch",)) is None


def test_the_summary_is_a_geometric_mean():
    timings = [
        timing("seqjax", 1.0, 1.0), timing("flax nnx", 4.0, 4.0),
        timing("seqjax", 1.0, 1.0, shape=(1, 1, 1, 1)),
        timing("haiku", 1.0, 1.0, shape=(1, 1, 1, 1)),
    ]  # fmt: skip
    assert "2.00x in the geometric mean over 2 layers, least 1.00x" in summary(timings)
    assert "flax nnx" in table(timings)
    assert plot(timings).axes[0].get_ylabel().startswith("time of a train step")


def test_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(command, "matrix_peak", lambda dtype: 1e12)
    arguments = ["bench", "--kinds", "lstm", "--shapes", "6,4,3,5", "--libraries", "flax nnx"]
    status = main([*arguments, "--seconds", "0.01", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == 0
    assert "flax nnx" in printed and "geometric mean" in printed
    saved = json.loads((tmp_path / "bench.json").read_text())
    assert saved["machine"]["versions"]["jax"] == jax.__version__
    modes = {(row["library"], row["mode"]) for row in saved["timings"]}
    assert modes == {(n, m) for n in ("seqjax", "flax nnx") for m in ("forward", "train")}
    assert all(np.array(row["seconds"]).min() > 0 for row in saved["timings"])
    assert (tmp_path / "bench.png").stat().st_size > 10_000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shapes", "1,2,3"], "4 whole numbers"),
        (["--shapes", "1,2,3,0"], "4 whole numbers"),
        (["--libraries", "tensorflow"], "none of"),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_long_sequence(monkeypatch, capsys):
    from seqjax.bench import long

    monkeypatch.setattr(
        long, "WAYS", {"plain": {"method": "plain"}, "sum": {"checkpoint_every": 50, "sum": True}}
    )
    results = long.long_sequence(200, 4)
    assert abs(results["plain"]["norm"] / results["sum"]["norm"] - 1) < 1e-4
    assert results["sum"]["peak_bytes"] > 1e7
