"""`seqjax train --algorithm`: gradients that go forward from window to window."""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seqjax.cli import main
from seqjax.core.trees import floats
from seqjax.train.checkpoints import Checkpoints
from seqjax.train.online_task import OnlineTask
from seqjax.train.recipe import LanguageModelConfig
from seqjax.train.tasks.lm import LanguageConfig, LanguageTask
from seqjax.train.tasks.synthetic import TRAIN, SyntheticConfig, SyntheticTask, arrays, draw
from seqjax.train.texts import TextConfig

TINY = ["--features", "3", "--batch", "4", "--steps", "4", "--validate-every", "2"]


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat. the dog sat on the log.\n" * 30)


def gradient(task, model, memory, batch, keys):
    """The gradients of the loss of a batch, and the memory after it."""

    def loss(model):
        total, _, after = task.loss(model, memory, batch, keys)
        return total, after

    found, after = jax.jit(jax.grad(loss, has_aux=True))(model)
    return floats(found), after


def test_the_windows_of_a_text_have_the_gradient_of_the_whole(here, tmp_path):
    """That of all parameters, the embedding among them; truncated at a window they have not."""
    model = LanguageModelConfig(features=3, embedding=2, dropout=0.0)
    config = LanguageConfig(
        algorithm="rtrl", model=model, batch=2, data=TextConfig(text=(tmp_path / "text.txt",))
    )
    task = LanguageTask(config, lambda line: None)
    online, net = OnlineTask(task, config), task.model(0)
    random = np.random.default_rng(0)
    text = jnp.asarray(random.integers(0, len(task.tokenizer), (2, 7)), jnp.uint8)
    keys = jax.random.split(jax.random.key(0), 2)
    memory, begun, found = online.start(net, 0), task.start(net, 0), []
    for window in (text[:, :4], text[:, 3:]):
        part, memory = gradient(online, net, memory, window, keys)
        found.append(part)
    whole, _ = gradient(task, net, begun, text, keys)
    for one, other, wanted in zip(*found, whole, strict=True):
        np.testing.assert_allclose(one + other, wanted, rtol=1e-4, atol=1e-5)
    cut, _ = gradient(task, net, begun._replace(carry=memory.carry), text[:, 3:], keys)
    assert not all(np.allclose(a, b, atol=1e-3) for a, b in zip(cut, found[1], strict=True))


def test_a_synthetic_sequence_has_the_gradient_of_backpropagation():
    config = SyntheticConfig(task="copying", length=2, batch=2, algorithm="rtrl")
    config = SyntheticConfig(
        **{**vars(config), "model": type(config.model)(features=2), "task_options": ("length=2",)}
    )
    task = SyntheticTask(config, lambda line: None)
    net, keys = task.model(0), jax.random.split(jax.random.key(0), 2)
    batch = jax.tree.map(jnp.asarray, arrays(draw(config, 2, 2, TRAIN, 0)))
    got, _ = gradient(OnlineTask(task, config), net, (), batch, keys)
    wanted, _ = gradient(task, net, (), batch, keys)
    for one, other in zip(got, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_a_run_goes_on_with_its_influence(capsys):
    argv = [
        "train",
        "lm",
        "--text",
        "text.txt",
        *TINY,
        "--time",
        "3",
        "--sample",
        "0",
        "--out",
        "run",
    ]
    assert main([*argv, "--algorithm", "eprop", "--cell", "lstm", "--layers", "2"]) == 0
    assert "algorithm   eprop, an influence of " in capsys.readouterr().out
    checkpoints = Checkpoints(Path("run/checkpoints"), read_only=True)
    wanted = checkpoints.arrays(4)
    assert any("influence" in name for name in wanted)
    shutil.rmtree("run/checkpoints/4")
    assert main(["train", "--resume", "run"]) == 0
    got = Checkpoints(Path("run/checkpoints"), read_only=True).arrays(4)
    for name, array in wanted.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--algorithm", "rtrl", "--influence-limit", "1e-6"], "or raise --influence-limit.\n"),
        (["--algorithm", "eprop", "--cell", "cornn"], "Use rtrl or snap.\n"),
        (["--algorithm", "snap1", "--time-devices", "2"], "leave out --time-devices 2"),
        (["--algorithm", "snap1", "--model-devices", "2"], "leave out --model-devices 2"),
    ],
    ids=["too large", "a cell that shows no products", "time split", "parameters split"],
)
def test_mistakes(argv, message, capsys):
    assert main(["train", "lm", "--text", "text.txt", *TINY, "--time", "4", *argv]) == 2
    printed = capsys.readouterr().err
    assert "error: --algorithm" in printed and message in printed and "Traceback" not in printed


def test_tasks_with_whole_sequences_have_no_such_option(capsys):
    with pytest.raises(SystemExit):
        main(["train", "classify", "--train", "text.txt", "--algorithm", "rtrl"])
    assert "--algorithm" in capsys.readouterr().err
