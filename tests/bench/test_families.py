"""Cells beside their own step loop: everyone computes the same, and what is told was measured."""

import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import seqjax as sj
from seqjax.bench import families, published
from seqjax.bench import training as training_module
from seqjax.bench.diagnostics import diagnostics
from seqjax.bench.families_report import against_plain, main_table, plot_families
from seqjax.bench.generation import generation
from seqjax.bench.timed import CELLS
from seqjax.bench.training import Training, difference, methods_of, training
from seqjax.cli import main
from seqjax.core.errors import InputError
from seqjax.engines.methods import METHODS


def entry(method, *seconds, same_as=None, time=8, memory=800):
    return Training("gru", method, time, 1, 4, seconds, same_as, 1.0, memory, 0.0)


@pytest.mark.parametrize("name", CELLS)
def test_every_cell_is_as_wide_as_its_inputs_and_can_be_trained(name):
    params, ys = jax.eval_shape(lambda: _outputs(CELLS[name](64)))
    assert ys.shape == (1, 3, 64)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))


def _outputs(cell):
    params, xs = training_module.problem(cell, 64, 3, 1)
    return params, sj.scan(cell, params, xs)[1]


def test_methods_are_those_that_a_cell_has():
    methods = families.known(())
    # Where there is no TPU, kernels are interpreted: they are timed if they are named.
    assert methods[0] == "plain" and set(methods) == set(METHODS) - {"fused", "newton"}
    assert families.known(["fused"]) == ("plain", "fused")
    for cell, wanted in (
        (sj.gru(4), {"plain", "auto", "recompute", "store"}),
        (sj.minimal_gru(4), {"plain", "auto", "associative", "chunked"}),
        (sj.linear_attention(4), {"plain", "auto", "chunked"}),
    ):
        params, xs = training_module.problem(cell, 4, 6, 1)
        assert set(methods_of(cell, params, xs, methods)) == wanted


def test_different_numbers_are_found(monkeypatch):
    cell = sj.minimal_gru(4)
    step = training_module.train_step

    def wrong(cell, method):
        def run(params, xs):
            loss, (d_params, d_xs) = step(cell, method)(params, xs)
            return loss, (d_params, d_xs * (1.01 if method == "associative" else 1.0))

        return run

    monkeypatch.setattr(training_module, "train_step", wrong)
    with pytest.raises(InputError, match="associative"):
        _train(cell)
    assert difference({"a": np.ones(2)}, {"a": np.array([1.0, np.nan])}) == math.inf


def _train(cell, most_bytes=1e9):
    return training(
        "minimal_gru", cell, 4, time=6, batch=2, methods=families.known(()), seconds=0.0,
        most_bytes=most_bytes,
    )  # fmt: skip


def test_programs_that_are_the_same_are_timed_once():
    by_method = {e.method: e for e in _train(sj.minimal_gru(4))}
    assert by_method["chunked"].same_as == "auto" and by_method["chunked"].seconds is None
    assert len(by_method["plain"].seconds) == len(by_method["auto"].seconds) >= 3
    assert 0 < by_method["auto"].error < 1e-5
    assert by_method["auto"].tokens_per_second > 0


def test_what_needs_too_much_memory_is_not_run():
    entries = _train(sj.minimal_gru(4), most_bytes=0.0)
    assert all(not e.seconds and e.temporary_bytes > 0 for e in entries if not e.same_as)
    assert "| minimal_gru |" in main_table(entries, [])


def test_ratios_are_taken_within_rounds():
    entries = [
        entry("plain", 2.0, 2.0, 18.0),
        entry("auto", 1.0, 1.0, 9.0),
        entry("store", same_as="auto"),
    ]
    assert against_plain(entries[1], entries) == (2.0, 2.0, 2.0)
    assert against_plain(entries[2], entries) == (2.0, 2.0, 2.0)
    assert entries[1].tokens_per_second == 8.0 and entries[1].bytes_per_token == 100.0
    bars = plot_families(entries).axes[0].containers[1]
    assert [bar.get_y() + bar.get_height() for bar in bars] == [2.0]


def test_published_implementations_take_part(monkeypatch, tmp_path, capsys):
    torch = pytest.importorskip("torch", reason="PyTorch is who is compared with")
    theirs = lambda features, time: torch.nn.GRU(features, features, batch_first=True)  # noqa: E731
    monkeypatch.setattr(
        published, "PUBLISHED", {"gru": ("torch", theirs), "lstm": ("none", _fails)}
    )
    arguments = ["bench", "--cells", "gru", "lstm", "--features", "4", "--lengths", "6,2"]
    options = ["--quick", "--published", "--generate", "60", "--methods", "auto"]
    assert main([*arguments, *options, "--out", str(tmp_path)]) == 0
    assert f"| gru | torch {torch.__version__} | " in capsys.readouterr().out
    saved = json.loads((tmp_path / "families.json").read_text())["training"]
    assert [row["cell"] for row in saved if row["published"]] == ["gru"]
    loss, gradients = published.published_step("gru", 4, 6, 2)[1]()
    assert loss > 0 and len(gradients) == 5


def _fails(features, time):
    raise ImportError("not installed")


def test_generation_counts_the_state():
    made = generation("lstm", sj.lstm(4), 4, 100)
    assert made.state_bytes == 2 * 4 * 4
    assert made.steps == 100 and made.late_over_early > 0


def test_the_command(tmp_path, capsys):
    arguments = ["bench", "--cells", "minimal_gru", "--features", "4", "--lengths", "6,2"]
    status = main([*arguments, "--quick", "--generate", "60", "--out", str(tmp_path)])
    printed = capsys.readouterr().out
    assert status == 0
    assert "the program of auto" in printed and "| minimal_gru |" in printed
    saved = json.loads((tmp_path / "families.json").read_text())
    assert {row["method"] for row in saved["training"]} == {
        "plain", "auto", "associative", "chunked",
    }  # fmt: skip
    assert saved["generation"][0]["state_bytes"] == 4 * 4 and saved["machine"]["cores"]
    assert (tmp_path / "families.png").stat().st_size > 10_000


def test_without_auto_there_is_no_picture(tmp_path):
    arguments = ["bench", "--cells", "minimal_gru", "--features", "4", "--lengths", "6,2"]
    arguments += ["--quick", "--generate", "60", "--methods", "chunked"]
    assert main([*arguments, "--out", str(tmp_path)]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["families.json"]


def test_the_cost_of_diagnostics(capsys):
    diagnostics(["lstm", "delta_net"], features=4, time=5, batch=2, seconds=0.01)
    printed = capsys.readouterr().out
    assert "| lstm | " in printed and "| delta_net | " in printed


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cells", "grue"], "none of"),
        (["--diagnostics"], "goes with --cells"),
        (["--published"], "goes with --cells"),
        (["--cells", "gru", "--features", "0"], "--features must be above 0"),
        (["--cells", "gru", "--generate", "0"], "--generate must be above 0"),
        (["--cells", "gru", "--lengths", "4"], "2 whole numbers"),
        (["--cells", "gru", "--methods", "fast"], "none of"),
    ],
)
def test_mistakes(arguments, message, capsys):
    assert main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err
