"""Runs given away: the files compute what the model computes, and run without seqjax."""

import dataclasses
import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

import seqjax as sj
from seqjax.cli import main
from seqjax.core.errors import InputError
from seqjax.data.examples import Example
from seqjax.export import given_tasks
from seqjax.export.export_command import ExportConfig, export_run
from seqjax.export.portable import CarryForm
from seqjax.export.program_files import load_onnx, load_stablehlo
from seqjax.train.run_folder import load_run
from seqjax.train.tasks import CONFIGS, lm
from seqjax.train.tasks.classify import Classification
from seqjax.train.tasks.tag import Tagging
from seqjax.train.tasks.transcribe import Transcription
from tests.train.published_folder import publish

SAVED = Path(__file__).parents[1] / "train" / "saved_runs"


@pytest.fixture
def new_run(tmp_path, monkeypatch):
    """`(kind, **model options) -> run` of a model that is new, with vocabularies and scales."""
    monkeypatch.chdir(tmp_path)

    def load_model(run, build, checkpoint):
        model = build()
        # Some layers begin with zeros.
        keys = iter(jax.random.split(jax.random.key(7), 200))

        def moved(leaf):
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            return leaf + 0.3 * jax.random.normal(next(keys), leaf.shape)

        return jax.tree.map(moved, model), 2

    for module in (given_tasks, lm):
        monkeypatch.setattr(module, "load_model", load_model)

    def make(kind, **options):
        saved = json.loads((SAVED / f"{kind}.json").read_text())
        Path("run").mkdir(exist_ok=True)
        for name in ("config", "settings", "data"):
            Path("run", f"{name}.json").write_text(json.dumps(saved[name]))
        run = load_run(Path("run"), CONFIGS)
        model = dataclasses.replace(run.config.model, **options)
        return run._replace(config=dataclasses.replace(run.config, model=model))

    return make


def export(run, name, log=lambda line: None):
    folder = Path(f"out-{name}")
    export_run(run, ExportConfig(run.folder, folder, name), log)
    return folder


def formats(name):
    if name == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
    return name


BOTH = ["onnx", "stablehlo"]


def lines_of_code(script):
    return sum(bool(line.strip()) for line in script.splitlines())


@pytest.mark.parametrize("name", BOTH)
def test_a_language_model_step_by_step(new_run, capsys, name):
    """The carry goes round 64 times; dropout is in the cell, and off."""
    run = new_run("lm", block=None, cell="lstm", cell_options=(), layers=2, dropout=0.5)
    folder = export(run, formats(name))
    load = {"onnx": load_onnx, "stablehlo": load_stablehlo}[name]
    step = load((folder / f"step.{name}").read_bytes())
    prefill = load((folder / f"prefill.{name}").read_bytes())
    model, tokenizer, _ = lm.load(run, "best")
    ours = jax.jit(model.step)
    tokens = np.random.default_rng(0).integers(4, len(tokenizer), (5, 64)).astype(np.int32)
    given = {
        key: np.broadcast_to(array, (5, *array.shape))
        for key, array in np.load(folder / "carry.npz").items()
    }
    carry, started = model.initial_carry((5,)), given
    for at in range(64):
        carry, logits = ours(carry, tokens[:, at])
        found = step({"token": tokens[:, at], **given})
        np.testing.assert_allclose(found["logits"], logits, rtol=1e-5, atol=1e-5)
        given = {key[5:]: array for key, array in found.items() if key.startswith("next_")}
    whole = prefill({"tokens": tokens, "lengths": np.full(5, 64, np.int32), **started})
    np.testing.assert_allclose(whole["logits"][:, -1], logits, rtol=1e-5, atol=1e-5)
    for key, array in given.items():
        np.testing.assert_allclose(whole[f"next_{key}"], array, rtol=1e-5, atol=1e-5)
    assert lines_of_code((folder / "run.py").read_text()) <= 34
    used = runpy.run_path(str(folder / "run.py"))
    first, *rest = capsys.readouterr().out.splitlines()
    assert float(first.rsplit(" ", 1)[1]) < 1e-5 and rest
    np.testing.assert_array_equal(used["encode"]("ab"), tokenizer.encode("ab"))


KINDS = {
    "step by step": ("classify", {"bidirectional": False, "pooling": "last"}),
    "both ways": ("classify", {"bidirectional": True, "pooling": "attention"}),
    "with a CRF": ("tag", {"crf": True}),
    "tag by tag": ("tag", {"crf": False, "bidirectional": False}),
    "quantiles": ("forecast", {"outputs": "quantile"}),
    "gaussian": ("forecast", {"outputs": "gaussian"}),
    "transcripts": ("transcribe", {}),
}


def reads(kind):
    """What a user has, and the arrays that the task of the run makes of it."""
    run = load_run(Path("..", "run"), CONFIGS)
    task_type = {"classify": Classification, "tag": Tagging, "transcribe": Transcription}[kind]
    task = task_type.restore(run.config, run.preprocessing["problem"])
    if kind == "tag":
        example = ("the", "abcdefghijklmnopqrstuvwxyz", "cat")
    elif kind == "classify" and task.vocabulary is not None:
        example = "well, it is fine"
    else:
        channels = len(task.standardizer.location)
        example = np.random.default_rng(0).standard_normal((5, channels))
        example[1, 0] = np.nan
    encoded = task.encode(Example(example), with_target=False)
    return example, [encoded[name] for name in ("inputs", "characters") if name in encoded]


@pytest.mark.parametrize("case", list(KINDS))
def test_what_is_given_away_runs_alone(new_run, monkeypatch, capsys, case):
    """`run.py` replays the example, in ONNX, and uses the model."""
    kind, options = KINDS[case]
    said = []
    folder = export(new_run(kind, **options), formats("onnx"), said.append)
    about = json.loads((folder / "model.json").read_text())
    streams = case in ("step by step", "tag by tag")
    assert set(about["programs"]) == ({"step", "prefill"} if streams else {"prefill"})
    assert streams or any("no step and no carry" in line or "search" in line for line in said)
    monkeypatch.chdir(folder)
    script = Path("run.py").read_text()
    assert "seqjax" not in script and lines_of_code(script) <= 37
    used = runpy.run_path("run.py")
    first, *rest = capsys.readouterr().out.splitlines()
    assert float(first.rsplit(" ", 1)[1]) < 1e-5
    assert rest
    # What it makes of data is what the task makes of them.
    if "encode" in used:
        example, wanted = reads(kind)
        found = used["encode"](example)
        for one, other in zip(found if kind == "tag" else [found], wanted, strict=True):
            np.testing.assert_array_equal(one, other)


def test_stablehlo_runs_alone(new_run, monkeypatch, capsys):
    options = {"bidirectional": False, "pooling": "last"}
    folder = export(new_run("classify", **options), "stablehlo")
    monkeypatch.chdir(folder)
    runpy.run_path("run.py")
    first, *labels = capsys.readouterr().out.splitlines()
    assert float(first.rsplit(" ", 1)[1]) < 1e-5
    assert set(labels) <= set(json.loads(Path("model.json").read_text())["labels"])


def test_weights_under_their_names(new_run):
    from safetensors.numpy import load_file

    run = new_run("lm")
    folder = export(run, "safetensors")
    model, _, _ = lm.load(run, "best")
    weights = load_file(folder / "model.safetensors")
    np.testing.assert_array_equal(weights["embedding.embedding"], model.embedding.embedding)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json", "model.json", "model.safetensors",
    ]  # fmt: skip


def test_an_imported_model_goes_as_it_came(tmp_path, monkeypatch):
    from safetensors.numpy import load_file

    monkeypatch.chdir(tmp_path)
    source = publish(tmp_path / "published")
    assert main(["import", str(source), "run", "--dtype", "float32"]) == 0
    assert main(["export", "run", "weights", "--format", "safetensors"]) == 0
    found, wanted = (load_file(Path(each, "model.safetensors")) for each in ("weights", source))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        np.testing.assert_array_equal(found[name], array)


def test_a_search_is_not_given_away(new_run):
    with pytest.raises(InputError, match="a run of translate.*lm, classify, tag, forecast"):
        export(new_run("translate"), "stablehlo")


def test_an_operation_without_a_form_in_onnx(new_run):
    """Samples are drawn by bits that ONNX has no operations for; nothing is left behind."""
    formats("onnx")
    run = new_run("forecast", strategy="recursive")
    with pytest.raises(InputError, match=r"random keys have no form in ONNX.*around .*sru"):
        export(run, "onnx")
    assert sorted(path.name for path in Path().iterdir()) == ["run"]


def test_a_folder_that_holds_something(new_run):
    Path("out-stablehlo").mkdir()
    Path("out-stablehlo", "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="name a new folder"):
        export(new_run("lm"), "stablehlo")


def test_a_file_that_computes_something_else_is_not_given_away(new_run, monkeypatch):
    formats("onnx")
    from seqjax.export import onnx_elementwise

    monkeypatch.setitem(onnx_elementwise.SAME, "logistic", "Tanh")
    with pytest.raises(InputError, match="is not that of the model, by up to"):
        export(new_run("lm"), "onnx")
    assert not Path("out-onnx").exists()


def test_a_carry_by_name():
    """Noise that is off leaves no trace, and comes back when the carry is put together."""
    cell = sj.stack(sj.dropout(sj.lstm(4), 0.5), sj.gru(4))
    rnn = sj.nn.RNN(cell, 4, rngs=nnx.Rngs(0))
    form = CarryForm(rnn.initial_carry())
    assert set(form.initial) == {
        "carry.lstm_0.cell.hidden", "carry.lstm_0.cell.cell", "carry.gru_1",
    }  # fmt: skip
    carry = rnn.initial_carry((3,))
    arrays = {name[5:]: array for name, array in form.split(carry).items()}
    again = form.join(arrays)
    assert jax.tree.structure(again) == jax.tree.structure(carry)
    assert jax.tree.map(jnp.shape, again) == jax.tree.map(jnp.shape, carry)
