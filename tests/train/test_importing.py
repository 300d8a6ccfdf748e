"""`seqjax import`: a published model as a run of ours, and on from there."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import load_file

import seqjax as sj
from seqjax.cli import main
from seqjax.core.trees import tree_bytes
from seqjax.train import inspection
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.run_folder import load_run
from seqjax.train.tasks import CONFIGS
from seqjax.train.tasks.lm import load
from tests.train.published_folder import CONFIG, publish
from tests.train.test_command_line import fails

TEXT = "the quick łynx ☃ jumps over the line; " * 40
FEW = ["--batch", "4", "--time", "8", "--steps", "4", "--validate-every", "2", "--devices", "1"]


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    return publish(tmp_path_factory.mktemp("published"))


@pytest.fixture(scope="module")
def imported(published, tmp_path_factory):
    """A run, without what it was made of."""
    folder = tmp_path_factory.mktemp("imported")
    source = shutil.copytree(published, folder / "source")
    assert main(["import", str(source), str(folder / "run"), "--dtype", "bfloat16"]) == 0
    shutil.rmtree(source)
    return folder / "run"


@pytest.fixture
def run(imported, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT, "utf-8")
    return shutil.copytree(imported, tmp_path / "run")


def test_the_model_is_as_loaded(published, run, capsys):
    model, tokenizer, step = load(load_run(run, CONFIGS), "best")
    wanted = sj.interop.load(published, dtype=jnp.bfloat16).model
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(model)} == {"bfloat16", "float32"}
    assert jax.tree.structure(model) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(model), jax.tree.leaves(wanted), strict=True):
        assert one.dtype == other.dtype and (one == other).all()
    assert step == 0 and tokenizer.encode("the line").tolist() == [257, 109, 106, 111, 102]
    assert main(["generate", "run", "--prompt", "the ☃", "--length", "40", "--seed", "2"]) == 0
    written = capsys.readouterr().out
    assert written.startswith("the ☃") and len(written) > 20


def test_the_score_is_that_of_the_whole_text(published, run, capsys):
    assert main(["evaluate", "run", "--text", "text.txt"]) == 0
    printed = capsys.readouterr().out
    model, tokenizer, _ = load(load_run(run, CONFIGS), "best")
    tokens = jnp.asarray(tokenizer.encode(TEXT, begin=True).astype(np.int32))
    logits = jax.jit(lambda tokens: model(tokens)[1])(tokens).astype(jnp.float32)
    nats = -jnp.take_along_axis(jax.nn.log_softmax(logits[:-1]), tokens[1:, None], 1)
    wanted = {
        "nats per token": nats.mean(),
        "bits per character": nats.sum() / np.log(2) / len(TEXT),
    }
    for name, value in wanted.items():
        (line,) = (line for line in printed.splitlines() if line.strip().startswith(name))
        assert float(line.split()[-1]) == pytest.approx(float(value), rel=2e-3)
    assert f"{len(TEXT):,} characters in 1 document" in printed


def test_inspect(run, capsys, monkeypatch):
    """Nothing of what is looked at differs; by default it is looked at with our own text."""
    monkeypatch.setattr(inspection, "layer_reports", lambda model, loss: [])
    assert main(["inspect", "run", "--no-pictures"]) == 0
    assert "checkpoint of step 0, 8 sequences sampled" in capsys.readouterr().out


def test_training_further(published, run, capsys, tmp_path):
    argv = ["train", "lm", "--from", "run", "--text", "text.txt", "--out", "more", *FEW]
    assert main([*argv, "--learning-rate", "1", "--warmup", "0", "--sample", "5"]) == 0
    printed = capsys.readouterr().out
    assert "step 0: bits per character" in printed and "tokens in 1 document," in printed
    # Steps that large make it worse: the best is what it began with, in float32 now.
    checkpoints = Checkpoints(Path("more/checkpoints"), read_only=True)
    assert checkpoints.best == 0 and checkpoints.steps == [0, 2, 4]
    begun, given = checkpoints.arrays(0), Checkpoints(run / "checkpoints").arrays(0)
    for name, array in given.items():
        np.testing.assert_array_equal(begun[name], array.astype(np.float32))
    shutil.rmtree(run)
    assert main(["evaluate", "more"]) == main(["generate", "more", "--length", "5"]) == 0
    # Weights go back into the form in which they came, next to those that they began as.
    argv = ["export", "more", "back", "--format", "safetensors", "--checkpoint", "last"]
    assert main(argv) == main(["import", "back", "again"]) == 0
    back, first = (load_file(one / "model.safetensors") for one in (tmp_path / "back", published))
    assert {name: (a.shape, a.dtype) for name, a in back.items()} == {
        name: (a.shape, a.dtype) for name, a in first.items()
    }
    changes = [np.abs(back[name] - first[name]).max() for name in first]
    assert min(changes) > 0 and max(changes) < 5
    assert json.loads((tmp_path / "back/config.json").read_text()) == CONFIG
    again = load(load_run(Path("again"), CONFIGS), "best")[0]
    trained = load(load_run(Path("more"), CONFIGS), "last")[0]
    for one, other in zip(jax.tree.leaves(again), jax.tree.leaves(trained), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_run_of_our_own(tmp_path, monkeypatch, capsys):
    """Its vocabulary stays, and what it does not know of the new text is said."""
    monkeypatch.chdir(tmp_path)
    Path("one.txt").write_text("the cat sat on the mat. " * 30)
    Path("two.txt").write_text("the ☃ sat on the cat. " * 30)
    argv = ["train", "lm", "--text", "one.txt", "--out", "one", "--features", "4", *FEW]
    assert main([*argv, "--sample", "0"]) == 0
    argv = ["train", "lm", "--from", "one", "--text", "two.txt", "--out", "two", "--sample", "0"]
    assert main([*argv, "--dropout", "0.5"]) == 0
    assert "(1 different: '☃') were not in the training text of one" in capsys.readouterr().out
    runs = [load_run(Path(name), CONFIGS) for name in ("one", "two")]
    assert runs[0].preprocessing == runs[1].preprocessing
    assert runs[1].config.batch == 4 and runs[1].config.optimization.learning_rate == 1e-4
    for wrong in (["--features", "8"], ["--cell", "lstm"], ["--tied"]):
        assert f"The model of one has {wrong[0]}" in fails(capsys, *argv, *wrong)


def test_what_cannot_be_imported(published, run, capsys, tmp_path):
    folder = shutil.copytree(published, tmp_path / "folder")
    argv = ["import", "folder", "new"]
    assert "run already holds a run: name another" in fails(capsys, "import", "folder", "run")
    assert "There is no nowhere. Nothing is fetched" in fails(capsys, "import", "nowhere", "new")
    (folder / "rwkv_vocab_v20230424.txt").rename("vocabulary.txt")
    assert "folder has no tokenizer: fetch tokenizer.json" in fails(capsys, *argv)
    (folder / "config.json").write_text(json.dumps(CONFIG | {"model_type": "llama"}))
    assert "model_type 'llama'; there are" in fails(capsys, *argv)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    with open("vocabulary.txt", "a") as file:
        file.write("264 'more' 4\n")
    assert "has 265 tokens and the model 264: it belongs to another one" in fails(
        capsys, *argv, "--tokenizer", "vocabulary.txt"
    )
    (folder / "model.safetensors").unlink()
    assert "expected model.safetensors" in fails(capsys, *argv)
    assert not Path("new").exists()
    assert "run was imported, so there is no training" in fails(capsys, "train", "--resume", "run")


def test_memory_does_not_grow_with_the_text(run):
    """What is handed on from token to token is the carry, whatever came before."""
    model, _, _ = load(load_run(run, CONFIGS), "best")
    carry = model.initial_carry()
    longer, _ = jax.eval_shape(lambda tokens: model(tokens), jnp.zeros(10_000, jnp.int32))
    assert tree_bytes(longer) == tree_bytes(carry) < 400
