"""`seqjax train synthetic`, and cells and blocks by their names."""

import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

import seqjax as sj
from seqjax.cells.block_stack import TRUNKS
from seqjax.cli import main
from seqjax.core.errors import InputError
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.commands import EvaluateConfig
from seqjax.train.config import CellConfig
from seqjax.train.model import CELLS, build_cell, find_cell
from seqjax.train.run_folder import SavedRun
from seqjax.train.tasks import synthetic
from seqjax.train.tasks.synthetic import (
    DRAW,
    LENGTH,
    TRAIN,
    CellOnTaskConfig,
    SyntheticConfig,
    build_model,
    draw,
)

SMALL = ["--features", "8", "--batch", "8", "--steps", "20", "--validate-every", "10",
         "--length", "6"]  # fmt: skip


@pytest.mark.parametrize("task", DRAW)
def test_a_model_for_every_task(task):
    config = SyntheticConfig(task=task)
    batch = draw(config, LENGTH[task], 3, TRAIN, 5)
    again = draw(config, LENGTH[task], 3, TRAIN, 5)
    np.testing.assert_array_equal(batch.inputs, again.inputs)
    other = draw(config, LENGTH[task], 3, TRAIN, 6)
    assert not np.array_equal(batch.inputs, other.inputs)
    model = jax.eval_shape(lambda: build_model(config, 0))
    width = batch.tokens or batch.inputs.shape[-1]
    inputs = jax.ShapeDtypeStruct((3, batch.inputs.shape[1], width), np.float32)
    _, outputs = jax.eval_shape(lambda m, x: m(x), model, inputs)
    assert outputs.shape == (*batch.targets.shape, batch.classes or 1)


def test_training_and_longer_sequences(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "synthetic", "--task", "parity", "--cell", "delta_net", "--cell-options",
                 "negative_eigenvalues=true", "heads=2", *SMALL, "--out", "run"]) == 0  # fmt: skip
    assert "accuracy 0.5000" in capsys.readouterr().out
    assert main(["evaluate", "run"]) == 0
    printed = capsys.readouterr().out
    assert "trained at length 6" in printed and "accuracy at 48" in printed
    assert "chance at 6 " in printed and "chance at 48 " in printed
    assert main(["predict", "run", "--input", "x.csv"]) == 2
    assert main(["evaluate", "run", "--test-lengths", "9"]) == 0
    printed = capsys.readouterr().out
    assert "accuracy at 9 " in printed and "accuracy at 6 " not in printed
    assert main(["evaluate", "run", "--input", "x.csv"]) == 2
    assert "--input is for runs of classify, tag" in capsys.readouterr().err
    # Stopped after the first checkpoint, it goes on to the same end.
    wanted = Checkpoints(tmp_path / "run" / "checkpoints", read_only=True).arrays(20)
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "20")
    assert main(["train", "--resume", "run"]) == 0
    got = Checkpoints(tmp_path / "run" / "checkpoints", read_only=True).arrays(20)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_chance_is_told_for_each_length_whatever_the_batch(monkeypatch):
    monkeypatch.setattr(synthetic, "load_model", lambda run, build, checkpoint: (build(), 0))
    for batch in (2, 8):
        config = SyntheticConfig(
            task="dyck",
            batch=batch,
            test_lengths=(6, 64),
            model=CellOnTaskConfig(cell="elman", features=4),
        )
        run = SavedRun(Path(), "synthetic", config, {}, {})
        scores = synthetic.evaluate(run, EvaluateConfig(run=Path()), print).scores
        told = [scores["chance_at_6"], scores["chance_at_64"]]
        assert told == pytest.approx([0.40104, 0.45515], abs=1e-5)


def test_numbers_and_blocks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "synthetic", "--task", "adding", "--block", "minimal_gru",
                 "--layers", "2", *SMALL, "--dropout", "0.1", "--out", "run"]) == 0  # fmt: skip
    assert "mean squared error 0.1667" in capsys.readouterr().out
    assert main(["evaluate", "run", "--checkpoint", "last"]) == 0
    assert "mean squared error at 12" in capsys.readouterr().out


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_built(name):
    options = ("memory=4", "window=5") if name == "lmu" else ()
    config = CellConfig(cell=name, features=8, layers=2, dropout=0.0, cell_options=options)
    cell = build_cell(config)
    xs = jax.ShapeDtypeStruct((2, 3), np.float32)

    def run(xs):
        params = cell.init(jax.random.key(0), 3)
        return cell.step(params, cell.initial_carry(params, (2,)), xs)[1]

    assert jax.eval_shape(run, xs).shape == (2, cell.features)


def test_every_exported_cell_that_needs_a_width_only_has_its_name():
    found = 0
    for name in sj.__all__:
        make = getattr(sj, name)
        if not getattr(make, "__module__", "").startswith("seqjax.cells."):
            continue
        try:
            cell = make(8)
        except TypeError:
            continue  # It needs more.
        # What takes images stands in no stack of layers of features.
        if isinstance(cell, sj.Cell) and cell.input_ndim == 1:
            assert find_cell(name) is make
            found += 1
    assert found > 40


@pytest.mark.parametrize("name", TRUNKS)
def test_every_block_is_built(name):
    config = CellConfig(block=name, features=8, layers=2, dropout=0.1)
    for both_ways, width in ((False, 8), (True, 16)):
        assert build_cell(config, both_ways=both_ways).features == width


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("heads", "name=value"),
        ("heads=3", "heads"),
        ("wings=2", "wings"),
        ("heads=many", "heads"),
        ("input_bias=3", "not callable"),
    ],
)
def test_options_that_a_cell_does_not_have(option, message):
    config = CellConfig(cell="mlstm", features=8, cell_options=(option,))
    with pytest.raises(InputError, match=f"--cell-options.*{message}"):
        build_cell(config)


@pytest.mark.parametrize("word", ["true", "false", "True", "False"])
def test_switches(word):
    """Words of Python mean what they say: a word that is not empty would count as true."""
    options = (f"negative_eigenvalues={word}", "heads=2")
    got = build_cell(CellConfig(cell="delta_net", features=8, dropout=0.0, cell_options=options))
    assert got is sj.delta_net(8, negative_eigenvalues=word.lower() == "true", heads=2)
    config = CellConfig(cell="delta_net", features=8, cell_options=("negative_eigenvalues=yes",))
    with pytest.raises(InputError, match="negative_eigenvalues=yes: expected true or false"):
        build_cell(config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cell": "lstm"}, "--cell lstm or --block retnet, not both"),
        ({"features": 30}, "--block retnet --features 30: retention: `heads=4` must divide"),
        ({"cell_options": ("wings=2",)}, "--cell-options wings=2: .*wings"),
        ({"block": "lstm"}, "--block lstm --features 8: .*no block 'lstm'; there are .*'xlstm'"),
        ({"block": "griffin,hawk"}, "--block griffin,hawk .*no block 'hawk'; .*'griffin'"),
        (
            {"block": "griffin,attention", "cell_options": ("state=2",)},
            "no block of .*'griffin', 'attention'.* takes 'state'",
        ),
    ],
)
def test_mistakes_with_blocks(settings, message):
    with pytest.raises(InputError, match=message):
        build_cell(CellConfig(**{"block": "retnet", "features": 8} | settings))


def test_options_of_blocks():
    config = CellConfig(block="rwkv7", features=8, dropout=0.0, cell_options=("heads=2",))
    blocks = sj.block_stack("rwkv7", 8, layers=1, heads=2)
    assert build_cell(config) is sj.stack(sj.dense(8), blocks)
    pattern = ("griffin", "griffin", "attention")
    options = ("window=4", "rotary=0.5")
    config = CellConfig(
        block=",".join(pattern), features=8, layers=3, dropout=0.0, cell_options=options
    )
    blocks = sj.block_stack(pattern, 8, layers=3, window=4, rotary=0.5)
    assert build_cell(config).features == blocks.features
    params = jax.eval_shape(lambda: build_cell(config).init(jax.random.key(0), 8))
    assert jax.eval_shape(lambda: blocks.init(jax.random.key(0), 8)) in params.values()
    for name in ("rwkv6", "rwkv7", "mamba2"):
        sj.block_stack(name, 200, layers=1)  # No multiple of 64.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--task", "recall", "--length", "33"], "--task recall, length 33: .*must be even"),
        (["--task", "recall", "--test-lengths", "32", "65"], "length 65: .*must be even"),
        (["--test-lengths", "0"], "--test-lengths must be above 0"),
        (["--task", "recall", "--task-options", "pairs=2.5"], "pairs=2.5.*whole number"),
        (["--task-options", "pairs=2"], "--task parity --task-options pairs=2.*pairs"),
    ],
)
def test_batches_that_cannot_be_drawn(arguments, message, capsys, tmp_path):
    """Said before the training, also of what comes after it."""
    assert main(["train", "synthetic", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_wrong_name_lists_the_cells():
    with pytest.raises(InputError, match="delta_net, .* slstm"):
        find_cell("dlta_net")
